"""Experts add, never alter: the base's answer with experts is the base's answer without, to the last bit."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from MoESegLib import build_model
from MoESegLib.models.sam.build import Sam, mask_decoder, prompt_encoder
from MoESegLib.models.sam.image_encoder import ImageEncoderViT
from MoESegLib.models.segmote.asymmetric import AskedTensors, AsymmetricSegMoTE, trace_decoder
from MoESegLib.models.segmote.mote import TokenMixture, balance_loss, cv_squared
from MoESegLib.weights.safe_load import load_into, load_state_dict

PROMPTS = {
    "box": {"boxes": torch.tensor([[20.0, 30.0, 100.0, 120.0]])},
    "clicks": {"points": (torch.tensor([[[50.0, 60.0], [9.0, 8.0]]]), torch.tensor([[1, 0]]))},
    "click and box": {
        "points": (torch.tensor([[[50.0, 60.0]]]), torch.tensor([[1]])),
        "boxes": torch.tensor([[20.0, 30.0, 100.0, 120.0]]),
    },
    "mask": {"masks": torch.linspace(-5, 5, 256 * 256).reshape(1, 1, 256, 256)},
}


@pytest.fixture(scope="module")
def base(lite_medsam_path: Path):
    model = build_model("lite_medsam")
    load_into(model, load_state_dict(lite_medsam_path), "LiteMedSAM")
    return model


@pytest.fixture(scope="module")
def encoded(base):
    torch.manual_seed(0)
    with torch.inference_mode():
        return base.image_encoder.encode(torch.rand(1, 3, 256, 256))


def base_answer(base, image: torch.Tensor, prompt: dict):
    sparse, dense = base.prompt_encoder(**{"points": None, "boxes": None, "masks": None, **prompt})
    return base.mask_decoder(image, base.prompt_encoder.get_dense_pe(), sparse, dense, False)


def randomize(pack: torch.nn.Module) -> None:
    for parameter in pack.parameters():
        torch.nn.init.normal_(parameter, std=0.1)


@pytest.mark.weights
@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_base_mask_is_bit_identical_with_any_number_of_random_experts(prompt: str, base, encoded) -> None:
    torch.manual_seed(1)
    model = AsymmetricSegMoTE(copy.deepcopy(base)).eval()
    image, early = encoded
    with torch.inference_mode():
        logits, quality = base_answer(base, image, PROMPTS[prompt])
        for new in (["first"], ["second", "third"]):
            for name in new:
                randomize(model.add_pack(name, num_experts=2 + len(model.packs)))
            output = model(image, early, **PROMPTS[prompt])
            assert torch.equal(output.base_logits, logits)
            assert torch.equal(output.base_quality, quality)
            for name in new:
                assert not torch.allclose(output.packs[name].logits[:, :1], logits, atol=0.1)


@pytest.mark.weights
def test_a_pack_does_not_change_the_answer_of_another_pack(base, encoded) -> None:
    torch.manual_seed(2)
    model = AsymmetricSegMoTE(copy.deepcopy(base)).eval()
    randomize(model.add_pack("first"))
    with torch.inference_mode():
        alone = model(*encoded, **PROMPTS["clicks"]).packs["first"]
        randomize(model.add_pack("second", num_experts=5))
        together = model(*encoded, **PROMPTS["clicks"]).packs["first"]
    assert torch.equal(alone.logits, together.logits)
    assert torch.equal(alone.confidence, together.confidence)


@pytest.mark.weights
@pytest.mark.parametrize("prompt", PROMPTS)
def test_an_untrained_expert_answers_as_the_base(prompt: str, base, encoded) -> None:
    model = AsymmetricSegMoTE(copy.deepcopy(base)).eval()
    model.add_pack("untrained")
    with torch.inference_mode():
        output = model(*encoded, **PROMPTS[prompt])
    pack = output.packs["untrained"]
    assert pack.logits.shape == (1, 4, 256, 256)
    assert (pack.logits - output.base_logits).abs().max() < 1e-4
    assert torch.equal(pack.quality, output.base_quality.expand(1, 4))
    assert pack.chosen.item() == 0
    assert torch.allclose(pack.gate, torch.full((1, 4), 0.25))


@pytest.mark.weights
def test_the_traced_decoder_is_the_decoder(base, encoded) -> None:
    prompt = {"points": None, "masks": None, **PROMPTS["box"]}
    with torch.inference_mode():
        sparse, dense = base.prompt_encoder(**prompt)
        trace = trace_decoder(base.mask_decoder, encoded[0], base.prompt_encoder.get_dense_pe(), sparse, dense)
        logits, _ = base_answer(base, encoded[0], PROMPTS["box"])
    assert torch.equal(trace.logits, logits)


@pytest.mark.weights
def test_learned_point_offsets_reach_the_experts_and_not_the_base(base, encoded) -> None:
    model = AsymmetricSegMoTE(copy.deepcopy(base)).eval()
    pack = model.add_pack("clicks")
    with torch.inference_mode():
        before = model(*encoded, **PROMPTS["clicks"])
        pack.point_offsets[1] += 0.5
        after = model(*encoded, **PROMPTS["clicks"])
        with_box = model(*encoded, **PROMPTS["box"]).packs["clicks"].logits
    assert torch.equal(before.base_logits, after.base_logits)
    assert (before.packs["clicks"].logits - after.packs["clicks"].logits).abs().max() > 1e-3
    assert (with_box - base_answer(base, encoded[0], PROMPTS["box"])[0]).abs().max() < 1e-4


def small_base() -> Sam:
    """A SAM of its own width and depth, with random weights, for images of 128 pixels."""
    encoder = ImageEncoderViT(128, 48, depth=3, heads=4, global_blocks=(1, 2), out_width=64, window_size=3)
    base = Sam(encoder, prompt_encoder(64, 8, 128), mask_decoder(64))
    base.early_channels = 48
    for parameter in base.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return base.eval()


def test_experts_attach_to_a_sam_of_any_width() -> None:
    torch.manual_seed(5)
    base = small_base()
    prompt = {"points": (torch.tensor([[[50.0, 60.0]], [[9.0, 8.0]]]), torch.tensor([[1], [0]]))}
    model = AsymmetricSegMoTE(base).eval()
    model.add_pack("untrained", num_experts=3, rank=8)
    with torch.inference_mode():
        encoded = base.image_encoder.encode(torch.rand(1, 3, 128, 128))
        output = model(*encoded, **prompt)
        logits, _ = base_answer(base, encoded[0], prompt)
    assert torch.equal(output.base_logits, logits)
    assert output.packs["untrained"].logits.shape == (2, 3, 32, 32)
    assert (output.packs["untrained"].logits - logits).abs().max() < 1e-5 * max(1, float(logits.abs().max()))


def test_features_computed_once_for_an_image_give_the_same_answer() -> None:
    torch.manual_seed(6)
    base = small_base()
    model = AsymmetricSegMoTE(base).eval()
    randomize(model.add_pack("one"))
    randomize(model.add_pack("two"))
    encoded = base.image_encoder.encode(torch.rand(1, 3, 128, 128))
    with torch.inference_mode():
        features = model.image_features(*encoded)
        again = model(*encoded, **PROMPTS["box"], features=features)
        once = model(*encoded, **PROMPTS["box"])
    assert set(features) == {"one", "two"}
    for name in features:
        assert torch.equal(again.packs[name].logits, once.packs[name].logits)


@pytest.mark.parametrize("prompt", ["box", "clicks"])
def test_packs_answer_the_same_without_the_base(prompt: str) -> None:
    torch.manual_seed(8)
    base = small_base()
    model = AsymmetricSegMoTE(base).eval()
    for name in ("one", "two", "untrained"):
        pack = model.add_pack(name)
        if name != "untrained":
            randomize(pack)
    with torch.inference_mode():
        encoded = base.image_encoder.encode(torch.rand(1, 3, 128, 128))
        features, position = model.image_features(*encoded), base.prompt_encoder.get_dense_pe()
        asked = AskedTensors(**PROMPTS[prompt])
        alone = model.answer_alone(["untrained", "two"], encoded[0], position, features, asked)
        together = model(*encoded, **PROMPTS[prompt])
    assert list(alone) == ["untrained", "two"]
    for name, pack in alone.items():
        assert torch.equal(pack.logits, together.packs[name].logits)
        assert torch.equal(pack.quality, together.packs[name].quality)


def test_phrases_and_pooled_prompts_reach_the_packs_that_take_them_and_never_the_base() -> None:
    torch.manual_seed(9)
    base = small_base()
    model = AsymmetricSegMoTE(base).eval()
    for name, sizes in {"plain": {}, "text": {"text_width": 12}, "alone": {"queries": 2, "text_width": 12}}.items():
        randomize(model.add_pack(name, **sizes))
    phrase = torch.randn(1, 12)
    with torch.inference_mode():
        encoded = base.image_encoder.encode(torch.rand(1, 3, 128, 128))
        box = model(*encoded, **PROMPTS["box"])
        named = model(*encoded, **PROMPTS["box"], text=phrase)
        other = model(*encoded, **PROMPTS["box"], text=-phrase)
        pooled, said = model(*encoded, automatic=True), model(*encoded, automatic=True, text=phrase)
    assert torch.equal(box.base_logits, named.base_logits)
    assert torch.equal(box.packs["plain"].logits, named.packs["plain"].logits)
    for name in ("text", "alone"):
        assert not torch.equal(box.packs[name].logits, named.packs[name].logits)
        assert not torch.equal(other.packs[name].logits, named.packs[name].logits)
    for name in ("plain", "text"):  # nothing to pool with: they see an image without any prompt, as the base does
        with torch.inference_mode():
            assert torch.equal(pooled.packs[name].logits, model(*encoded).packs[name].logits)
    with torch.inference_mode():
        assert not torch.equal(pooled.packs["alone"].logits, model(*encoded).packs["alone"].logits)
        text_map = model.packs["alone"].text_mask(phrase)
        assert text_map.abs().max() > 0
    assert not torch.equal(pooled.packs["alone"].logits, said.packs["alone"].logits)
    assert torch.equal(pooled.packs["alone"].quality, said.packs["alone"].quality)  # the phrase acts by its map alone


def test_a_pack_travels_alone(tmp_path: Path) -> None:
    """Its tensors, saved without the base, make the same expert on another copy of the base."""
    torch.manual_seed(7)
    base = small_base()
    model, other = AsymmetricSegMoTE(copy.deepcopy(base)).eval(), AsymmetricSegMoTE(copy.deepcopy(base)).eval()
    pack = model.add_pack("liver")
    randomize(pack)
    save_file(pack.state_dict(), tmp_path / "liver.safetensors")
    received = other.add_pack("received")
    received.load_state_dict(load_file(tmp_path / "liver.safetensors"), strict=True)
    with torch.inference_mode():
        encoded = base.image_encoder.encode(torch.rand(1, 3, 128, 128))
        here, there = (m(*encoded, **PROMPTS["clicks"]) for m in (model, other))
    assert torch.equal(here.packs["liver"].logits, there.packs["received"].logits)


def test_a_pack_is_never_replaced_silently() -> None:
    model = AsymmetricSegMoTE(small_base())
    model.add_pack("liver")
    with pytest.raises(ValueError, match="liver"):
        model.add_pack("liver")


def test_only_the_experts_are_trained() -> None:
    model = build_model("segmote_lite")
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained
    assert all(name.startswith("packs.untrained.") for name in trained)
    assert sum(p.numel() for p in model.packs.parameters()) == 1_038_433
    base_keys = set(build_model("lite_medsam").state_dict())
    assert {key for key in model.state_dict() if not key.startswith("packs.")} == base_keys


def test_every_trained_part_gets_a_gradient_through_both_layers() -> None:
    torch.manual_seed(3)
    model = build_model("segmote_lite").train()
    pack = model.packs["untrained"]
    randomize(pack)
    torch.nn.init.zeros_(pack.point_offsets)  # where they start: what is zero must still be able to learn
    image, early = torch.randn(1, 256, 64, 64), torch.randn(1, 160, 64, 64)
    output = model(image, early, points=PROMPTS["clicks"]["points"]).packs["untrained"]
    (output.logits.square().mean() + output.quality.sum() + balance_loss(output.routings)).backward()
    silent = {name for name, parameter in pack.named_parameters() if not parameter.grad.any()}
    # Four tokens need not visit all four low-rank experts; everything else takes part in every answer.
    assert {name for name in silent if ".experts." not in name} == set()
    for layer in (0, 1):
        assert any(f"mixtures.{layer}.experts.{e}.weight" not in silent for e in range(4))
    assert all(parameter.grad is None for parameter in model.mask_decoder.parameters())


def test_the_full_gate_learns_and_the_released_gate_cannot() -> None:
    """With k = 1 the released gate is a softmax over one number: constant, so no gradient reaches it."""
    tokens = torch.randn(2, 4, 32)
    for gate, learns in (("full", True), ("released", False)):
        torch.manual_seed(4)
        mixture = TokenMixture(32, num_experts=4, rank=8, gate=gate).train()
        torch.nn.init.normal_(mixture.project.weight)
        update, routing = mixture(tokens)
        (update.square().sum() + 0 * routing.logits.sum()).backward()
        gradients = [mixture.w_gate.grad.abs().max(), mixture.w_noise.grad.abs().max()]
        assert all(gradient > 0 for gradient in gradients) is learns
        assert gate == "full" or max(gradients) == 0


def test_noise_is_for_training_only() -> None:
    mixture = TokenMixture(16).eval()
    torch.nn.init.normal_(mixture.project.weight)
    tokens = torch.randn(1, 4, 16)
    assert torch.equal(mixture(tokens)[0], mixture(tokens)[0])
    mixture.train()
    assert not torch.equal(mixture(tokens)[1].noisy, mixture(tokens)[1].noisy)


def test_the_balance_measure() -> None:
    assert cv_squared(torch.ones(4)) == 0
    assert cv_squared(torch.tensor([1.0, 0, 0, 0])).item() == pytest.approx(4)
    assert cv_squared(torch.ones(1)) == 0
