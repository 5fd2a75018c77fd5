"""SAM-Med3D through the engine: the public inference to the last click, and its weights by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fakes3d import at, field_volume

from MoESegLib.core.cancel import CancelToken
from MoESegLib.core.errors import Cancelled, WeightsError, WeightsMissingError
from MoESegLib.core.volume import Volume
from MoESegLib.engines import load_engine
from MoESegLib.engines.protocol import Context
from MoESegLib.engines.protocol3d import CropPrompt
from MoESegLib.engines.registry import engine_names
from MoESegLib.engines.sam_med3d import SamMed3DModel
from MoESegLib.engines.volume_engine import VolumeEngine
from MoESegLib.models.sam_med3d import SamMed3D, build_sam_med3d
from MoESegLib.weights.store import import_file

SIZES = {
    "image_size": 32,
    "patch_size": 8,
    "width": 24,
    "depth": 2,
    "heads": 2,
    "global_blocks": (1,),
    "window_size": 3,
    "prompt_width": 48,
    "decoder_mlp": 32,
}


@pytest.fixture(scope="module")
def network() -> SamMed3D:
    torch.manual_seed(3)
    network = build_sam_med3d(**SIZES)
    with torch.no_grad():  # small random weights answer nearly alike everywhere; these do not
        for parameter in network.parameters():
            parameter.mul_(2.0)
    return network


@pytest.fixture
def model(network: SamMed3D) -> SamMed3DModel:
    return SamMed3DModel("tiny", network, "id", torch.device("cpu"), exact=True)


@pytest.fixture(scope="module")
def volume() -> Volume:
    """On the grid of the model already, so that the public steps need no resampling."""
    matrix = np.diag([1.5, 1.5, 1.5, 1])
    return field_volume((40, 20, 36), matrix, lambda p: 40 + 60 * np.sin(p / 6).sum(axis=-1), "CT")


def public_inference(network: SamMed3D, array: np.ndarray, clicks: list[tuple[list[int], int]]) -> np.ndarray:
    """The steps of ``infer_utils.py`` in plain words, on an array [r, a, s] of 1.5 mm voxels."""
    size, grid = 32, network.config.mask_size
    begin = np.array(clicks[0][0]) - size // 2
    crop = np.zeros((size,) * 3, np.float32)
    low, high = np.maximum(begin, 0), np.minimum(begin + size, array.shape)
    inner = tuple(slice(a - b, z - b) for a, z, b in zip(low, high, begin, strict=True))
    outer = tuple(slice(a, z) for a, z in zip(low, high, strict=True))
    crop[inner] = array[outer]
    values = crop[crop > 0].astype(np.float64)
    image = torch.from_numpy(((crop - values.mean()) / values.std(ddof=1)).astype(np.float32))[None, None]
    masks, points, labels = torch.zeros(1, 1, grid, grid, grid), [], []
    with torch.inference_mode():
        embedding = network.image_encoder(image)
        for place, label in clicks:
            points.append(list(np.array(place) - begin))
            labels.append(label)
            sparse, dense = network.prompt_encoder(
                points=(torch.tensor([points], dtype=torch.float32), torch.tensor([labels])), boxes=None, masks=masks
            )
            masks, _ = network.mask_decoder(
                image_embeddings=embedding,
                image_pe=network.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=False,
            )
        logits = F.interpolate(masks, (size,) * 3, mode="trilinear", align_corners=False)[0, 0]
    result = np.zeros(array.shape, np.uint8)
    result[outer] = (torch.sigmoid(logits) > 0.5).numpy()[inner]
    return result


@pytest.mark.parametrize("clicks", [1, 2, 4])
def test_strict_upstream_is_the_public_inference_voxel_by_voxel(
    network: SamMed3D, model: SamMed3DModel, volume: Volume, clicks: int
) -> None:
    places = [([20, 12, 25], 1), ([24, 9, 20], 1), ([12, 5, 30], 0), ([18, 15, 14], 1)][:clicks]
    expected = public_inference(network, volume.array.transpose(2, 1, 0), places)
    prompts = [at(1.5 * np.array(place), positive=label == 1) for place, label in places]
    result = VolumeEngine(model, strict_upstream=True).predict(volume, prompts, Context("volume"))
    mask = result.patch.to_array(volume.shape).transpose(2, 1, 0)
    assert 0.05 < expected.mean() < 0.95
    assert np.array_equal(mask, expected)
    assert result.confidence is None


def test_the_first_click_goes_with_a_mask_of_zeros(model: SamMed3DModel) -> None:
    prompt = CropPrompt(np.full((1, 3), 16, np.float32), np.ones(1, np.int64))
    zeros = CropPrompt(prompt.points, prompt.labels, np.zeros((16, 16, 16), np.float32))
    embedding = {"image": torch.randn(1, 48, 4, 4, 4, generator=torch.Generator().manual_seed(0))}
    first, second = (model.decode(embedding, one)[0].logits for one in (prompt, zeros))
    assert np.array_equal(first, second)
    inputs = model.decoder_inputs(embedding, prompt)
    with torch.inference_mode():
        _, no_mask = model.network.prompt_encoder(points=None, boxes=None, masks=None)
    assert not torch.allclose(inputs["dense_prompt_embeddings"], no_mask)


def test_a_mask_alone_is_answered(model: SamMed3DModel) -> None:
    embedding = {"image": torch.zeros(1, 48, 4, 4, 4)}
    [answer] = model.decode(embedding, CropPrompt(logits=np.full((16, 16, 16), 3, np.float32)))
    assert answer.logits.shape == (16, 16, 16)
    assert (answer.expert, answer.quality) == ("base", None)


def test_cancel_stops_the_encoder_between_blocks(model: SamMed3DModel, volume: Volume) -> None:
    token, engine = CancelToken(), VolumeEngine(model)
    crop = engine.crop(volume, engine.grid(volume), (0, 0, 0))
    token.cancel()
    with pytest.raises(Cancelled):
        model.encode(crop, token)


def test_weights_of_any_size_are_loaded_by_name(network: SamMed3D, volume: Volume, home: Path, tmp_path: Path) -> None:
    file = tmp_path / "organ.pth"
    torch.save({"model_state_dict": network.state_dict()}, file)
    import_file(file, "sam-med3d-organ")
    engine = load_engine("sam-med3d-organ", runtime="torch", strict_upstream=True)
    assert (engine.name, engine.model.crop_size, engine.model.mask_grid) == ("sam-med3d-organ", 32, 16)
    click = at(1.5 * np.array([20, 12, 25]))
    result = engine.predict(volume, [click], Context("volume"))
    expected = public_inference(network, volume.array.transpose(2, 1, 0), [([20, 12, 25], 1)])
    assert np.array_equal(result.patch.to_array(volume.shape).transpose(2, 1, 0), expected)
    with pytest.raises(WeightsError, match="without a window"):
        load_engine("sam-med3d-organ", window=(0, 100))
    with pytest.raises(WeightsError, match="takes no experts"):
        load_engine("sam-med3d-organ", experts=[])


def test_sam_med3d_without_weights_says_which_to_get(nothing_shipped: Path) -> None:
    with pytest.raises(WeightsMissingError, match="moeseg models get sam-med3d-turbo"):
        load_engine("sam-med3d")
    assert "sam-med3d-turbo" in engine_names()


def test_weights_of_another_network_are_refused(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "other.pth"
    torch.save({"image_encoder.patch_embed.proj.weight": torch.zeros(768, 3, 16, 16)}, file)
    import_file(file, "sam-med3d-organ")
    with pytest.raises(WeightsError, match="not the weights of a SAM-Med3D network"):
        load_engine("sam-med3d-organ")
