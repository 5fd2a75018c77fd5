"""Compare SAM-Med3D with the public code on equal weights, and optionally rewrite the reference of the test.

    python benchmarks/compare_sam_med3d_upstream.py CHECKOUT [--write] [--full]

CHECKOUT is a clone of https://github.com/uni-medical/SAM-Med3D. Exits with status 1 if a logit differs by 1e-4 or more.
``--full`` compares the released sizes too, with processor time and peak memory of both (about 12 GB of memory).
"""

from __future__ import annotations

import argparse
import importlib
import resource
import sys
import time
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from MoESegLib.evaluation.stopwatch import gflop_of, matrix_gflops
from MoESegLib.models.sam_med3d import SamMed3D, SamMed3DConfig, build_sam_med3d, config_of

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Testing" / "models"))
import sam_med3d_reference as reference

TOLERANCE = 1e-4
PACKAGE = "sam_med3d_checkout"
CLICKS = 7


def import_checkout(checkout: Path, module: str) -> types.ModuleType:
    """A modeling file of the checkout, without running the package's own imports."""
    if PACKAGE not in sys.modules:
        package = types.ModuleType(PACKAGE)
        package.__path__ = [str(checkout / "segment_anything" / "modeling")]
        sys.modules[PACKAGE] = package
    return importlib.import_module(f"{PACKAGE}.{module}")


def public_model(checkout: Path, config: SamMed3DConfig) -> nn.Module:
    """The public network at these sizes, put together as in its ``build_sam3D.py``, with the weights of the test."""
    model = nn.Module()
    model.image_encoder = import_checkout(checkout, "image_encoder3D").ImageEncoderViT3D(
        img_size=config.image_size,
        patch_size=config.patch_size,
        embed_dim=config.width,
        depth=config.depth,
        num_heads=config.heads,
        out_chans=config.prompt_width,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=config.window_size,
        global_attn_indexes=config.global_blocks,
    )
    model.prompt_encoder = import_checkout(checkout, "prompt_encoder3D").PromptEncoder3D(
        embed_dim=config.prompt_width,
        image_embedding_size=(config.grid,) * 3,
        input_image_size=(config.image_size,) * 3,
        mask_in_chans=16,
    )
    model.mask_decoder = import_checkout(checkout, "mask_decoder3D").MaskDecoder3D(transformer_dim=config.prompt_width)
    reference.fill_all(model)
    return model.eval()


def same_weights(public: nn.Module, config: SamMed3DConfig) -> SamMed3D:
    """Our network with the weights of the public one, and the sizes read off them."""
    state = public.state_dict()
    if config_of(state) != config:
        raise AssertionError(f"{config_of(state)} was read off the weights instead of {config}")
    ours = build_sam_med3d(config)
    ours.load_state_dict(state, strict=True)
    return ours


def report(name: str, ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> bool:
    """Print the largest difference of every output; true if all are equal within the tolerance."""
    differences = {key: float(np.abs(ours[key] - theirs[key]).max()) for key in theirs}
    sizes = {key: float(np.abs(value).max()) for key, value in theirs.items()}
    listed = ", ".join(f"{key} {difference:.1e} (up to {sizes[key]:.1f})" for key, difference in differences.items())
    equal = all(difference < TOLERANCE for difference in differences.values())
    print(f"{'same' if equal else 'DIFFERENT'}  {name}: {listed}", flush=True)
    return equal


def arrays(outputs: dict[str, Tensor]) -> dict[str, np.ndarray]:
    return {key: value.numpy() for key, value in outputs.items()}


def timed(what: str, work: Callable[[], Any]) -> Any:
    """Run, and print the processor time and the peak memory of the process so far."""
    start = time.process_time()
    result = work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"      {what}: {time.process_time() - start:.2f} s of processor time, peak memory {peak:.1f} GB", flush=True)
    return result


def compare(name: str, public: nn.Module, ours: SamMed3D) -> tuple[bool, dict[str, np.ndarray]]:
    """Compare embedding and answers; also returns the public outputs that the test keeps."""
    mine = timed("ours, encode", lambda: reference.embedding(ours, ours.config))
    theirs = timed("public, encode", lambda: reference.embedding(public, ours.config))
    equal = report(f"{name}, image encoder", arrays({"embedding": mine}), arrays({"embedding": theirs}))
    stored = {f"{name}/embedding": theirs.numpy()}
    for case, prompt in reference.cases(ours.config).items():
        expected = reference.answers(public, theirs, prompt)
        equal &= report(f"{name}, {case}", arrays(reference.answers(ours, mine, prompt)), arrays(expected))
        stored |= {f"{name}/{case}/{key}": value for key, value in reference.thinned(expected).items()}
    prompt = reference.cases(ours.config)["points_and_mask"]
    for who, model in (("ours", ours), ("public", public)):
        timed(f"{who}, {CLICKS} clicks", lambda asked=model: click(asked, mine, prompt))
    return equal, stored


def click(model: Any, image: Tensor, prompt: dict[str, Any]) -> None:
    """Answer several clicks as an engine does."""
    for _ in range(CLICKS):
        sparse, dense = model.prompt_encoder(**prompt)
        model.mask_decoder(
            image_embeddings=image,
            image_pe=model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )


@torch.inference_mode()
def main() -> int:
    """Run the comparison; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="a clone of the public repository")
    parser.add_argument("--write", action="store_true", help="rewrite the reference file from the public outputs")
    parser.add_argument("--full", action="store_true", help="compare the released sizes too")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if not (arguments.checkout / "segment_anything" / "modeling" / "image_encoder3D.py").is_file():
        parser.error(f"{arguments.checkout} holds no segment_anything/modeling/image_encoder3D.py")
    torch.set_num_threads(arguments.threads)

    floor = matrix_gflops()
    print(f"floor: a large matrix product runs at {floor:.0f} GFLOP/s")
    everything, stored = True, {}
    configs = reference.CONFIGS | ({"released": SamMed3DConfig()} if arguments.full else {})
    for name, config in configs.items():
        public = public_model(arguments.checkout, config)
        ours = same_weights(public, config)
        gflop = gflop_of(lambda model=ours: reference.embedding(model, model.config)) or 0.0
        print(f"      encoding is {gflop:.1f} GFLOP, {gflop / floor:.2f} s at the floor", flush=True)
        equal, outputs = compare(name, public, ours)
        everything &= equal
        if name in reference.CONFIGS:
            stored |= outputs
    if arguments.write:
        np.savez_compressed(reference.REFERENCE, **stored)
        print(f"wrote {reference.REFERENCE} ({reference.REFERENCE.stat().st_size} bytes)")
    return 0 if everything else 1


if __name__ == "__main__":
    sys.exit(main())
