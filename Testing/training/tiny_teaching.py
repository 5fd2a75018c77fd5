"""A teaching engine small enough to train in a second, with random weights, and cases it can learn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from fakes import blob_volume
from torch.nn import functional as F

from MoESegLib.core.cancel import CancelToken
from MoESegLib.core.results import MaskPatch
from MoESegLib.engines.cache import content_key
from MoESegLib.engines.protocol import Embedding, PreparedImage
from MoESegLib.engines.resize import fit_longest_side, resize_area
from MoESegLib.engines.slice_engine import SliceEngine
from MoESegLib.models.sam.build import Sam, mask_decoder, prompt_encoder
from MoESegLib.models.segmote.asymmetric import AsymmetricSegMoTE
from MoESegLib.training.cases import Case, Structure
from MoESegLib.training.engine import TeachingModel, detach_all
from MoESegLib.training.loop import Plan
from MoESegLib.training.samples import Collecting
from MoESegLib.training.teach import TeachResult, teach

SIDE, WIDTH, EARLY = 64, 32, 8
PLAN = Plan(batch=4, least_steps=4, most_steps=4, learning_rate=1e-2)


class TinyEncoder:
    """Averages over 4 x 4 pixels and mixes the channels at random; counts its calls."""

    runtime = "tiny"

    def __init__(self) -> None:
        source = torch.Generator().manual_seed(0)
        self.mix = torch.randn(WIDTH + EARLY, 3, 1, 1, generator=source)
        self.calls = 0

    def encode(self, pixels, cancel: CancelToken) -> Embedding:
        self.calls += 1
        mixed = F.conv2d(F.avg_pool2d(torch.from_numpy(pixels)[None], 4), self.mix)
        return {"image": mixed[:, :WIDTH].contiguous(), "early": mixed[:, WIDTH:].contiguous()}


class TinyModel(TeachingModel):
    """As LiteMedSAM, on images of 64 pixels."""

    mask_grid = SIDE

    def prepare(self, image, spacing) -> PreparedImage:
        resized, scale = fit_longest_side(image.shape[:2], spacing, SIDE)
        small = resize_area(image, resized)
        pixels = np.zeros((3, SIDE, SIDE), np.float32)
        pixels[:, : resized[0], : resized[1]] = small / 255.0
        return PreparedImage(pixels, scale, resized, image.shape[:2], content_key(small.tobytes(), repr(resized)))


def tiny_engine() -> SliceEngine:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        base = Sam(torch.nn.Identity(), prompt_encoder(WIDTH, SIDE // 4, SIDE), mask_decoder(WIDTH))
        base.early_channels = EARLY
        engine = SliceEngine(TinyModel(AsymmetricSegMoTE(base.eval()), TinyEncoder(), "tiny"))
    detach_all(engine)
    return engine


def ball_cases(patients: int = 5) -> list[Case]:
    """Bright balls of different places and sizes, each of another patient."""
    source = np.random.default_rng(0)
    cases = []
    for number in range(patients):
        center = (4, source.uniform(14, 26), source.uniform(16, 32))
        volume = blob_volume(radius=float(source.uniform(6, 11)), center=center)
        structure = Structure("ball", MaskPatch.of(volume.array > 100))
        cases.append(Case(f"case{number}", f"patient{number}", volume, (structure,)))
    return cases


def teach_tiny(cache: Path, epochs: int = 3, **options) -> TeachResult:
    options = {"plan": PLAN, "engine": tiny_engine(), "cases": ball_cases(), "collecting": Collecting(3), **options}
    return teach(options.pop("cases"), "ball", epochs=epochs, cache=cache, held_out_masks=3, **options)
