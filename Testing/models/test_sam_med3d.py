"""SAM-Med3D: equal to the public code, its tensors those of the released weights, and sizes read off a file."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import sam_med3d_reference as reference
import torch
from torch import Tensor, nn

from MoESegLib import build_model
from MoESegLib.core.errors import Cancelled, PromptError, WeightsError
from MoESegLib.models.sam_med3d import SamMed3D, SamMed3DConfig, build_sam_med3d, config_of
from MoESegLib.weights.safe_load import check_state_dict, load_into, load_state_dict

SMALL = reference.CONFIGS["one_window"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with reference.one_thread():
        yield


@pytest.fixture(scope="module", params=list(reference.CONFIGS))
def named(request: pytest.FixtureRequest) -> tuple[str, SamMed3D]:
    model = build_sam_med3d(reference.CONFIGS[request.param])
    reference.fill_all(model)
    return request.param, model


@pytest.fixture(scope="module")
def model() -> SamMed3D:
    built = build_sam_med3d(SMALL)
    reference.fill_all(built)
    return built


@pytest.fixture(scope="module")
def released() -> SamMed3D:
    """The released sizes, without memory for the values."""
    with torch.device("meta"):
        return cast(SamMed3D, build_model("sam_med3d"))


# Equal to the public code ----------------------------------------------------------------------------------------


@torch.inference_mode()
def test_masks_and_embeddings_are_those_of_the_public_code(named: tuple[str, SamMed3D]) -> None:
    name, model = named
    stored = np.load(reference.REFERENCE)
    image = reference.embedding(model, model.config)
    np.testing.assert_allclose(image.numpy(), stored[f"{name}/embedding"], rtol=0, atol=1e-4)
    for case, prompt in reference.cases(model.config).items():
        for key, value in reference.thinned(reference.answers(model, image, prompt)).items():
            np.testing.assert_allclose(
                value, stored[f"{name}/{case}/{key}"], rtol=0, atol=1e-4, err_msg=f"{case} {key}"
            )


@torch.inference_mode()
def test_the_reference_depends_on_every_position_table(named: tuple[str, SamMed3D]) -> None:
    name, model = named
    stored = torch.from_numpy(np.load(reference.REFERENCE)[f"{name}/embedding"])
    for table in ("rel_pos_d", "rel_pos_h", "rel_pos_w"):
        without = build_sam_med3d(model.config)
        without.load_state_dict({k: v * 0 if table in k else v for k, v in model.state_dict().items()})
        assert float((reference.embedding(without, model.config) - stored).abs().max()) > 0.1


def test_the_dense_position_encoding_has_its_first_two_axes_swapped(model: SamMed3D) -> None:
    encoder, patch = model.prompt_encoder, model.config.patch_size
    dense = encoder.get_dense_pe()[0]
    for i, j, k in ((0, 1, 2), (3, 0, 1), (2, 2, 0)):
        # Half a voxel is added to a point, so the center of a patch is half a voxel before its geometric center.
        centers = (torch.tensor([[[j, i, k], [i, j, k]]]) + 0.5) * patch - 0.5
        point = encoder.pe_layer.encode((centers + 0.5) / model.config.image_size)[0]
        torch.testing.assert_close(dense[:, i, j, k], point[0])
        assert torch.allclose(point[0], point[1]) == (i == j)


def test_positions_are_encoded_as_sine_cosine_and_sine_again(model: SamMed3D) -> None:
    encoder = model.prompt_encoder.pe_layer
    position = torch.tensor([[0.2, 0.9, 0.4]])
    phases = 2 * torch.pi * (2 * position - 1) @ encoder.positional_encoding_gaussian_matrix
    expected = torch.cat([phases.sin(), phases.cos(), phases.sin()], dim=-1)
    torch.testing.assert_close(encoder.encode(position), expected)


# The tensors of the released weights -----------------------------------------------------------------------------


def linear(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def encoder_tensors() -> dict[str, tuple[int, ...]]:
    expected: dict[str, tuple[int, ...]] = {
        "pos_embed": (1, 8, 8, 8, 768),
        "patch_embed.proj.weight": (768, 1, 16, 16, 16),
        "patch_embed.proj.bias": (768,),
        "neck.0.weight": (384, 768, 1, 1, 1),
        **norm("neck.1", 384),
        "neck.2.weight": (384, 384, 3, 3, 3),
        **norm("neck.3", 384),
    }
    for block in range(12):
        name = f"blocks.{block}"
        expected |= norm(f"{name}.norm1", 768) | norm(f"{name}.norm2", 768)
        expected |= linear(f"{name}.attn.qkv", 2304, 768) | linear(f"{name}.attn.proj", 768, 768)
        expected |= linear(f"{name}.mlp.lin1", 3072, 768) | linear(f"{name}.mlp.lin2", 768, 3072)
        distances = 15 if block in (2, 5, 8, 11) else 27
        expected |= {f"{name}.attn.rel_pos_{axis}": (distances, 64) for axis in "dhw"}
    return expected


def prompt_tensors() -> dict[str, tuple[int, ...]]:
    return {
        "pe_layer.positional_encoding_gaussian_matrix": (3, 128),
        "point_embeddings.0.weight": (1, 384),
        "point_embeddings.1.weight": (1, 384),
        "not_a_point_embed.weight": (1, 384),
        "no_mask_embed.weight": (1, 384),
        "mask_downscaling.0.weight": (4, 1, 2, 2, 2),
        "mask_downscaling.0.bias": (4,),
        **norm("mask_downscaling.1", 4),
        "mask_downscaling.3.weight": (16, 4, 2, 2, 2),
        "mask_downscaling.3.bias": (16,),
        **norm("mask_downscaling.4", 16),
        "mask_downscaling.6.weight": (384, 16, 1, 1, 1),
        "mask_downscaling.6.bias": (384,),
    }


def attention(name: str, inner: int) -> dict[str, tuple[int, ...]]:
    projections = [linear(f"{name}.{part}_proj", inner, 384) for part in "qkv"]
    return projections[0] | projections[1] | projections[2] | linear(f"{name}.out_proj", 384, inner)


def decoder_tensors() -> dict[str, tuple[int, ...]]:
    expected: dict[str, tuple[int, ...]] = {
        "iou_token.weight": (1, 384),
        "mask_tokens.weight": (4, 384),
        "output_upscaling.0.weight": (384, 96, 2, 2, 2),
        "output_upscaling.0.bias": (96,),
        **norm("output_upscaling.1", 96),
        "output_upscaling.3.weight": (96, 48, 2, 2, 2),
        "output_upscaling.3.bias": (48,),
        **attention("transformer.final_attn_token_to_image", 192),
        **norm("transformer.norm_final_attn", 384),
    }
    for layer in ("transformer.layers.0", "transformer.layers.1"):
        expected |= attention(f"{layer}.self_attn", 384)
        expected |= attention(f"{layer}.cross_attn_token_to_image", 192)
        expected |= attention(f"{layer}.cross_attn_image_to_token", 192)
        expected |= linear(f"{layer}.mlp.lin1", 2048, 384) | linear(f"{layer}.mlp.lin2", 384, 2048)
        for number in (1, 2, 3, 4):
            expected |= norm(f"{layer}.norm{number}", 384)
    for mask in range(4):
        name = f"output_hypernetworks_mlps.{mask}.layers"
        expected |= linear(f"{name}.0", 384, 384) | linear(f"{name}.1", 384, 384) | linear(f"{name}.2", 48, 384)
    head = "iou_prediction_head.layers"
    return expected | linear(f"{head}.0", 256, 384) | linear(f"{head}.1", 256, 256) | linear(f"{head}.2", 4, 256)


PUBLIC_TENSORS = {
    f"{part}.{key}": shape
    for part, tensors in (
        ("image_encoder", encoder_tensors()),
        ("prompt_encoder", prompt_tensors()),
        ("mask_decoder", decoder_tensors()),
    )
    for key, shape in tensors.items()
}


def test_keys_and_shapes_are_those_of_the_released_weights(released: SamMed3D) -> None:
    assert {key: tuple(value.shape) for key, value in released.state_dict().items()} == PUBLIC_TENSORS
    counts = [sum(key.startswith(part) for key in PUBLIC_TENSORS) for part in ("image", "prompt", "mask_decoder")]
    assert counts == [189, 15, 120]


def test_every_part_has_as_many_parameters_as_published(released: SamMed3D) -> None:
    parts = (released.image_encoder, released.prompt_encoder, released.mask_decoder)
    assert [sum(p.numel() for p in part.parameters()) for part in parts] == [92_924_928, 8_668, 7_575_636]


def test_a_state_dict_with_the_public_tensors_loads_strictly(released: SamMed3D) -> None:
    state = {key: torch.zeros(()).expand(shape) for key, shape in PUBLIC_TENSORS.items()}
    assert config_of(state) == SamMed3DConfig()
    check_state_dict(state, {key: tuple(value.shape) for key, value in released.state_dict().items()}, "SAM-Med3D")
    with torch.device("meta"):
        build_sam_med3d(config_of(state)).load_state_dict(state, strict=True, assign=True)


# Sizes and files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        *reference.CONFIGS.values(),
        SamMed3DConfig(64, 8, 96, 4, 3, (1, 3), 4, 96, 256, 4),
        SamMed3DConfig(32, 8, 48, 2, 1, (0, 1), 4, 48, 64),
    ],
)
def test_the_sizes_are_read_off_the_weights(config: SamMed3DConfig) -> None:
    with torch.device("meta"):
        state = build_sam_med3d(config).state_dict()
    assert config_of(state) == config


def test_a_training_checkpoint_of_a_compact_model_is_read_by_its_tensors_alone(model: SamMed3D, tmp_path: Path) -> None:
    path = tmp_path / "sam_model_dice_best.pth"
    content = {"epoch": 3, "best_loss": float("inf"), "losses": [0.5], "args": argparse.Namespace(lr=8e-4)}
    torch.save(content | {"model_state_dict": model.state_dict(), "optimizer_state_dict": {"state": {}}}, path)
    state = load_state_dict(path)
    again = build_sam_med3d(config_of(state))
    load_into(again, state, "the weights of SAM-Med3D")
    assert all(torch.equal(again.state_dict()[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("change", ["without positions", "of another network", "of two dimensions", "nothing"])
def test_weights_of_something_else_are_refused(model: SamMed3D, change: str) -> None:
    state: dict[str, Tensor] = model.state_dict()
    if change == "without positions":
        del state["image_encoder.pos_embed"]
    elif change == "of another network":
        state = dict(build_model("lite_medsam").state_dict())
    elif change == "of two dimensions":
        state["image_encoder.pos_embed"] = torch.zeros(1, 4)
    else:
        state = {}
    with pytest.raises(WeightsError, match=r"SAM-Med3D.*sam_med3d_turbo\.pth"):
        config_of(state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 100}, "multiple of the patch size"),
        ({"heads": 5}, "multiple of the heads"),
        ({"prompt_width": 100}, "multiple of 48"),
        ({"point_embeddings": 3}, "2 or 4"),
        ({"global_blocks": (12,)}, "0 to 11"),
        ({"window_size": 0}, "at least 1"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model("sam_med3d", **options)


# Prompts ---------------------------------------------------------------------------------------------------------


def test_boxes_need_weights_that_have_embeddings_for_them(model: SamMed3D) -> None:
    box = torch.tensor([[1.0, 2.0, 3.0, 20.0, 21.0, 22.0]])
    with pytest.raises(PromptError, match="click inside"):
        model.prompt_encoder(points=None, boxes=box, masks=None)
    four = build_model("sam_med3d", image_size=32, width=48, heads=3, depth=1, global_blocks=(), point_embeddings=4)
    encoder = cast(SamMed3D, four).prompt_encoder
    tokens, _ = encoder(points=None, boxes=box, masks=None)
    corners = encoder.pe_layer.encode((box.reshape(1, 2, 3) + 0.5) / 32)
    for corner in (0, 1):
        label = cast(nn.Embedding, encoder.point_embeddings[2 + corner]).weight[0]
        torch.testing.assert_close(tokens[0, corner], corners[0, corner] + label)


@torch.inference_mode()
def test_several_prompts_on_one_volume_equal_one_by_one(model: SamMed3D) -> None:
    image = reference.embedding(model, SMALL)
    points, labels = reference.cases(SMALL)["two_prompts"]["points"]
    together = reference.answers(model, image, {"points": (points, labels), "boxes": None, "masks": None})
    for index in range(2):
        one = {"points": (points[index : index + 1], labels[index : index + 1]), "boxes": None, "masks": None}
        alone = reference.answers(model, image, one)["logits"]
        torch.testing.assert_close(together["logits"][index : index + 1], alone, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_without_points_there_are_no_tokens_and_without_a_mask_one_learned_map(model: SamMed3D) -> None:
    tokens, dense = model.prompt_encoder(points=None, boxes=None, masks=None)
    assert tokens.shape == (1, 0, 48)
    assert dense.shape == (1, 48, 4, 4, 4)
    assert torch.equal(dense[0, :, 1, 2, 3], model.prompt_encoder.no_mask_embed.weight[0])


def test_encoding_stops_between_blocks(model: SamMed3D) -> None:
    calls = []

    def stop_at_the_second() -> None:
        calls.append(None)
        if len(calls) == 2:
            raise Cancelled("enough")

    with torch.inference_mode(), pytest.raises(Cancelled):
        model.image_encoder.encode(reference.volume(SMALL), stop_at_the_second)
    assert len(calls) == 2
