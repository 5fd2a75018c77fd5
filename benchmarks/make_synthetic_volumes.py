"""Write synthetic volumes with labels, as targets that no specialist was taught.

``python benchmarks/make_synthetic_volumes.py FOLDER --anatomy LABELS [--count 60]`` makes a folder for
``moeseg teach --method gated ... --unrelated FOLDER``: in every volume up to three things that a click can mean. They
are drawn as those that the compact SAM-Med3D learned from, but no volume is the same.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MoESegLib.core.volume import Volume
from MoESegLib.engines.sam_med3d import SPACING
from MoESegLib.training.base3d import COMPACT
from MoESegLib.training.synthetic3d import anatomy_of, synthetic_targets

STREAM = 20
"""Of random numbers; training draws from others."""
CLICKS = 3


def main() -> None:
    """Write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--anatomy", type=Path, nargs="*", default=(), help="label maps to paint from")
    parser.add_argument("--count", type=int, default=60)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    anatomies = [anatomy_of(Volume.read(path), SPACING) for path in options.anatomy]
    for number in range(options.count):
        source = np.random.default_rng((STREAM, 0, 0, number))
        targets = synthetic_targets(source, COMPACT.image_size, anatomies, CLICKS)
        pixels = targets[0].pixels.astype(np.float32)
        labels = np.zeros(pixels.shape, np.uint8)
        for value, target in enumerate(targets, 1):
            labels[(target.mask == 1) & (labels == 0)] = value
        # Above 0 everywhere, so that all voxels count when the engine normalizes it.
        stored = 1 + np.rint(100 * (pixels - pixels.min())).clip(0, 32000).astype(np.int16)
        for name, array in (("img", stored), ("lab", labels)):
            image = sitk.GetImageFromArray(array)
            image.SetSpacing((SPACING,) * 3)
            sitk.WriteImage(image, str(options.folder / f"synthetic_{number:03d}_{name}.nii.gz"))


if __name__ == "__main__":
    main()
