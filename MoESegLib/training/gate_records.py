"""What a gate was taught on, kept beside it, so that it can be taught again when a further specialist comes.

The file holds names and keys only. Embeddings and targets lie in the embedding store; where they were removed, the gate
can still learn a further specialist, but nothing new about the earlier ones.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..core.errors import TrainingError
from ..core.files import atomic_path
from ..experts.gate_store import gates_home
from .embeddings import EmbeddingStore
from .specialist_samples import Sample3D

VERSION = 1


@dataclass(frozen=True)
class GateRecord:
    """One prompt that a gate is taught or judged on.

    Attributes:
        home: the specialist that was taught such targets, None for unrelated ones.
        learn: it is taught on, instead of used to choose tau.
    """

    sample: Sample3D
    home: str | None
    learn: bool


def records_file(gate: str) -> Path:
    """Where the records of the user's gate of that name lie."""
    return gates_home() / f"{gate}.cases.json"


def write_records(path: Path, records: Sequence[GateRecord]) -> None:
    """Replace the records of a gate.

    Raises:
        OutputError: they cannot be written; the earlier ones stay.
    """
    plain = [{**asdict(record.sample), "home": record.home, "learn": record.learn} for record in records]
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({"version": VERSION, "cases": plain}), encoding="utf-8")


def read_records(path: Path, store: EmbeddingStore) -> list[GateRecord]:
    """The records of a gate whose embeddings are still in the store; none where there is no file.

    Raises:
        TrainingError: the file is damaged.
    """
    if not path.exists():
        return []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != VERSION:
            return []
        found = [_record(dict(entry)) for entry in content["cases"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{path} is damaged ({error!r}). Remove it; the gate then learns the new specialist and keeps the others."
        ) from error
    return [record for record in found if record.sample.key in store]


def merge_records(old: Collection[GateRecord], new: Sequence[GateRecord], name: str) -> list[GateRecord]:
    """Earlier records with those for a specialist that is taught now.

    Targets of the new specialist replace what was known of them, and unrelated ones of before that come from its cases
    are left out: they may have been on the other side of the division. What an earlier specialist was taught is not
    unrelated, though it is given as such now.
    """
    mine = [record for record in new if record.home == name]
    cases = {record.sample.case for record in mine}
    kept = [
        record
        for record in old
        if record.home not in (name, None) or (record.home is None and record.sample.case not in cases)
    ]
    known = {record.sample.key for record in [*mine, *kept]}
    return [*mine, *kept, *(record for record in new if record.home is None and record.sample.key not in known)]


def has_both_sides(records: Collection[GateRecord], home: str | None) -> bool:
    """Whether there are cases of a home to learn from and to choose tau on."""
    return {record.learn for record in records if record.home == home} == {True, False}


def _record(entry: dict) -> GateRecord:
    home, learn = entry.pop("home"), entry.pop("learn")
    i, j, k = entry.pop("click")
    return GateRecord(Sample3D(**entry, click=(int(i), int(j), int(k))), home, bool(learn))
