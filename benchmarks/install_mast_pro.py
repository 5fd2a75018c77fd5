"""Make a trained compact MAST-Pro part of MoESeg.

``python benchmarks/install_mast_pro.py FILE --evaluation FOLDER`` copies the network that ``train_mast_pro.py`` wrote
to ``Resources/Weights`` and completes its card with size, SHA-256 and the Dice in the ``answers.csv`` that
``evaluate_mast_pro.py`` wrote into FOLDER. The network is loaded and the card is read back before anything is kept.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from MoESegLib.core.errors import WeightsError
from MoESegLib.core.files import atomic_path
from MoESegLib.core.tumors import tumor_records
from MoESegLib.models.mast_pro import read_base
from MoESegLib.resources import resource_path
from MoESegLib.weights.cards import read_card
from MoESegLib.weights.store import sha256_of

NAME = "mast-pro"
MOST_BYTES = 20_000_000
MEASURED = "python benchmarks/evaluate_mast_pro.py --data DATA --out FOLDER --model full=FILE"


def main() -> None:
    """Copy, describe, check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="the .safetensors; its .report.json lies beside it")
    parser.add_argument("--evaluation", type=Path, required=True, help="what evaluate_mast_pro.py wrote")
    options = parser.parse_args()
    _, details = read_base(options.file)
    if options.file.stat().st_size > MOST_BYTES:
        raise WeightsError(f"{options.file} is larger than {MOST_BYTES / 1e6:.0f} MB. Train it with fewer --channels.")
    report = json.loads(options.file.with_suffix(".report.json").read_text(encoding="utf-8"))
    root = resource_path("Models").parent
    card = root / "Models" / f"{NAME}.json"
    described = completed(json.loads(card.read_text(encoding="utf-8")), options.file, report, details)
    described["measured"] = measured(options.evaluation)
    target = root / described["provider"]["resource"]
    with atomic_path(card) as temporary:
        temporary.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        read_card(temporary)
        target.parent.mkdir(exist_ok=True)
        with atomic_path(target) as weights:
            shutil.copyfile(options.file, weights)
    print(f"{target} and {card} are written; commit both.")


def completed(card: dict[str, Any], file: Path, report: dict[str, Any], details: dict[str, Any]) -> dict[str, Any]:
    """The card with what is known of the file."""
    patients, steps = sum(report["patients"].values()), report["steps_before"] + report["best_steps"]
    images = sum(report["images"].values())
    modalities = sorted({code for codes in details["taught"].values() for code in codes})
    about = (
        f"Demonstration network, not for patients: taught {len(details['taught'])} tumor types in {steps:,} steps on "
        f"{images} images of {patients} patients and on lesions that were drawn into real organs. See docs/mast-pro.md."
    )
    return {
        **card,
        "modalities": modalities,
        "size_bytes": file.stat().st_size,
        "sha256": sha256_of(file),
        "notes": about,
    }


def measured(evaluation: Path) -> list[dict[str, str]]:
    """Dice by tumor, real and synthetic apart."""
    names = {record.id: record.name for record in tumor_records()}
    with (evaluation / "answers.csv").open(newline="", encoding="utf-8") as stream:
        answers = list(csv.DictReader(stream))
    first = [answer for answer in answers if answer["model"] == answers[0]["model"] and int(answer["voxels"])]
    groups: dict[tuple[str, str], list[dict[str, str]]] = {}
    for answer in first:
        groups.setdefault((answer["kind"], answer["tumor"]), []).append(answer)
    return [
        {
            "data": f"{names.get(tumor, tumor)}, {kind}, {len(some)} images, "
            f"held-out patients: {len({answer['patient'] for answer in some})}",
            "dice": f"{np.mean([float(answer['dice']) for answer in some]):.2f}",
            "command": MEASURED,
        }
        for (kind, tumor), some in sorted(groups.items())
    ]


if __name__ == "__main__":
    main()
