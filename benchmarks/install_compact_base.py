"""Make a trained compact SAM-Med3D part of MoESeg.

``python benchmarks/install_compact_base.py FILE`` copies the weights that ``train_compact_base.py`` wrote to
``Resources/Weights`` and writes their card with size, SHA-256 and the numbers of the report beside FILE. The
weights are loaded and the card is read back before anything is kept.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from MoESegLib.core.files import atomic_path
from MoESegLib.models.sam_med3d import SamMed3D, config_of
from MoESegLib.resources import resource_path
from MoESegLib.training.base3d import CLICKS
from MoESegLib.weights.cards import read_card
from MoESegLib.weights.safe_load import load_into, load_state_dict
from MoESegLib.weights.store import sha256_of

NAME = "sam-med3d-compact"
RESOURCE = f"Weights/{NAME}.safetensors"
COMMAND = "python benchmarks/train_compact_base.py --data DATA --anatomy LABELS {more}--steps {steps} --out FILE"
SHOWN = {
    "sts_ct": "sarcoma in CT",
    "sts_mr_t1": "sarcoma in MR T1",
    "sts_pet": "sarcoma in PET",
    "synthetic": "synthetic volumes",
}
CITATION = (
    "Architecture: Wang et al., SAM-Med3D, 2023, arXiv 2310.15161. Synthetic volumes: Billot et al., SynthSeg, Medical "
    "Image Analysis 2023. Data: Vallieres et al., Soft-tissue-Sarcoma, TCIA 2015, doi 10.7937/K9/TCIA.2015.7GO2GSKS "
    "(CC-BY 3.0, cropped by A. Zwanenburg, IBSI); Lesjak et al., Neuroinformatics 2017 (CC-BY)."
)


def main() -> None:
    """Copy, describe, check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="the .safetensors; its .report.json lies beside it")
    file = parser.parse_args().file
    state = load_state_dict(file)
    load_into(SamMed3D(config_of(state)), state, str(file))
    report = json.loads(file.with_suffix(".report.json").read_text(encoding="utf-8"))
    root = resource_path("Models").parent
    card = root / "Models" / f"{NAME}.json"
    with atomic_path(card) as temporary:
        temporary.write_text(json.dumps(card_of(file, report), indent=2) + "\n", encoding="utf-8")
        read_card(temporary)
        (root / RESOURCE).parent.mkdir(exist_ok=True)
        with atomic_path(root / RESOURCE) as weights:
            shutil.copyfile(file, weights)
    print(f"{root / RESOURCE} and {card} are written; commit both.")


def card_of(file: Path, report: dict[str, Any]) -> dict[str, Any]:
    """The card of a trained file."""
    volumes = sum(learned for learned, _ in report["data"].values())
    taught = f"taught on {volumes} volumes and synthetic shapes; not for patients"
    return {
        "name": NAME,
        "title": "SAM-Med3D compact (demonstration)",
        "description": "A small SAM-Med3D of our own that comes with MoESeg: one click gives a mask in a cube of 96 mm "
        f"around it. Demonstration base, {taught}.",
        "architecture": "sam_med3d",
        "dimension": "3d",
        "modalities": ["CT", "MR", "PT"],
        "prompts": ["point", "mask"],
        "license": "Apache-2.0",
        "license_url": "https://www.apache.org/licenses/LICENSE-2.0",
        "license_is_clear": True,
        "source_url": "https://github.com/MoESeg/SlicerMoESeg",
        "citation": CITATION,
        "file_name": f"{NAME}.safetensors",
        "size_bytes": file.stat().st_size,
        "sha256": sha256_of(file),
        "provider": {"kind": "shipped", "resource": RESOURCE},
        "uses": None,
        "measured": measured(report),
        "notes": f"Demonstration base, {taught}. See docs/sam-med3d-compact.md.",
    }


def measured(report: dict[str, Any]) -> list[dict[str, str]]:
    """Held-out Dice of the last measurement."""
    clicks = " / ".join(map(str, CLICKS))
    more = "--start FIRST " * report["started"] + f"--rate {report['rate']:g} "
    lines = []
    for name, dice in report["history"][-1]["dice"].items():
        held = report["data"].get(name, [0, 0])[1]
        patients = f", {held} held-out patients" if held else ""
        lines.append(
            {
                "data": f"{SHOWN.get(name, name)}{patients}, {clicks} clicks, crops of 96 mm",
                "dice": " / ".join(f"{value:.2f}" for value in dice),
                "command": COMMAND.format(steps=report["steps"], more=more),
            }
        )
    return lines


if __name__ == "__main__":
    main()
