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
    sha256 = sha256_of(options.file)
    tune, held_out = (answers_of(folder, sha256) for folder in (options.kept_back, options.evaluation))
    doubt = doubt_from(least_certainty(*findings(tune)), *findings(held_out))
    network, details = read_base(options.file)
    write_base(options.file, network, {**details, "doubt": to_plain(doubt)})
    print(doubt)
    for kind in sorted({answer["kind"] for answer in held_out}):
        print(f"{kind}: {worth([answer for answer in held_out if answer['kind'] == kind], doubt.below)}")


def answers_of(folder: Path, sha256: str) -> list[dict[str, str]]:
    """What an evaluation wrote about a file.

    Raises:
        WeightsError: it was not evaluated there.
    """
    models = json.loads((folder / "answers.json").read_text(encoding="utf-8"))["models"]
    labels = [label for label, identity in models.items() if identity.startswith(sha256)]
    if not labels:
        raise WeightsError(f"{folder} holds no answers of these weights. Evaluate them first: evaluate_mast_pro.py.")
    with (folder / "answers.csv").open(newline="", encoding="utf-8") as stream:
        return [row for row in csv.DictReader(stream) if row["model"] == labels[0]]


def findings(answers: list[dict[str, str]]) -> tuple[list[int], list[int]]:
    """Certainties of the findings that touch a lesion, and of the others; where the tumor is absent, too."""
    hits, misses = ([int(text) for answer in answers for text in answer[name].split()] for name in ("hits", "misses"))
    return hits, misses


def worth(answers: list[dict[str, str]], below: int) -> str:
    """How many findings touch a lesion, and what is said where the tumor is absent."""
    hits, misses = findings(answers)
    sure, doubtful = (
        f"{sum(is_in(p) for p in hits)} of {sum(is_in(p) for p in hits + misses)}"
        for is_in in (lambda percent: percent >= below, lambda percent: percent < below)
    )
    absent = [findings([answer])[1] for answer in answers if not int(answer["voxels"])]
    nothing = sum(not said for said in absent)
    quiet = sum(max(said, default=0) < below for said in absent)
    return (
        f"{sure} sure findings touch a lesion, {doubtful} doubtful ones; tumor absent in {len(absent)}: "
        f"nothing found in {nothing}, nothing sure in {quiet}"
    )


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
