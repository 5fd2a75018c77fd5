"""Follow a reference box on the middle slice of the shipped CT through the volume; prints Dice per organ.

python benchmarks/propagation_demo.py
"""

from __future__ import annotations

from MoESegLib import BoxPrompt, Session, Volume, load_engine
from MoESegLib.core.resample import resample_nearest
from MoESegLib.evaluation.metrics import dice
from MoESegLib.evaluation.simulated import tight_box
from MoESegLib.resources import resource_path

ORGANS = {"liver": 5, "spleen": 1, "aorta": 52, "stomach": 6, "spinal cord": 79, "inferior vena cava": 63}
SLICE = 10


def main() -> None:
    """Print a Markdown table."""
    volume = Volume.read(resource_path("Demo", "ct"))
    reference = Volume.read(resource_path("Demo", "labels.nii.gz"))
    labels = resample_nearest(reference.array, reference.ijk_to_ras, volume)
    print("| organ | Dice on the slice | Dice in the volume | slices masked | slices in the reference |")
    print("|---|---|---|---|---|")
    with Session(volume, load_engine("lite-medsam"), "volume", prefetch=False) as session:
        for name, label in ORGANS.items():
            target = labels == label
            x0, y0, x1, y1 = tight_box(target[SLICE])
            a, b = volume.to_ras([[x0, y0, SLICE], [x1, y1, SLICE]])
            session.add(BoxPrompt(tuple(a), tuple(b), segment=name, plane="axial"))
            mask = session.mask(name)
            masked, expected = (int(array.any(axis=(1, 2)).sum()) for array in (mask, target))
            on_slice = dice(mask[SLICE], target[SLICE])
            print(f"| {name} | {on_slice:.3f} | {dice(mask, target):.3f} | {masked} | {expected} |")


if __name__ == "__main__":
    main()
