"""The engines of SAM and of released SegMoTE with random weights: shapes, routing, refinement, text, and no crash."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from fakes import blob_volume

from MoESegLib import BoxPrompt, PointPrompt, Session, TextPrompt
from MoESegLib.core.cancel import CancelToken
from MoESegLib.core.errors import Cancelled, PromptError
from MoESegLib.core.volume import Volume
from MoESegLib.engines.encoders import TorchEncoder
from MoESegLib.engines.protocol import Context
from MoESegLib.engines.sam import SamModel
from MoESegLib.engines.segmote import SegMoTEModel
from MoESegLib.engines.slice_engine import SliceEngine
from MoESegLib.models.sam.build import Sam, mask_decoder, prompt_encoder
from MoESegLib.models.sam.image_encoder import ImageEncoderViT

SIDE = 128


@pytest.fixture(scope="module")
def sam_engine() -> SliceEngine:
    torch.manual_seed(0)
    encoder = ImageEncoderViT(SIDE, 32, 2, 2, (1,), window_size=4)
    network = Sam(encoder, prompt_encoder(256, SIDE // 16, SIDE), mask_decoder(256)).eval()
    runtime = TorchEncoder(network.image_encoder, torch.device("cpu"))
    return SliceEngine(SamModel("sam-test", network, runtime, "seed 0", frozenset({"point", "box", "mask"}), SIDE))


@pytest.fixture(scope="module")
def segmote_engine(tmp_path_factory: pytest.TempPathFactory) -> SliceEngine:
    from MoESegLib.models.segmote.released import build_segmote_released

    torch.manual_seed(0)
    network = build_segmote_released(image_size=SIDE, encoder_depth=3, text=True)
    for layer in network.mask_decoder.transformer.layers:
        torch.nn.init.normal_(layer.w_gate_token)
    runtime = TorchEncoder(network.image_encoder, torch.device("cpu"))
    return SliceEngine(SegMoTEModel(network, runtime, "seed 0", tmp_path_factory.mktemp("tokenizer")))


def point(volume: Volume, i: float, j: float, positive: bool = True) -> PointPrompt:
    return PointPrompt(tuple(volume.to_ras([i, j, 4])), positive)


def box(volume: Volume) -> BoxPrompt:
    a, b = volume.to_ras([[10, 8, 4], [36, 30, 4]])
    return BoxPrompt(tuple(a), tuple(b), plane="axial")


@pytest.mark.parametrize("name", ["sam_engine", "segmote_engine"])
def test_prompts_of_every_kind_it_understands_get_an_answer(name: str, request: pytest.FixtureRequest) -> None:
    engine, volume = request.getfixturevalue(name), blob_volume()
    with Session(volume, engine, prefetch=False) as session:
        session.add(point(volume, 20, 20))
        first = session.result("Segment_1")
        assert 0 <= first.confidence <= 1
        session.add(point(volume, 30, 22, positive=False))
        session.add(box(volume))
        mask = session.mask("Segment_1")
        assert mask.shape == volume.shape
        assert not mask[[0, 1, 2, 3, 5, 6, 7, 8]].any()
        with Session(volume, engine, prefetch=False) as fresh:
            for prompt in session.prompts():
                fresh.add(prompt)
            assert np.array_equal(fresh.mask("Segment_1"), mask)


def test_sam_preprocessing_is_that_of_segment_anything(sam_engine: SliceEngine) -> None:
    """Longest side by antialiased bilinear resizing, ImageNet statistics, zero padding."""
    from PIL import Image

    image = np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    prepared = sam_engine.model.prepare(image, (1.0, 1.0))
    small = np.asarray(Image.fromarray(image).resize((85, 128), Image.Resampling.BILINEAR)).astype(np.float32)
    expected = (small - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375]
    assert prepared.resized == (128, 85)
    assert np.allclose(prepared.pixels[:, :, :85].transpose(1, 2, 0), expected, atol=1e-5)
    assert not prepared.pixels[:, :, 85:].any()


def test_segmote_names_the_routed_expert_and_offers_the_others(segmote_engine: SliceEngine) -> None:
    volume = blob_volume()
    prediction = segmote_engine.predict(volume, [box(volume)], Context())
    names = {prediction.expert, *(other.expert for other in prediction.alternatives)}
    assert names == {f"segmote/{token}" for token in range(4)}
    other = prediction.alternatives[0].expert
    chosen = segmote_engine.predict(volume, [box(volume)], Context(expert=other))
    assert chosen.expert == other
    assert np.array_equal(chosen.patch.voxels, prediction.alternatives[0].patch.voxels)


def test_segmote_resizes_by_nearest_neighbor_whatever_the_aspect(segmote_engine: SliceEngine) -> None:
    prepared = segmote_engine.model.prepare(
        np.arange(64 * 256, dtype=np.uint16).reshape(64, 256).astype(np.uint8), (1, 1)
    )
    assert prepared.pixels.shape == (3, SIDE, SIDE)
    assert prepared.scale == (0.5, 2.0)
    assert np.array_equal(prepared.pixels[:, 0], prepared.pixels[:, 1])


def test_text_without_a_tokenizer_says_what_is_missing(segmote_engine: SliceEngine) -> None:
    image = blob_volume((1, 40, 48))
    engine = segmote_engine
    engine.check(image, [TextPrompt("liver")], "slice")
    with pytest.raises(PromptError, match="vocab.json"):
        engine.predict(image, [TextPrompt("liver")], Context())
    with pytest.raises(PromptError, match="names no slice"):
        engine.check(blob_volume(), [TextPrompt("liver")], "slice")


def test_text_with_a_tokenizer_gives_a_mask_on_every_slice(segmote_engine: SliceEngine) -> None:
    """The real tokenizer class on a vocabulary of single letters; CLIP's own files do not ship."""
    letters = "abcdefghijklmnopqrstuvwxyz."
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    vocabulary |= {"<|startoftext|>": 49406, "<|endoftext|>": 49407}
    folder = segmote_engine.model.tokenizer_folder
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    volume, seen = blob_volume((3, 40, 48)), []
    context = Context("volume", progress=lambda fraction, message: seen.append(fraction))
    prediction = segmote_engine.predict(volume, [TextPrompt("Left_Kidney")], context)
    assert len(seen) == 3
    assert prediction.expert.startswith("segmote/")
    other = segmote_engine.predict(volume, [TextPrompt("liver")], Context("volume"))
    again = segmote_engine.predict(volume, [TextPrompt("left kidney")], Context("volume"))
    assert np.array_equal(again.patch.to_array(volume.shape), prediction.patch.to_array(volume.shape))
    assert not np.array_equal(other.patch.to_array(volume.shape), prediction.patch.to_array(volume.shape))


@pytest.mark.parametrize("name", ["sam_engine", "segmote_engine"])
def test_encoding_can_be_cancelled(name: str, request: pytest.FixtureRequest) -> None:
    engine, token = request.getfixturevalue(name), CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        engine.prefetch(blob_volume(), 2, 4, Context(cancel=token))
