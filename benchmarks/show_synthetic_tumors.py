"""A sheet of synthetic lesions to look at, one row for each kind, with and without its outline.

``python benchmarks/show_synthetic_tumors.py --out tumors.png`` draws into the CT that comes with MoESeg;
``--data DATA`` into the slices with organ labels of a manifest as well; ``--kinds liver_tumor liver_cyst`` draws only
these. Targets are outlined in red, look-alikes in blue; window 40 / 350 HU.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from MoESegLib.core.errors import TrainingError
from MoESegLib.core.intensity import level_width, to_uint8
from MoESegLib.core.organs import organ_labels
from MoESegLib.core.resample import resample_nearest
from MoESegLib.core.volume import Volume
from MoESegLib.resources import resource_path
from MoESegLib.training.tumor_kinds import LOOK_ALIKES, TUMORS, LesionKind
from MoESegLib.training.tumor_sources import ORGAN_SLICES, cases_of, read_source
from MoESegLib.training.tumor_synthesis import OrganBody, SyntheticCase, with_lesions

SIDE_MM, PIXELS = 160.0, 176
RED, BLUE = (255, 60, 60), (80, 150, 255)


def main() -> None:
    """Draw, and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of a manifest with organ-labeled CT slices")
    parser.add_argument("--kinds", nargs="*", default=[kind.name for kind in (*TUMORS, *LOOK_ALIKES)])
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("tumors.png"))
    options = parser.parse_args()
    bodies = [demo_body(), *slice_bodies(options.data)]
    rng = np.random.default_rng(options.seed)
    rows = []
    for kind in (*TUMORS, *LOOK_ALIKES):
        if kind.name in options.kinds:
            found = tiles(kind, bodies, options.columns, rng)
            if found:
                rows.append(np.concatenate(found, axis=1))
            print(f"{kind.name:24} {len(found)} of {options.columns}")
    Image.fromarray(np.concatenate(rows)).save(options.out)
    print(options.out)


def demo_body() -> OrganBody:
    """The CT of ``moeseg demo``, every other pixel."""
    volume, labels = Volume.read(resource_path("Demo", "ct")), Volume.read(resource_path("Demo", "labels.nii.gz"))
    organs = organ_labels(resample_nearest(labels.array, labels.ijk_to_ras, volume), "total")
    i, j, k = volume.spacing
    return OrganBody(volume.array[:, ::2, ::2].astype(np.float32), organs[:, ::2, ::2], (k, 2 * j, 2 * i))


def slice_bodies(data: Path | None) -> list[OrganBody]:
    """Slices of the training split, with the front up."""
    bodies = []
    for case in cases_of(data, ORGAN_SLICES, "train")[::3] if data is not None else ():
        try:
            source = read_source(case)
        except TrainingError:  # no organ tells the density of this slice
            continue
        if source.organs is None:
            continue
        i, j, k = source.volume.spacing
        image, organs = source.volume.array[:, ::-1], source.organs[:, ::-1]
        bodies.append(OrganBody(image.astype(np.float32), organs, (k, j, i), source.patient, source.name))
    return bodies


def tiles(
    kind: LesionKind, bodies: Sequence[OrganBody], count: int, rng: np.random.Generator
) -> list[NDArray[np.uint8]]:
    """Up to ``count`` pictures of a kind, each beside its outline."""
    able = [body for body in bodies if body.holds(kind, 200)]
    found: list[NDArray[np.uint8]] = []
    for _ in range(4 * count if able else 0):
        case = with_lesions(able[rng.integers(len(able))], [kind], rng)
        if case.drawn and len(found) < count:
            found.append(tile(case))
    return found if len(found) == count else []


def tile(case: SyntheticCase) -> NDArray[np.uint8]:
    """The slice through the first lesion, without and with outlines."""
    center = case.drawn[0].center
    half = [round(SIDE_MM / 2 / step) for step in case.spacing[1:]]
    box = tuple(slice(max(c - h, 0), c + h) for c, h in zip(center[1:], half, strict=True))
    gray = to_uint8(case.image[center[0]][box], level_width(40, 350))
    plain = np.repeat(gray[..., None], 3, axis=2)
    outlined = plain.copy()
    for masks, color in ((case.lesions, RED), (case.look_alikes, BLUE)):
        for mask in masks.values():
            shown = mask[center[0]][box]
            outlined[ndimage.binary_dilation(shown) & ~shown] = color
    pictures = [np.asarray(Image.fromarray(part).resize((PIXELS, PIXELS))) for part in (plain, outlined)]
    return np.concatenate(pictures, axis=1)


if __name__ == "__main__":
    main()
