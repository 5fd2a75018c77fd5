"""The report of ``evaluate_mast_pro.py``: tables with intervals, and what every part is worth in words."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from mast_pro_answers import Answer
from mast_pro_router import Usage

from MoESegLib.evaluation.metrics import bootstrap_interval
from MoESegLib.evaluation.report import change_text, table
from MoESegLib.evaluation.run import Score
from MoESegLib.evaluation.summary import ALL, Cell, Estimate, Row, summarize

BANDS = (50, 60, 70, 80, 90, 95, 101)
"""Percent of certainty."""
KINDS = {"synthetic": "Lesions drawn into real organs", "real": "Real lesions"}


def markdown(answers: Sequence[Answer], labels: Sequence[str], told: Sequence[str], usage: Mapping[str, Usage]) -> str:
    """Everything; real and synthetic apart.

    Args:
        labels: the networks in the order of the tables; the first one is compared with.
    """
    # Networks are compared answer by answer in the order of the list, and columns go by who comes first.
    answers = sorted(answers, key=lambda a: (labels.index(a.model), a.dataset, a.case, a.tumor))
    parts = [
        "# MAST-Pro on held-out patients",
        *told,
        "Mean [95 % interval, bootstrap over patients]; differences from the first network are paired.",
    ]
    for kind, title in KINDS.items():
        there = [answer for answer in answers if answer.kind == kind and answer.voxels]
        if not there:
            continue
        rows = [row for row in summarize([_score(answer) for answer in there]) if row.dataset == kind]
        parts += [
            f"## {title}",
            *_worth(rows, labels),
            "### Dice",
            _metric_table(rows, labels, lambda cell: (cell.dice, cell.dice_change)),
            "### NSD",
            _metric_table(rows, labels, lambda cell: (cell.nsd, cell.nsd_change)),
            "### Separate lesions",
            _lesion_table(there, labels),
        ]
    parts += ["## Does the text matter?", _text_table(answers, labels)]
    parts += ["## A tumor that is not there", _absent_table(answers, labels)]
    parts += ["## How sure it is", _certainty_table([answer for answer in answers if answer.model == labels[0]])]
    if usage:
        parts += ["## Which experts serve which tumors", "![router](router.png)", _router_table(usage)]
    return "\n\n".join(parts) + "\n"


def _score(answer: Answer) -> Score:
    return Score(
        answer.model, answer.kind, "phrase", 1, answer.case, answer.patient, answer.tumor, 0, None, answer.voxels,
        answer.dice, answer.nsd, "", refusal=answer.refusal,
    )  # fmt: skip


def _worth(rows: Sequence[Row], labels: Sequence[str]) -> list[str]:
    """One sentence a network: whether what it lacks is missed."""
    row = next(row for row in rows if row.structure == ALL)
    lines = []
    for label, cell in zip(labels[1:], row.cells[1:], strict=True):
        change = cell.dice_change
        if change is None:
            continue
        if change.low is None or change.high is None:
            verdict = "too few patients to say"
        elif change.high < 0:
            verdict = f"worse than {labels[0]}"
        elif change.low > 0:
            verdict = f"better than {labels[0]}"
        else:
            verdict = "no difference that these patients could show"
        lines.append(f"- {label}: {change_text(change)} Dice, {verdict}")
    return ["\n".join(lines)] if lines else []


def _metric_table(
    rows: Sequence[Row], labels: Sequence[str], pick: Callable[[Cell], tuple[Estimate | None, Estimate | None]]
) -> str:
    header = ["tumor", "images", "patients", labels[0]]
    header += [column for label in labels[1:] for column in (label, "difference")]
    body = []
    for row in rows:
        values = [pick(cell) for cell in row.cells]
        cells = [_text(values[0][0])]
        for value, change in values[1:]:
            cells += [_text(value), change_text(change)]
        body.append([row.structure, str(row.masks), str(row.patients), *cells])
    return table(header, body)


def _lesion_table(answers: Sequence[Answer], labels: Sequence[str]) -> str:
    """Sensitivity (share of lesions found) and false positives an image."""
    body = []
    for tumor in (*sorted({answer.tumor for answer in answers}), ALL):
        own = [answer for answer in answers if tumor in (answer.tumor, ALL)]
        cells = []
        for label in labels:
            some = [answer for answer in own if answer.model == label]
            each = [(value, a.patient) for a in some for value in [1] * a.found + [0] * (a.lesions - a.found)]
            cells.append(_interval([value for value, _ in each], [patient for _, patient in each]))
            cells.append(_interval([a.false_positives for a in some], [a.patient for a in some]))
        lesions = sum(answer.lesions for answer in own if answer.model == labels[0])
        body.append([tumor, str(lesions), *cells])
    header = [column for label in labels for column in (f"{label}: found", "false/image")]
    return table(["tumor", "lesions", *header], body)


def _text_table(answers: Sequence[Answer], labels: Sequence[str]) -> str:
    """Images with lesions of two types: does the answer follow the phrase?"""
    body = []
    for label in labels:
        both = [answer for answer in answers if answer.model == label and answer.other_dice is not None]
        patients = [answer.patient for answer in both]
        own = _interval([answer.dice for answer in both], patients)
        other = _interval([float(answer.other_dice or 0) for answer in both], patients)
        follows = _interval([float(answer.dice > float(answer.other_dice or 0)) for answer in both], patients)
        body.append([label, str(len(both)), own, other, follows])
    header = ["network", "phrases", "Dice with what was asked for", "Dice with the other type", "nearer to the former"]
    return table(header, body)


def _absent_table(answers: Sequence[Answer], labels: Sequence[str]) -> str:
    body = []
    for kind in KINDS:
        for label in labels:
            some = [a for a in answers if a.kind == kind and a.model == label and not a.voxels]
            if some:
                patients = [a.patient for a in some]
                silent = _interval([float(a.answered == 0) for a in some], patients)
                refused = sum(bool(a.refusal) for a in some)
                parts = _interval([a.false_positives for a in some], patients)
                body.append([kind, label, str(len(some)), silent, str(refused), parts])
    return table(["lesions", "network", "phrases", "nothing found", "of them refused", "false/image"], body)


def _certainty_table(answers: Sequence[Answer]) -> str:
    """What certainty tells: of findings, and of the surest finding where the tumor is not there."""
    body = []
    for kind in KINDS:
        own = [answer for answer in answers if answer.kind == kind]
        for low, high in itertools.pairwise(BANDS):
            hits, misses = (_count([a.hits for a in own], low, high), _count([a.misses for a in own], low, high))
            surest = [str(max(map(int, a.misses.split()))) for a in own if not a.voxels and a.misses]
            absent = _count(surest, low, high)
            body.append([kind, f"{low} to {high - 1} %", str(hits + misses), str(hits), str(absent)])
        quiet = sum(not answer.voxels and not answer.misses for answer in own)
        body.append([kind, "nothing found", "", "", str(quiet)])
    return table(
        ["lesions", "certainty", "findings", "touch a lesion", "surest one of a tumor that is not there"], body
    )


def _count(texts: Iterable[str], low: int, high: int) -> int:
    return sum(low <= int(percent) < high for text in texts for percent in text.split())


def _router_table(usage: Mapping[str, Usage]) -> str:
    """The two strongest experts of every level, and the share of the specific ones."""
    body = []
    for tumor, entry in usage.items():
        cells = []
        for weights, balance in zip(entry.weights, entry.balance, strict=True):
            best = np.argsort(-weights, kind="stable")[:2]
            cells.append(", ".join(f"{entry.experts[number]} ({weights[number]:.2f})" for number in best))
            cells.append(f"{balance:.2f}")
        body.append([tumor, str(entry.patches), *cells])
    levels = len(next(iter(usage.values())).weights)
    header = [column for level in range(levels) for column in (f"level {level + 1}", "specific")]
    return table(["tumor", "patches", *header], body)


def _interval(values: Iterable[float], patients: Sequence[str]) -> str:
    numbers = list(values)
    if not numbers:
        return "–"
    mean = f"{np.mean(numbers):.2f}"
    if len(set(patients)) < 2:
        return mean
    low, high = bootstrap_interval(numbers, patients)
    return f"{mean} [{low:.2f}, {high:.2f}]"


def _text(value: Estimate | None) -> str:
    if value is None:
        return "–"
    return f"{value.mean:.3f}" + ("" if value.low is None else f" [{value.low:.3f}, {value.high:.3f}]")
