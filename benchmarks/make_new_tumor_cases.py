"""Finished cases of a tumor type that MAST-Pro was never taught, to teach it one: esophageal tumors.

``python benchmarks/make_new_tumor_cases.py --data DATA --out FOLDER`` draws one into the esophagus of the CT slices
with organ labels (:mod:`MoESegLib.training.tumor_synthesis`), patients of the training split only, and writes

* ``FOLDER/cases/PATIENT/SLICE.nrrd`` with ``SLICE.seg.nrrd``, as a user keeps them;
* ``FOLDER/organs/SLICE.seg.nrrd``: the organs;
* ``FOLDER/tumors.json``: what is said about the tumor, for the folder of models.

Then, with ``MOESEG_HOME`` at a folder that holds that ``tumors.json``::

    moeseg teach --method tumor --type "esophageal tumor" --data FOLDER/cases --anatomy FOLDER/organs --modality CT
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from MoESegLib.core.errors import TrainingError
from MoESegLib.core.organs import organ_ids
from MoESegLib.core.results import MaskPatch
from MoESegLib.core.segmentation_file import SegmentRecord, write_segmentation
from MoESegLib.core.volume import Volume
from MoESegLib.training.tumor_kinds import Density, LesionKind
from MoESegLib.training.tumor_sources import ORGAN_SLICES, SourceImage, cases_of, read_source
from MoESegLib.training.tumor_synthesis import OrganBody, with_lesions

KIND = LesionKind(
    "esophageal_tumor", ("esophagus",), (14, 45), Density((50, 100), is_absolute=True, texture=8), site="bulging",
    edge=1.5, roughness=0.18, elongation=0.3, necrosis=0.1,
)  # fmt: skip
RECORD = {
    "id": "esophageal_tumor",
    "name": "esophageal tumor",
    "is_tumor": True,
    "synonyms": ["esophageal cancer", "esophageal mass", "tumor of the esophagus"],
    "type": {"scheme": "SCT", "value": "108369006", "meaning": "Neoplasm"},
    "region": {"scheme": "SCT", "value": "32849002", "meaning": "Esophagus"},
    "organs": ["esophagus"],
    "is_within_organs": False,
    "modalities": ["CT"],
    "size_mm": [10, 80],
    "site": "An esophageal tumor thickens the wall of the esophagus in front of the spine, often near the stomach.",
    "attenuation": "It enhances less than vessels and about as much as muscle, and narrows the lumen.",
    "margin": "It is eccentric and ill-defined and may reach into the fat around the esophagus, 10 to 80 mm across.",
    "distinction": "A hiatal hernia is continuous with the stomach, and a leiomyoma is round and smooth.",
    "look_alikes": ["hiatal hernia", "leiomyoma", "esophagitis"],
    "sources": ["written for this benchmark"],
}
FEWEST_PIXELS = 25


def main() -> None:
    """Write the cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of a manifest with organ-labeled CT slices")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    patients = set()
    written = 0
    for case in cases_of(options.data, ORGAN_SLICES, "train"):
        try:
            source = read_source(case)
        except TrainingError:  # no organ tells the density of this slice
            continue
        if source.organs is not None and write_case(source, source.organs, options.out, rng):
            patients.add(source.patient)
            written += 1
    about = {"about": "For benchmarks/make_new_tumor_cases.py", "tumors": [RECORD]}
    (options.out / "tumors.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    print(f"{written} slices of {len(patients)} patients in {options.out}")


def write_case(source: SourceImage, organs: NDArray[np.uint8], out: Path, rng: np.random.Generator) -> bool:
    """Draw a tumor and write the slice; False where it finds no place."""
    body = OrganBody.of(source.volume, organs, source.patient, source.name)
    if not body.holds(KIND, FEWEST_PIXELS):
        return False
    drawn = with_lesions(body, [KIND], rng)
    target = drawn.lesions.get(KIND.name)
    if target is None or not target.any():
        return False
    name = source.name.replace("/", "_")
    folder = out / "cases" / source.patient
    folder.mkdir(parents=True, exist_ok=True)
    (out / "organs").mkdir(exist_ok=True)
    volume = Volume(np.rint(drawn.image).astype(np.int16), source.volume.ijk_to_ras, "CT", name)
    volume.write(folder / f"{name}.nrrd")
    write(folder / f"{name}.seg.nrrd", volume, {str(RECORD["name"]): target})
    there = {organ: drawn.organs == number for number, organ in enumerate(organ_ids(), start=1)}
    write(out / "organs" / f"{name}.seg.nrrd", volume, {organ: mask for organ, mask in there.items() if mask.any()})
    return True


def write(path: Path, volume: Volume, masks: Mapping[str, NDArray[np.bool_]]) -> None:
    """Masks ``[k, j, i]`` as segments."""
    records = [SegmentRecord(name, name, MaskPatch.of(mask)) for name, mask in masks.items()]
    write_segmentation(path, volume, records)


if __name__ == "__main__":
    main()
