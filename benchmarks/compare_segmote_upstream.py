"""Compare released SegMoTE with the public code on equal weights, and optionally rewrite the reference of the test.

    python benchmarks/compare_segmote_upstream.py CHECKOUT [--write]

CHECKOUT is a clone of https://github.com/InMyDreammer/SegMoTE; its files need pandas, and timm for the image encoder
(which is left out with --no-encoder). Exits with status 1 if a logit differs by 1e-4 or more, or another token answers.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from MoESegLib.models.segmote.released import build_segmote_released

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Testing" / "models"))
import segmote_reference as reference

TOLERANCE = 1e-4
PACKAGE = "segmote_checkout"


def import_checkout(checkout: Path, module: str) -> types.ModuleType:
    """A modeling file of the checkout, without running the package's own imports of the whole model."""
    if PACKAGE not in sys.modules:
        package = types.ModuleType(PACKAGE)
        package.__path__ = [str(checkout / "segment_anything" / "modeling")]
        sys.modules[PACKAGE] = package
    return importlib.import_module(f"{PACKAGE}.{module}")


def public_decoder(checkout: Path) -> tuple[nn.Module, nn.Module]:
    """The public prompt encoder and mask decoder, configured as in its ``build_sam.py``."""
    grid = (reference.GRID, reference.GRID)
    prompt_encoder = import_checkout(checkout, "prompt_encoder").PromptEncoder(
        embed_dim=reference.WIDTH,
        image_embedding_size=grid,
        input_image_size=(reference.SIDE, reference.SIDE),
        mask_in_chans=16,
    )
    transformer = import_checkout(checkout, "transformer").TwoWayTransformer(
        depth=2, embedding_dim=reference.WIDTH, mlp_dim=2048, num_heads=8
    )
    decoder = import_checkout(checkout, "mask_decoder").MaskDecoder(
        transformer=transformer, transformer_dim=reference.WIDTH
    )
    return prompt_encoder.eval(), with_gate_logits(decoder.eval())


def with_gate_logits(decoder: Any) -> nn.Module:
    """The public decoder, which keeps the gate logits of its last layer to itself, returning them too."""
    layer, forward, noted = decoder.transformer.layers[-1], decoder.forward, {}
    route = layer.noisy_top_k_gating_token

    def note(x: Tensor, test_mode: bool) -> Any:
        noted["gate_logits"] = x @ layer.w_gate_token
        return route(x, test_mode)

    def answer(**inputs: Any) -> tuple[dict[str, Tensor], Tensor | None, Tensor | None]:
        outputs, loss, chosen = forward(**inputs)
        return outputs | noted, loss, chosen

    layer.noisy_top_k_gating_token, decoder.forward = note, answer
    return decoder


def public_encoder(checkout: Path) -> nn.Module:
    """The public image encoder with the first blocks only."""
    encoder = import_checkout(checkout, "image_encoder").ViT(
        out_chans=reference.WIDTH, depth=reference.ENCODER_DEPTH, pretrained=False
    )
    encoder.sam_encoder.blocks = encoder.sam_encoder.blocks[: reference.ENCODER_DEPTH]
    return encoder.eval()


def report(name: str, ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> bool:
    """Print the largest difference of every output; true if all are equal within the tolerance."""
    differences = {key: float(np.abs(ours[key] - theirs[key]).max()) for key in theirs}
    size = max(float(np.abs(value).max()) for value in theirs.values())
    equal = all(difference < TOLERANCE for difference in differences.values())
    token = f" token {theirs['chosen'].tolist()}" if "chosen" in theirs else ""
    listed = ", ".join(f"{key} {difference:.1e}" for key, difference in differences.items())
    print(f"{'same' if equal else 'DIFFERENT'}  {name}: {listed} (values up to {size:.1f}){token}")
    return equal


@torch.inference_mode()
def main() -> int:
    """Run the comparison; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="a clone of the public repository")
    parser.add_argument("--write", action="store_true", help="rewrite the reference file from the public outputs")
    parser.add_argument("--no-encoder", action="store_true", help="leave the image encoder (timm) out")
    arguments = parser.parse_args()
    if not (arguments.checkout / "segment_anything" / "modeling" / "mask_decoder.py").is_file():
        parser.error(f"{arguments.checkout} holds no segment_anything/modeling/mask_decoder.py")
    if arguments.write and arguments.no_encoder:
        parser.error("the reference holds the image encoder too, so --write cannot go with --no-encoder")

    ours = build_segmote_released(reference.SIDE, reference.ENCODER_DEPTH, text=False)
    prompt_encoder, decoder = public_decoder(arguments.checkout)
    for prefix, mine, public in (
        ("prompt_encoder.", ours.prompt_encoder, prompt_encoder),
        ("mask_decoder.", ours.mask_decoder, decoder),
    ):
        reference.fill(public, prefix)
        mine.load_state_dict(public.state_dict(), strict=True)
    equal, stored = True, {}
    for name, case in reference.cases().items():
        theirs = reference.answer(prompt_encoder, decoder, case)
        mine = reference.answer(ours.prompt_encoder, ours.mask_decoder, case)
        equal &= report(name, {k: v.numpy() for k, v in mine.items()}, {k: v.numpy() for k, v in theirs.items()})
        stored |= {f"{name}/{key}": value for key, value in reference.thinned(theirs).items()}
    if not arguments.no_encoder:
        encoder = public_encoder(arguments.checkout)
        reference.fill(encoder, "image_encoder.")
        ours.image_encoder.load_state_dict(encoder.state_dict(), strict=True)
        theirs = reference.encoded(encoder)
        equal &= report("image encoder", reference.encoded(ours.image_encoder), theirs)
        stored |= {f"encoder/{key}": value for key, value in theirs.items()}
    if arguments.write:
        np.savez_compressed(reference.REFERENCE, **stored)
        print(f"wrote {reference.REFERENCE} ({reference.REFERENCE.stat().st_size} bytes)")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
