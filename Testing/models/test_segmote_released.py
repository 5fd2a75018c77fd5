"""SegMoTE as released: equal to the public code, strict about its checkpoints, what its gate can and cannot learn."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import segmote_reference as reference
import torch
from torch import Tensor

from MoESegLib.core.errors import WeightsError
from MoESegLib.models.segmote.released import (
    SegMoTEReleased,
    build_segmote_released,
    convert_segmote_state_dict,
)
from MoESegLib.models.segmote.released_transformer import MoTETransformer
from MoESegLib.models.text.clip_text import CLIPTextModel

ADDED_NAMES = (
    "expert_",
    "text_token",
    "boxApoint_token",
    "compress_vit_feat",
    "img_prompt_pool",
    "w_gate_token",
    "w_noise_token",
    "experts_token",
    ".dte",
    "proj_token",
)
BOX = {"bboxes": torch.tensor([[[40.0, 60.0, 170.0, 200.0]]])}
LEGACY = {
    "mask_decoder.expert_tokens.": "mask_decoder.hq_token.",
    "mask_decoder.expert_mlp.": "mask_decoder.hq_mlp.",
    "mask_decoder.expert_output_mlps.": "mask_decoder.output_hypernetworks_mlps_hq.",
    "mask_decoder.expert_embedding_encoder.": "mask_decoder.embedding_encoder.",
    "mask_decoder.expert_feature_fusion.": "mask_decoder.embedding_maskfeature.",
    "text_model.text_model.": "text_model.",
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with reference.one_thread():
        yield


@pytest.fixture(scope="module")
def model() -> SegMoTEReleased:
    built = build_segmote_released(reference.SIDE, reference.ENCODER_DEPTH, text=False)
    with torch.no_grad():
        reference.fill(built, "")
    return built


@pytest.fixture(scope="module")
def features(model: SegMoTEReleased) -> tuple[Tensor, Tensor]:
    with torch.inference_mode():
        return model.image_forward(reference.numbers("pixels", (1, 3, reference.SIDE, reference.SIDE)))


@pytest.fixture(scope="module")
def public_state() -> dict[str, Tensor]:
    """Keys and shapes of the whole public model, without memory for the values."""
    with torch.device("meta"):
        return build_segmote_released().state_dict()


@pytest.mark.parametrize("name", reference.cases())
def test_the_decoder_answers_as_the_public_one_does(model: SegMoTEReleased, name: str) -> None:
    stored = np.load(reference.REFERENCE)
    with torch.inference_mode():
        outputs = reference.answer(model.prompt_encoder, model.mask_decoder, reference.cases()[name])
    for key, value in reference.thinned(outputs).items():
        np.testing.assert_allclose(value, stored[f"{name}/{key}"], rtol=0, atol=1e-4, err_msg=key)


def test_the_reference_exercises_more_than_one_token() -> None:
    stored = np.load(reference.REFERENCE)
    assert len({int(token) for key in stored if key.endswith("/chosen") for token in stored[key]}) > 1


def test_the_image_encoder_answers_as_the_public_one_does(model: SegMoTEReleased) -> None:
    stored = np.load(reference.REFERENCE)
    with torch.inference_mode():
        outputs = reference.encoded(model.image_encoder)
    for key, value in outputs.items():
        np.testing.assert_allclose(value, stored[f"encoder/{key}"], rtol=0, atol=1e-4, err_msg=key)


def test_encoding_stops_between_blocks_and_gives_the_first_global_feature(model: SegMoTEReleased) -> None:
    pixels, calls = reference.numbers("pixels", (1, 3, reference.SIDE, reference.SIDE)), []
    with torch.inference_mode():
        embedding, early = model.image_encoder.encode(pixels, checkpoint=lambda: calls.append(None))
        again, listed = model.image_encoder(pixels)
    assert len(calls) == reference.ENCODER_DEPTH
    assert torch.equal(embedding, again)
    assert torch.equal(early, listed[0].permute(0, 3, 1, 2))


def test_parameters_and_tensors_number_as_published(public_state: dict[str, Tensor]) -> None:
    decoder = {key: value for key, value in public_state.items() if key.startswith("mask_decoder.")}
    constants = (".mean", ".std")
    added = {key for key in decoder if any(name in key for name in ADDED_NAMES) or key.endswith(constants)}
    assert sum(decoder[key].numel() for key in added if not key.endswith(constants)) == 17_563_776
    base = decoder.keys() - added
    assert len(base) == 129
    assert sum(decoder[key].numel() for key in base) == 23_366_404
    prompts = [value for key, value in public_state.items() if key.startswith("prompt_encoder.")]
    assert len(prompts) == 17
    text = [value for key, value in public_state.items() if key.startswith("text_model.text_model.")]
    assert (len(text), sum(value.numel() for value in text)) == (196, 63_165_952)


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("image_encoder.sam_encoder.pos_embed", (1, 64, 64, 768)),
        ("image_encoder.sam_encoder.blocks.11.mlp.fc1.weight", (3072, 768)),
        ("image_encoder.sam_encoder.blocks.1.attn.rel_pos_h", (27, 64)),
        ("image_encoder.sam_encoder.blocks.2.attn.rel_pos_w", (127, 64)),
        ("image_encoder.sam_encoder.neck.0.weight", (256, 768, 1, 1)),
        ("image_encoder.neck.2.weight", (768, 768, 3, 3)),
        ("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", (2, 384)),
        ("mask_decoder.transformer.layers.1.w_noise_token", (768, 4)),
        ("mask_decoder.transformer.layers.0.experts_token.3.lin1.weight", (64, 768)),
        ("mask_decoder.transformer.layers.1.dteall.bias", (64,)),
        ("mask_decoder.transformer.layers.0.std", (1,)),
        ("mask_decoder.img_prompt_pool.attn.in_proj_weight", (2304, 768)),
        ("mask_decoder.expert_output_mlps.3.layers.2.weight", (96, 768)),
        ("mask_decoder.semantic_prediction_head.layers.2.weight", (512, 256)),
        ("text_out_dim.weight", (768, 512)),
    ],
)
def test_keys_and_shapes_are_the_public_ones(public_state: dict[str, Tensor], key: str, shape: tuple[int, ...]) -> None:
    assert tuple(public_state[key].shape) == shape


def test_two_evaluations_are_identical(model: SegMoTEReleased, features: tuple[Tensor, Tensor]) -> None:
    with torch.inference_mode():
        first, loss, chosen = model.forward_decoder(features[0], BOX, features[1])
        second, _, _ = model.forward_decoder(features[0], BOX, features[1])
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert loss is not None
    assert chosen is not None
    assert int(chosen) in range(4)
    assert torch.equal(first["low_res_masks"][0, 0], first["expert_masks"][0, int(chosen)])


def test_routing_is_noisy_only_without_the_test_flag(model: SegMoTEReleased, features: tuple[Tensor, Tensor]) -> None:
    def masks(test_mode: bool, seed: int) -> Tensor:
        torch.manual_seed(seed)
        with torch.inference_mode():
            return model.forward_decoder(features[0], BOX, features[1], test_mode=test_mode)[0]["expert_masks"]

    assert torch.equal(masks(True, 0), masks(True, 1))
    assert not torch.equal(masks(False, 0), masks(False, 1))


def test_several_prompts_on_one_image_equal_one_by_one(model: SegMoTEReleased, features: tuple[Tensor, Tensor]) -> None:
    boxes = torch.cat([BOX["bboxes"], torch.tensor([[[10.0, 20.0, 90.0, 240.0]]])])
    with torch.inference_mode():
        together = model.forward_decoder(features[0], {"bboxes": boxes}, features[1])[0]["masks"]
        alone = [model.forward_decoder(features[0], {"bboxes": box[None]}, features[1])[0]["masks"] for box in boxes]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-4)


def test_quality_and_semantics_come_from_the_slot_with_the_best_predicted_iou(
    model: SegMoTEReleased, features: tuple[Tensor, Tensor]
) -> None:
    with torch.inference_mode():
        sparse, dense = model.prompt_encoder(None, BOX["bboxes"], None)
        position = model.prompt_encoder.get_dense_pe()
        slots, _, _ = model.mask_decoder(
            features[0], position, sparse, dense, None, True, features[1], False, None, True
        )
        outputs, _, _ = model.forward_decoder(features[0], BOX, features[1])
        refined, loss, chosen = model.forward_decoder(features[0], BOX, features[1], inter=True)
    best = int(slots["iou_pred"].argmax())
    assert float(outputs["iou_pred"]) == float(slots["iou_pred"][0, best])
    assert torch.equal(outputs["semantic_pred"][0, 0], slots["semantic_pred"][0, best])
    assert loss is None
    assert chosen is None
    # The first expert mask is no candidate, so slot i of the predicted IoU is expert mask i + 1.
    assert any(torch.equal(refined["low_res_masks"][0, 0], refined["expert_masks"][0, i]) for i in (1, 2, 3))


def with_weights(state: dict[str, Tensor], side: int = reference.SIDE) -> SegMoTEReleased:
    """A model that shares the given tensors: quicker than random initialization."""
    with torch.device("meta"):
        built = build_segmote_released(side, reference.ENCODER_DEPTH, text=False)
    built.load_state_dict(state, strict=True, assign=True)
    return built


def test_with_an_untrained_gate_the_first_token_always_answers(
    model: SegMoTEReleased, features: tuple[Tensor, Tensor]
) -> None:
    state = {key: torch.zeros_like(v) if "w_gate_token" in key else v for key, v in model.state_dict().items()}
    with torch.inference_mode():
        outputs, _, chosen = with_weights(state).forward_decoder(features[0], BOX, features[1])
    assert not outputs["gate_logits"].any()
    assert chosen is not None
    assert int(chosen) == 0


def transformer_gradients(gate: str) -> tuple[Tensor, Tensor]:
    transformer = MoTETransformer(2, 768, 8, 2048, gate=gate)  # type: ignore[arg-type] - parametrized
    with torch.no_grad():
        reference.fill(transformer, "mask_decoder.transformer.")
    torch.manual_seed(0)
    tokens, _, loss, _ = transformer(
        reference.numbers("image", (2, 768, 4, 4)),
        reference.numbers("position", (2, 768, 4, 4)),
        reference.numbers("tokens", (2, 15, 768)),
        False,
        False,
    )
    ((tokens[:, 9:13] * reference.numbers("target", (2, 4, 768))).sum() + loss).backward()
    layers = transformer.layers
    gates, noises = (
        torch.stack([getattr(layer, name).grad for layer in layers]) for name in ("w_gate_token", "w_noise_token")
    )
    return gates, noises


def test_the_released_gate_gets_no_gradient_at_all() -> None:
    gates, noises = transformer_gradients("released")
    assert not gates.any()
    assert not noises.any()


@pytest.mark.parametrize("gate", ["straight_through", "full"])
def test_the_other_gates_learn_in_every_layer(gate: str) -> None:
    gates, noises = transformer_gradients(gate)
    assert gates.flatten(1).any(dim=1).all()
    assert noises.flatten(1).any(dim=1).all()


@pytest.fixture(scope="module")
def starting(model: SegMoTEReleased) -> SegMoTEReleased:
    """The residual form on a trained base, before its experts are trained."""
    with torch.device("meta"):
        built = build_segmote_released(reference.SIDE, reference.ENCODER_DEPTH, gate="full", text=False, residual=True)
    built.load_state_dict({key: value.clone() for key, value in model.state_dict().items()}, strict=True, assign=True)
    built.mask_decoder.start_from_base()
    return built


def test_residual_experts_start_with_the_mask_of_the_first_mask_token(
    model: SegMoTEReleased, starting: SegMoTEReleased, features: tuple[Tensor, Tensor]
) -> None:
    decoder = starting.mask_decoder
    with torch.inference_mode():
        outputs, _, _ = starting.forward_decoder(features[0], BOX, features[1])
        sparse, dense = starting.prompt_encoder(None, BOX["bboxes"], None)
        tokens = torch.cat([decoder.output_tokens(1), sparse], dim=1)
        position = starting.prompt_encoder.get_dense_pe()
        hidden, image, _ = decoder.transformer.run(features[0] + dense, position, tokens, False, True)
        upscaled = decoder.upscale(image, features[0].shape[-2:])
        base = torch.einsum("bc,bcij->bij", decoder.output_hypernetworks_mlps[0](hidden[:, 1]), upscaled)
        released, _, _ = model.forward_decoder(features[0], BOX, features[1])
    assert float(base.std()) > 0.1
    torch.testing.assert_close(outputs["expert_masks"], base.unsqueeze(1).expand(-1, 4, -1, -1), rtol=0, atol=1e-4)
    assert not torch.allclose(released["expert_masks"][:, 0], base, atol=0.1)


def test_a_residual_model_is_built_at_its_start() -> None:
    decoder = build_segmote_released(reference.SIDE, reference.ENCODER_DEPTH, text=False, residual=True).mask_decoder
    assert torch.equal(decoder.expert_tokens.weight, decoder.mask_tokens.weight[:1].expand(4, -1))
    assert not any(layer.proj_token.weight.any() for layer in decoder.transformer.layers)


def test_residual_experts_learn_from_their_start(starting: SegMoTEReleased, features: tuple[Tensor, Tensor]) -> None:
    decoder = starting.mask_decoder
    # Features made in inference mode cannot take part in a backward pass.
    image, early = features[0].clone(), features[1].clone()
    outputs, loss, _ = starting.forward_decoder(image, BOX, early, test_mode=False)
    assert loss is not None
    (outputs["expert_masks"].square().mean() + 0.01 * loss).backward()
    last_layers = (
        *(layer.proj_token for layer in decoder.transformer.layers),
        decoder.compress_vit_feat[-1],
        decoder.expert_embedding_encoder[-1],
        decoder.expert_feature_fusion[-1],
    )
    assert all(layer.weight.grad.any() for layer in last_layers)
    assert all(layer.w_gate_token.grad.any() for layer in decoder.transformer.layers)


@pytest.mark.parametrize(("side", "pooled"), [(256, False), (512, True)])
def test_shapes_follow_the_image_size(model: SegMoTEReleased, side: int, pooled: bool) -> None:
    built = with_weights(model.state_dict(), side)
    with torch.inference_mode():
        embedding, early = built.image_forward(torch.zeros(1, 3, side, side))
        outputs, _, chosen = built.forward_decoder(embedding, {} if pooled else BOX, early, if_prompt=pooled)
    grid = side // 16
    assert embedding.shape == (1, 768, grid, grid)
    assert early.shape == (1, grid, grid, 768)
    assert outputs["low_res_masks"].shape == (1, 1, 4 * grid, 4 * grid)
    assert outputs["masks"].shape == (1, 1, side, side)
    assert outputs["expert_masks"].shape == (1, 4, 4 * grid, 4 * grid)
    assert outputs["semantic_pred"].shape == (1, 1, 512)
    assert chosen is not None
    assert chosen.shape == (1,)


def test_the_sentence_changes_the_mask(model: SegMoTEReleased, features: tuple[Tensor, Tensor]) -> None:
    built = with_weights(model.state_dict())
    built.text_model, built.text_out_dim = CLIPTextModel(hidden=64, depth=1), torch.nn.Linear(512, 768)
    ids = torch.tensor([[49406, 320, 4711, 49407], [49406, 320, 1234, 49407]])
    with torch.inference_mode():
        text = built.text_forward(ids)
        masks = built.forward_decoder(features[0], {"text_inputs": text}, features[1])[0]["masks"]
    assert text.shape == (2, 768)
    assert not torch.allclose(masks[0], masks[1], atol=1e-3)


def test_without_the_text_tower_sentences_are_refused(model: SegMoTEReleased) -> None:
    assert not any(key.startswith("text_") for key in model.state_dict())
    with pytest.raises(ValueError, match="text=True"):
        model.text_forward(torch.zeros(1, 4, dtype=torch.long))


def test_every_legacy_spelling_comes_back(public_state: dict[str, Tensor]) -> None:
    def old_name(key: str) -> str:
        for current, legacy in LEGACY.items():
            if key.startswith(current):
                return legacy + key.removeprefix(current)
        return key

    old = {old_name(key): value for key, value in public_state.items()}
    for current in LEGACY:
        assert any(key.startswith(current) for key in public_state)
        assert not any(key.startswith(current) for key in old)
    old["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    converted = convert_segmote_state_dict(old)
    assert converted.keys() == public_state.keys()
    assert all(converted[key] is value for key, value in public_state.items())
    assert convert_segmote_state_dict(converted) == converted


def test_a_tensor_under_two_spellings_is_refused() -> None:
    tokens = torch.zeros(4, 768)
    both = {"mask_decoder.hq_token.weight": tokens, "mask_decoder.expert_tokens.weight": tokens}
    with pytest.raises(WeightsError, match="two spellings"):
        convert_segmote_state_dict(both)


@pytest.mark.parametrize(
    "key", ["mask_decoder.transformer.layers.0.w_gate_token", "image_encoder.sam_encoder.blocks.0.mlp.fc2.bias"]
)
def test_strict_loading_names_a_missing_key(model: SegMoTEReleased, key: str) -> None:
    state = dict(model.state_dict())
    del state[key]
    with pytest.raises(RuntimeError, match=key):
        model.load_state_dict(convert_segmote_state_dict(state), strict=True)


@pytest.mark.parametrize("options", [{"image_size": 500}, {"top_k": 5}, {"encoder_depth": 2}])
def test_a_configuration_that_cannot_run_is_refused(options: dict[str, int]) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match="at least|multiple|Between"):
        build_segmote_released(**options, text=False)
