"""The LiteMedSAM engine on a real slice, against the published pipeline step by step."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from MoESegLib import BoxPrompt, PointPrompt, Session, build_model
from MoESegLib.core.cancel import CancelToken
from MoESegLib.core.volume import Volume
from MoESegLib.engines import load_engine
from MoESegLib.engines.openvino_encoder import OpenVinoEncoder, _check, convert_encoder, probe_image, ready_encoder
from MoESegLib.engines.protocol import ModelPrompt
from MoESegLib.weights.safe_load import load_into, load_state_dict

pytestmark = pytest.mark.weights

BOXES = {"liver": (105, 194, 271, 376), "spleen": (292, 243, 394, 379), "aorta": (246, 283, 280, 314)}


def published_pipeline(network, image: np.ndarray, box: tuple[int, ...]) -> np.ndarray:
    """CVPR24_LiteMedSAM_infer.py, 2D: resize the longest side by area, min-max, pad, truncated box, crop, bilinear."""
    color = np.repeat(image[..., None], 3, axis=2)
    rows, columns = image.shape
    ratio = 256 / max(rows, columns)
    new = (int(rows * ratio + 0.5), int(columns * ratio + 0.5))
    small = cv2.resize(color, new[::-1], interpolation=cv2.INTER_AREA)
    scaled = (small - small.min()) / np.clip(small.max() - small.min(), 1e-8, None)
    padded = np.pad(scaled, ((0, 256 - new[0]), (0, 256 - new[1]), (0, 0)))
    tensor = torch.tensor(padded).float().permute(2, 0, 1)[None]
    corners = torch.tensor([[int(value * ratio) for value in box]], dtype=torch.float32)
    with torch.inference_mode():
        sparse, dense = network.prompt_encoder(points=None, boxes=corners, masks=None)
        logits, _ = network.mask_decoder(
            image_embeddings=network.image_encoder(tensor),
            image_pe=network.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        full = F.interpolate(logits[..., : new[0], : new[1]], (rows, columns), mode="bilinear", align_corners=False)
    return (torch.sigmoid(full[0, 0]) > 0.5).numpy()


@pytest.fixture(scope="module")
def network(lite_medsam_path):
    model = build_model("lite_medsam")
    load_into(model, load_state_dict(lite_medsam_path), "LiteMedSAM")
    return model


def window_to_uint8(array: np.ndarray) -> np.ndarray:
    """Level 40, width 400 (pre_CT_MR.py)."""
    return ((np.clip(array.astype(np.float32), -160, 240) + 160) / 400 * 255).astype(np.uint8)


@pytest.mark.parametrize("columns", [512, 400])
@pytest.mark.parametrize("structure", BOXES)
def test_the_mask_is_that_of_the_published_pipeline(
    structure: str, columns: int, network, lite_engine, demo_volume: Volume
) -> None:
    """Square slices and ones that need padding; at most 0.1 % of the voxels may differ."""
    x0, y0, x1, y1 = BOXES[structure]
    volume = Volume(demo_volume.array[9:12, :, :columns].copy(), demo_volume.ijk_to_ras, modality="CT")
    a, b = volume.to_ras([[x0, y0, 1], [x1, y1, 1]])
    with Session(volume, lite_engine, prefetch=False) as session:
        session.add(BoxPrompt(tuple(a), tuple(b), plane="axial"))
        mask = session.mask("Segment_1")
    expected = published_pipeline(network, window_to_uint8(volume.array[1]), BOXES[structure])
    assert expected.sum() > 300
    assert (mask[1].astype(bool) != expected).mean() <= 0.001
    assert not mask[[0, 2]].any()


def test_a_click_lands_where_it_was_put(lite_engine, demo_volume: Volume) -> None:
    click = PointPrompt(tuple(demo_volume.to_ras([332, 349, 10])), segment="spleen")
    with Session(demo_volume, lite_engine, prefetch=False) as session:
        session.add(click)
        result, mask = session.result("spleen"), session.mask("spleen")
    assert mask[10, 349, 332] == 1
    assert 4000 < mask.sum() < 10000
    assert result.expert == "base"
    assert 0.8 < result.confidence <= 1
    assert "box" in result.notes[0]


def test_a_box_is_followed_through_the_slices(lite_engine, demo_volume: Volume) -> None:
    cropped = Volume(demo_volume.array[8:13].copy(), demo_volume.ijk_to_ras, modality="CT")
    a, b = cropped.to_ras([[292, 243, 2], [394, 379, 2]])
    with Session(cropped, lite_engine, "volume", prefetch=False) as session:
        session.add(BoxPrompt(tuple(a), tuple(b), plane="axial"))
        mask = session.mask("Segment_1")
    assert mask.any(axis=(1, 2)).all()
    areas = mask.sum(axis=(1, 2))
    assert areas.min() > 0.8 * areas.max()


def test_openvino_agrees_with_pytorch_and_is_used_once_converted(tmp_path, network) -> None:
    encoder = convert_encoder(network.image_encoder, 256, tmp_path / "lite")
    assert encoder.runtime == "openvino-fp32"
    again = ready_encoder(tmp_path / "lite")
    assert isinstance(again, OpenVinoEncoder)
    from MoESegLib.core.cancel import CancelToken
    from MoESegLib.core.errors import Cancelled

    image = probe_image(256)[:, ::-1].copy()
    found = again.encode(image, CancelToken())
    with torch.inference_mode():
        embedding, early = network.image_encoder.encode(torch.from_numpy(image)[None])
    for name, expected in (("image", embedding), ("early", early)):
        assert (found[name] - expected).abs().max() < 1e-3 * expected.abs().max()
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        again.encode(image, token)
    assert again.encode(image, CancelToken())["image"].equal(found["image"])
    (tmp_path / "lite" / "fp32.xml").write_text("damaged")
    assert ready_encoder(tmp_path / "lite") is None


def test_a_converted_encoder_that_disagrees_is_refused() -> None:
    from MoESegLib.core.errors import ResourceError

    expected = np.ones((1, 4, 2, 2), np.float32)
    _check(expected * 1.0001, expected, "fp32")
    for wrong in (expected * 1.1, np.full_like(expected, np.nan)):
        with pytest.raises(ResourceError, match="PyTorch"):
            _check(wrong, expected, "fp32")


def test_without_openvino_pytorch_answers_and_the_reason_is_logged(
    lite_medsam_path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "openvino", None)
    with caplog.at_level("INFO"):
        engine = load_engine("lite-medsam")
    assert engine.model.encoder.runtime == "torch-cpu-fp32"
    assert "not OpenVINO" in caplog.text


def test_an_answer_that_is_kept_holds_its_own_mask_alone(lite_engine) -> None:
    model = lite_engine.model
    embedding = model.encode(model.prepare(np.zeros((64, 64), np.uint8), (1.0, 1.0)), CancelToken())
    [answer] = model.decode(embedding, ModelPrompt(box=(10.0, 10.0, 90.0, 90.0)))
    assert answer.logits.shape == (256, 256)
    assert answer.logits.base is None  # a view would hold all four masks of the decoder
