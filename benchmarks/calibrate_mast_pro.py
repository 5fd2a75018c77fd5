"""Measure from where on the findings of a MAST-Pro can be relied on, and write that into its file.

``python benchmarks/calibrate_mast_pro.py FILE --kept-back TUNE --evaluation VAL``: ``evaluate_mast_pro.py`` wrote what
the network of FILE found into TUNE (``--fold tune``, patients that are kept back for settings) and into VAL. The least
certainty is taken from which on four of five findings in TUNE touch a lesion; the shares that users are told are those
of VAL. Weights stay as they are; answers of FILE then say which findings are doubtful.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

from MoESegLib.core.errors import WeightsError
from MoESegLib.core.strict_json import to_plain
from MoESegLib.engines.tumor_notes import Doubt
from MoESegLib.models.mast_pro import read_base, write_base
from MoESegLib.weights.store import sha256_of

ENOUGH = 0.8


def main() -> None:
    """Measure, write, say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="the .safetensors")
    parser.add_argument("--kept-back", type=Path, required=True, help="what evaluate_mast_pro.py --fold tune wrote")
    parser.add_argument("--evaluation", type=Path, required=True, help="what evaluate_mast_pro.py wrote")
    options = parser.parse_args()
    below = least_certainty(*findings(options.kept_back, options.file))
    doubt = doubt_from(below, *findings(options.evaluation, options.file))
    network, details = read_base(options.file)
    write_base(options.file, network, {**details, "doubt": to_plain(doubt)})
    print(doubt)


def label_of(file: Path, folder: Path) -> str:
    """The name that a network has in an evaluation.

    Raises:
        WeightsError: it was not evaluated there.
    """
    models = json.loads((folder / "answers.json").read_text(encoding="utf-8"))["models"]
    for label, identity in models.items():
        if identity.startswith(sha256_of(file)):
            return str(label)
    raise WeightsError(f"{folder} holds no answers of {file}. Evaluate it first: evaluate_mast_pro.py.")


def findings(folder: Path, file: Path) -> tuple[list[int], list[int]]:
    """Certainties of the findings that touch a lesion, and of the others; where the tumor is absent, too."""
    label = label_of(file, folder)
    with (folder / "answers.csv").open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["model"] == label]
    hits, misses = ([int(text) for row in rows for text in row[name].split()] for name in ("hits", "misses"))
    print(f"{folder}: {len(hits)} of {len(hits) + len(misses)} findings touch a lesion")
    return hits, misses


def least_certainty(hits: list[int], misses: list[int]) -> int:
    """From which on enough findings touch a lesion.

    Raises:
        WeightsError: none is enough.
    """
    for percent in sorted({*hits, *misses}):
        if share(hits, misses, percent, 101) >= ENOUGH:
            return percent
    raise WeightsError(f"No certainty tells {ENOUGH:.0%} true findings from the others. Evaluate more images.")


def doubt_from(below: int, hits: list[int], misses: list[int]) -> Doubt:
    """What findings on both sides of a certainty are worth."""
    return Doubt(below, round(share(hits, misses, 0, below), 2), round(share(hits, misses, below, 101), 2))


def share(hits: list[int], misses: list[int], low: int, high: int) -> float:
    """Of the findings from one certainty to below another, those that touch a lesion; 0 without findings."""
    right, wrong = (sum(low <= percent < high for percent in side) for side in (hits, misses))
    return right / max(right + wrong, 1)


if __name__ == "__main__":
    main()
