"""The results of a run as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from .contestants import Contestant, in_volumes
from .forgetting import GateRow, confusion_rows, gate_rows, identities, unchanged_share, untaught
from .run import Plan, Score
from .summary import ALL, THRESHOLDS, Cell, Effort, Estimate, Row, efforts, summarize

_SHOWN_CLICKS = (1, 3, 5, 10, 20)
"""Of a protocol of many clicks; the last one is always shown, all are in ``summary.csv``."""
_NONE = "–"


def report(
    scores: Sequence[Score],
    rows: Sequence[Row],
    contestants: Sequence[Contestant],
    plan: Plan,
    command: str,
    forgetting: bool = False,
) -> str:
    """The whole report: what was done, Dice and NSD by set and by structure, clicks needed, and who answered.

    Args:
        rows: the summary of the scores.
        command: that makes it again.
        forgetting: also what becomes of structures that no expert was taught.
    """
    parts = [
        "# Evaluation",
        f"```bash\n{command}\n```",
        _legend(contestants, plan),
        *_metric_parts("Dice", rows, contestants, lambda cell: (cell.dice, cell.dice_change)),
        *_metric_parts("NSD", rows, contestants, lambda cell: (cell.nsd, cell.nsd_change)),
        *_refusals(rows, contestants),
        *_effort_parts(efforts(scores), contestants),
        *_gate_parts(scores, contestants),
    ]
    if forgetting:
        parts += forgetting_parts(scores, contestants)
    return "\n\n".join(parts) + "\n"


def forgetting_parts(scores: Sequence[Score], contestants: Sequence[Contestant]) -> list[str]:
    """Structures that no loaded expert was taught, and whether the base is still itself."""
    first = contestants[0].label
    parts = ["## Forgetting"]
    for entry in identities(scores, contestants):
        verdict = "holds" if entry.holds else "IS BROKEN"
        parts.append(
            f"What the base says inside {entry.engine} is what {first} says, to the last voxel, for {entry.same} of "
            f"{entry.compared} masks (first prompts of all structures): non-forgetting {verdict}."
        )
    chosen = untaught(scores, contestants)
    if not chosen:
        return [*parts, "Every structure of these sets was taught to one of the loaded experts."]
    for contestant in contestants[1:]:
        share = unchanged_share(chosen, contestant.label)
        if share is not None and contestant.expert is None:  # else somebody was told to answer
            parts.append(
                f"Where no expert was taught the structure, the final answer of {contestant.label} to the first prompt "
                f"is that of {first} for {_percent(share)} of the masks."
            )
    rows = summarize(chosen)
    return [*parts, _metric_table(rows, contestants, lambda cell: (cell.dice, cell.dice_change))]


def _legend(contestants: Sequence[Contestant], plan: Plan) -> str:
    several = len(contestants) > 1
    if in_volumes(contestants):
        least, outlines, tolerance = "voxels", "surfaces", f"{plan.tolerance:g} mm"
    else:
        least, outlines = "pixels on a slice", "outlines"
        tolerance = f"{plan.tolerance:g} mm ({plan.tolerance:g} pixels in pictures without spacing)"
    lines = [
        "Mean ± standard deviation over masks [95 % interval, bootstrap over patients]"
        + (f"; differences are paired, from {contestants[0].label}" if several else "")
        + f". Structures of at least {plan.least_pixels} {least}. NSD: share of both {outlines} within {tolerance}."
    ]
    for contestant in contestants:
        for pack, classes in contestant.packs.items():
            lines.append(f"- {contestant.label}: expert {pack}, taught {', '.join(classes) or 'nothing it names'}")
    return "\n".join(lines)


def _metric_parts(
    title: str, rows: Sequence[Row], contestants: Sequence[Contestant], pick: Callable[[Cell], tuple]
) -> list[str]:
    shown = _shown(rows)
    by_set = [row for row in shown if row.structure == ALL]
    structures: dict[str, set[str]] = {}
    for row in shown:
        structures.setdefault(row.dataset, set()).add(row.structure)
    by_structure = [row for row in shown if row.structure != ALL and len(structures[row.dataset]) > 2]
    parts = [f"## {title}", _metric_table(by_set, contestants, pick)]
    if by_structure:
        parts += [f"### {title} by structure", _metric_table(by_structure, contestants, pick)]
    return parts


def _shown(rows: Sequence[Row]) -> list[Row]:
    last: dict[str, int] = {}
    for row in rows:
        last[row.protocol] = max(row.click, last.get(row.protocol, 0))
    return [row for row in rows if row.click in (*_SHOWN_CLICKS, last[row.protocol])]


def _metric_table(rows: Sequence[Row], contestants: Sequence[Contestant], pick: Callable[[Cell], tuple]) -> str:
    """A column per engine, and one per difference; all numbers of an engine that refused everything are a dash."""
    labels = [contestant.label for contestant in contestants]
    header = ["set", "structure", "prompt", "masks", "patients", labels[0]]
    header += [column for label in labels[1:] for column in (label, "difference")]
    body = []
    for row in _shown(rows):
        picked = [pick(cell) for cell in row.cells]
        cells = [_cell_text(picked[0][0], row.cells[0].refused)]
        for cell, (value, change) in zip(row.cells[1:], picked[1:], strict=True):
            cells += [_cell_text(value, cell.refused), change_text(change)]
        name = "all sets (mean)" if row.dataset == ALL else row.dataset
        body.append([name, row.structure, prompt_text(row), str(row.masks), str(row.patients), *cells])
    return table(header, body)


def prompt_text(row: Row) -> str:
    """ "box", or "clicks:5, click 3"."""
    return f"{row.protocol}, click {row.click}" if row.protocol.startswith("clicks:") else row.protocol


def _cell_text(value: Estimate | None, refused: int) -> str:
    if value is None:
        return _NONE
    text = f"{value.mean:.3f}" + ("" if value.sd is None else f" ± {value.sd:.3f}")
    if value.low is not None and value.high is not None:
        text += f" [{value.low:.3f}, {value.high:.3f}]"
    return text + (f" ({refused} refused)" if refused else "")


def change_text(change: Estimate | None) -> str:
    """ "+0.012 [-0.003, +0.027]", or a dash."""
    if change is None:
        return _NONE
    text = f"{change.mean:+.3f}"
    if change.low is not None and change.high is not None:
        text += f" [{change.low:+.3f}, {change.high:+.3f}]"
    return text


def _refusals(rows: Sequence[Row], contestants: Sequence[Contestant]) -> list[str]:
    """Why there are dashes, and masks without an answer (which count as 0)."""
    lines = {}
    for row in rows:
        for contestant, cell in zip(contestants, row.cells, strict=True):
            for reason in cell.reasons:
                lines[f"- {contestant.label}, {row.protocol}: {reason}"] = None
    return ["Refused (a dash where everything was, else counted as 0):\n\n" + "\n".join(lines)] if lines else []


def _effort_parts(entries: Sequence[Effort], contestants: Sequence[Contestant]) -> list[str]:
    if not entries:
        return []
    labels = [contestant.label for contestant in contestants]
    body = []
    for dataset, protocol in dict.fromkeys((entry.dataset, entry.protocol) for entry in entries):
        for threshold in THRESHOLDS:
            found = {
                entry.engine: f"{entry.clicks:.2f} ({_percent(entry.never)} never)"
                for entry in entries
                if (entry.dataset, entry.protocol, entry.threshold) == (dataset, protocol, threshold)
            }
            body.append([dataset, protocol, f"{threshold:.2f}", *(found[label] for label in labels)])
    note = "Mean number of clicks; a mask that never gets there counts as one click more than were given."
    return ["## Clicks to reach a Dice", note, table(["set", "prompt", "Dice", *labels], body)]


def _gate_parts(scores: Sequence[Score], contestants: Sequence[Contestant]) -> list[str]:
    parts = []
    entries = gate_rows(scores, contestants)
    for contestant in contestants:
        mine = [entry for entry in entries if entry.engine == contestant.label]
        if not mine:
            continue
        answered = {pack for entry in mine for pack in entry.shares}
        packs = list(dict.fromkeys([*contestant.packs, "base", *sorted(answered)]))
        shown = _first_and_last(mine)
        body = [
            [
                entry.dataset,
                shown[entry.protocol, entry.click],
                *(_percent(entry.shares.get(pack, 0.0)) for pack in packs),
                _NONE if entry.taught is None else _percent(entry.taught),
            ]
            for entry in mine
            if (entry.protocol, entry.click) in shown
        ]
        confusion = [
            [
                ", ".join(entry.taught) or "none",
                shown[entry.protocol, entry.click],
                str(entry.masks),
                *(_percent(entry.shares.get(pack, 0.0)) for pack in packs),
            ]
            for entry in confusion_rows(scores, [contestant])
            if (entry.protocol, entry.click) in shown
        ]
        note = (
            'Share of the masks that each expert answered. "Right": of the masks whose structure an expert was taught, '
            "those that such an expert answered."
        )
        parts += [
            f"## Who answered: {contestant.label}",
            note,
            table(["set", "prompt", *packs, "right"], body),
            "The same over all sets, by the experts that were taught the structure:",
            table(["taught to", "prompt", "masks", *packs], confusion),
        ]
    return parts


def _first_and_last(entries: Sequence[GateRow]) -> dict[tuple[str, int], str]:
    """The prompts that a table of answers shows, as text by protocol and click."""
    last = {entry.protocol: entry.click for entry in entries}  # clicks come in order
    return {
        (protocol, click): f"{protocol}, click {click}" if count > 1 else protocol
        for protocol, count in last.items()
        for click in (1, count)
    }


def _percent(share: float) -> str:
    """Whole percent that say 100 and 0 only for all and none."""
    if 0 < share < 0.005 or 0.995 <= share < 1:
        return f"{100 * share:.2f} %"
    return f"{100 * share:.0f} %"


def table(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    rows = [header, ["---"] * len(header), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in rows)
