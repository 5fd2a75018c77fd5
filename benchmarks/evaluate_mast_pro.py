"""Measure MAST-Pro on patients that nothing was learned from, and what each of its parts is worth.

``python benchmarks/evaluate_mast_pro.py --data DATA --out FOLDER --model full=FULL.safetensors --model no-experts=...
--model no-text=... --model no-anatomy=...`` asks every network for the same lesions, by phrase, with the organs that
are known (a network of the name ``no-anatomy`` gets none). The first one is compared with: differences are paired,
with intervals from drawing patients. It is also asked with its text and with its organs withheld (``--no-withheld``:
it is not). Real lesions and lesions that were drawn into real organs are never mixed.

FOLDER gets ``report.md``, ``answers.csv`` (one line an answer), ``router.csv`` and ``router.png``. Killed, or given
another network, it goes on with the same FOLDER: what the same weights said about the same images is not asked again.
``--fold tune`` is for choosing settings; ``--limit N`` asks about the first N cases of every set only, ``--cases NAME``
about those whose names begin with it. ``--as-volumes`` never searches a volume slice by slice.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import shlex
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mast_pro_answers import Answer, AnswerFile
from mast_pro_report import markdown
from mast_pro_router import usage_in, write_usage
from numpy.typing import NDArray

from MoESegLib.core.errors import GeometryError, PromptError
from MoESegLib.core.files import atomic_path
from MoESegLib.core.geometry import extent_slices
from MoESegLib.core.lesions import certainty, split_lesions
from MoESegLib.core.organs import organ_ids
from MoESegLib.core.prompts import MaskPrompt, Prompt, TextPrompt
from MoESegLib.core.results import Prediction, ProbabilityMap
from MoESegLib.core.tumors import TumorBook
from MoESegLib.engines.mast_pro import MastProEngine
from MoESegLib.engines.protocol import Context
from MoESegLib.evaluation.lesions import count_lesions
from MoESegLib.evaluation.metrics import dice, surface_dice
from MoESegLib.models.mast_pro import MastPro, read_base
from MoESegLib.training.tumor_held_out import HeldOutCase, HeldOutSpec, digest, held_out_cases, load_held_out
from MoESegLib.weights.store import sha256_of

NO_ANATOMY = "no-anatomy"
TOLERANCE_MM = 2.0
_SYNONYM_CASES = 12


@dataclass(frozen=True, eq=False)
class Contestant:
    """A network that is asked.

    Attributes:
        identity: of its weights and what is withheld from it.
        organs: whether it is told them.
    """

    label: str
    engine: MastProEngine
    identity: str
    organs: bool = True


def main() -> None:
    """Ask, and write down."""
    options = arguments()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    book = TumorBook.load()
    contestants = contestants_of(options, book)
    specs = limited(held_out_cases(options.data, options.fold), options.limit, options.cases)
    answers = AnswerFile(options.out, digest(specs), {some.label: some.identity for some in contestants})
    for number, case in enumerate(load_held_out(options.data, specs)):
        ask(case, contestants, book, answers)
        print(f"{number + 1} of {len(specs)}: {case.spec.name}", file=sys.stderr, flush=True)
        answers.save()
    network = contestants[0].engine.network
    usage = usage_in(network, options.data, options.cache or options.out / "images", options.fold, book)
    write_usage(options.out / "router", usage)
    told = [
        f"```bash\npython {shlex.join(sys.argv)}\n```",
        f"{len(specs)} images ({options.fold}), list {digest(specs)}; NSD at {TOLERANCE_MM:g} mm.",
        synonyms(contestants[0], options.data, specs, book),
    ]
    report = markdown(answers.all, [contestant.label for contestant in contestants], told, usage)
    with atomic_path(options.out / "report.md") as temporary:
        temporary.write_text(report, encoding="utf-8")
    print(options.out / "report.md")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of a manifest")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--model", action="append", required=True, metavar="NAME=FILE", help="repeatable")
    parser.add_argument("--withheld", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--fold", choices=("val", "tune"), default="val")
    parser.add_argument("--limit", type=int, help="cases of every set")
    parser.add_argument("--cases", default="", help="how the names of the cases begin")
    parser.add_argument("--as-volumes", action="store_true", help="also volumes thinner than a window")
    parser.add_argument("--cache", type=Path, help="folder of prepared images, for the router")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def contestants_of(options: argparse.Namespace, book: TumorBook) -> list[Contestant]:
    """The networks of the command line, the first one also with prompts withheld if that is asked for."""
    found = []
    for model in options.model:
        label, _, file = model.partition("=")
        network, details = read_base(Path(file))
        identity = sha256_of(Path(file)) + (", as volumes" if options.as_volumes else "")
        identity += ", others are compared with it" if not found else ""
        in_slices = () if options.as_volumes else details.get("in_slices", ())
        engine = MastProEngine(network, label, book, taught=details.get("taught"), in_slices=in_slices)
        found.append(Contestant(label, engine, identity, label != NO_ANATOMY))
    first = found[0]
    for part, config in (("text", "text"), ("organs", "anatomy")) if options.withheld else ():
        label = f"{first.label}, {part} withheld"
        network = withheld(first.engine.network, config)
        engine = MastProEngine(network, label, book, taught=first.engine.taught, in_slices=first.engine.in_slices)
        found.append(Contestant(label, engine, f"{first.identity}, {part} withheld", part != "organs"))
    return found


def withheld(network: MastPro, part: str) -> MastPro:
    """The same weights, which do not get a part of the prompts."""
    other = copy.copy(network)
    other.config = dataclasses.replace(network.config, **{part: False})
    return other


def limited(specs: Sequence[HeldOutSpec], limit: int | None, prefix: str) -> list[HeldOutSpec]:
    """The first cases of every set, of those whose names begin so."""
    used: dict[str, int] = {}
    chosen = []
    for spec in specs:
        if not spec.name.startswith(prefix):
            continue
        used[spec.dataset] = used.get(spec.dataset, 0) + 1
        if limit is None or used[spec.dataset] <= limit:
            chosen.append(spec)
    if not chosen:
        raise SystemExit(f"No case begins with {prefix!r}; there are for example {specs[0].name} and {specs[-1].name}.")
    return chosen


def organs_of(case: HeldOutCase) -> list[Prompt]:
    """The organs that are known, as a user gives them."""
    if case.organs is None:
        return []
    return [
        MaskPrompt(mask=case.organs == number, role="anatomy", structure=name)
        for number, name in enumerate(organ_ids(), start=1)
        if (case.organs == number).any()
    ]


def questions(case: HeldOutCase, known: Sequence[str]) -> list[tuple[str, NDArray[np.bool_]]]:
    """Tumors that are there, and one that is not: an empty mask."""
    there = [(name, mask) for name, mask in case.targets.items() if name in known and mask.any()]
    absent = sorted(set(case.absent) & set(known)) or sorted(set(known) - set(case.targets))
    if not absent:
        return there
    chosen = absent[zlib.crc32(case.spec.name.encode()) % len(absent)]
    return [*there, (chosen, np.zeros(case.volume.shape, bool))]


def ask(case: HeldOutCase, contestants: Sequence[Contestant], book: TumorBook, answers: AnswerFile) -> None:
    """Every question to every network that was not asked yet."""
    records = {record.id: record for record in book.records}
    asked = questions(case, contestants[0].engine.network.tumors)
    organs = organs_of(case)
    is_long = not case.spec.is_synthetic and case.volume.shape[0] > 1  # minutes, without organs that say where to look
    for contestant in contestants:
        if answers.has(contestant.label, case.spec):
            continue
        prompts = organs if contestant.organs else []
        said = []
        for tumor, target in asked:
            if is_long and contestant is not contestants[0] and not target.any():
                continue
            others = [mask for name, mask in asked if name != tumor and mask.any()]
            found, refusal = predicted(contestant, case, [TextPrompt(records[tumor].name), *prompts])
            said.append(scored(contestant, case, tumor, target, others, found, refusal))
        answers.add(contestant.label, case.spec, said)


def predicted(contestant: Contestant, case: HeldOutCase, prompts: Sequence[Prompt]) -> tuple[Prediction, str]:
    """The answer, and why there is none."""
    try:
        contestant.engine.check(case.volume, prompts, "volume")
        return contestant.engine.predict(case.volume, prompts, Context("volume")), ""
    except (PromptError, GeometryError) as error:
        return Prediction(), str(error)


def scored(
    contestant: Contestant,
    case: HeldOutCase,
    tumor: str,
    target: NDArray[np.bool_],
    others: Sequence[NDArray[np.bool_]],
    answer: Prediction,
    refusal: str,
) -> Answer:
    """An answer as numbers; a refusal is right where the tumor is absent."""
    volume = contestant.engine.voxel_volume(case.volume)
    found = answer.patch.to_array(case.volume.shape) != 0
    hits, misses = certainties(answer, target, volume)
    counts = count_lesions(found, target, volume)
    return Answer(
        contestant.label,
        "synthetic" if case.spec.is_synthetic else "real",
        case.spec.dataset,
        case.spec.name,
        case.spec.patient,
        tumor,
        dice(found, target),
        surface_dice(found, target, TOLERANCE_MM, case.volume.spacing[::-1]),
        max((dice(found, other) for other in others), default=None) if target.any() else None,
        counts.found,
        counts.lesions,
        counts.false_positives,
        int(target.sum()),
        int(found.sum()),
        hits,
        misses,
        refusal,
    )


def certainties(answer: Prediction, target: NDArray[np.bool_], voxel_volume: float) -> tuple[str, str]:
    """How sure the network was of the findings that touch a lesion, and of the others."""
    said: dict[bool, list[str]] = {True: [], False: []}
    for part in split_lesions(answer.patch, voxel_volume):
        is_hit = bool((target[extent_slices(part.extent)] & (part.voxels > 0)).any())
        said[is_hit].append(str(certainty(part, answer.probability or ProbabilityMap())))
    return " ".join(said[True]), " ".join(said[False])


def synonyms(contestant: Contestant, data: Path, specs: Sequence[HeldOutSpec], book: TumorBook) -> str:
    """Whether all names of a tumor find the same voxels, where the usual name finds any."""
    chosen = [spec for spec in specs if spec.is_synthetic][:_SYNONYM_CASES]
    records = {record.id: record for record in book.records}
    asked = same = 0
    for case in load_held_out(data, chosen):
        for tumor, _ in questions(case, contestant.engine.network.tumors)[:1]:
            first, _ = predicted(contestant, case, [TextPrompt(records[tumor].name), *organs_of(case)])
            usual = first.patch.to_array(case.volume.shape)
            names = [records[tumor].name.upper(), *records[tumor].synonyms] if usual.any() else []
            for name in names:
                found, _ = predicted(contestant, case, [TextPrompt(name), *organs_of(case)])
                asked += 1
                same += bool((found.patch.to_array(case.volume.shape) == usual).all())
    return f"Synonyms and other spellings: {same} of {asked} found exactly the voxels that the usual name found."


if __name__ == "__main__":
    main()
