"""What is written about each tumor type that can be looked for: ``Resources/Tumors/tumors.json`` and own records."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..resources import resource_path
from .errors import WeightsError
from .organs import Organ, organ_ids, organ_named, organ_of_id
from .phrase_concepts import has_abbreviation
from .strict_json import FieldError, from_plain, parse_json
from .structures import Code, Structure, find_structure, phrase_key, without_side

SENTENCES = ("site", "attenuation", "margin", "distinction")
"""The fields that a model reads, in their order."""
MODALITIES = ("CT", "MR", "PT", "US", "MG", "XR", "DX")
LONGEST_SENTENCE = 40
"""Words; the text model was trained on sentences, and cuts long texts off."""

_ID = re.compile(r"[a-z][a-z0-9_]*")
_CODE_VALUE = re.compile(r"\d{6,18}")
_CATEGORY = Code("SCT", "49755003", "Morphologically Altered Structure")
_COLOR = (144, 238, 144)


@dataclass(frozen=True)
class TumorRecord:
    """One type of tumor (or of another lesion).

    Attributes:
        id: for files and code: "liver_tumor".
        name: for people, lower-case US English: "liver tumor".
        is_tumor: False for a lesion that is none, such as a hemorrhage.
        synonyms: other ways to say it.
        type, region: SNOMED CT codes of what it is and of where it lies (None: not in one place).
        organs: IDs of the organs that it lies in or beside; see :func:`~.organs.organs`.
        is_within_organs: whether it lies in or on them, so that what is far from them is none.
        modalities: DICOM codes of the images in which it is looked for.
        size_mm: usual least and largest diameter.
        site, attenuation, margin, distinction: one sentence each; ``attenuation`` is how bright it is and how it
            enhances, ``distinction`` what tells it from what looks alike.
        look_alikes: what may be taken for it.
        sources: guidelines and papers.
    """

    id: str
    name: str
    is_tumor: bool
    synonyms: tuple[str, ...]
    type: Code
    region: Code | None
    organs: tuple[str, ...]
    is_within_organs: bool
    modalities: tuple[str, ...]
    size_mm: tuple[float, ...]
    site: str
    attenuation: str
    margin: str
    distinction: str
    look_alikes: tuple[str, ...]
    sources: tuple[str, ...]

    @property
    def sentences(self) -> tuple[str, str, str, str]:
        """What a model reads about it."""
        return self.site, self.attenuation, self.margin, self.distinction

    @property
    def phrases(self) -> tuple[str, ...]:
        """The name and the synonyms."""
        return (self.name, *self.synonyms)

    @property
    def stems(self) -> tuple[str, ...]:
        """How it is said, in lower case, without abbreviations, which mean something else to a text model."""
        return tuple(dict.fromkeys(without_side(text) for text in self.phrases if not has_abbreviation(text)))

    @property
    def codes(self) -> tuple[Code, ...]:
        """The SNOMED CT codes."""
        return (self.type,) if self.region is None else (self.type, self.region)

    @property
    def has_sides(self) -> bool:
        """Whether "left" and "right" can be said of it: all its organs are there twice."""
        return all(organ_of_id(organ).sides for organ in self.organs)

    @property
    def look_alike_organs(self) -> tuple[Organ, ...]:
        """The look-alikes that can be given as anatomy: cysts."""
        known = (organ_named(name) for name in self.look_alikes)
        return tuple(organ for organ in known if organ is not None and organ.is_look_alike)

    def needs(self, organ: Organ) -> bool:
        """Whether an organ guides the search for it: one that it lies in, or a cyst that looks like it."""
        return organ.id in self.organs or organ in self.look_alike_organs

    def structure(self, side: str = "") -> Structure:
        """What a segment with such a lesion is, for Slicer's terminology; the known structure where there is one."""
        name = f"{side} {self.name}".strip()
        known = find_structure(name)
        if known is not None and known.category == _CATEGORY:
            return known
        return Structure(name, self.synonyms, _CATEGORY, self.type, _COLOR, region=self.region)


@dataclass(frozen=True)
class _File:
    about: str
    tumors: tuple[TumorRecord, ...]


def tumor_records(own: Path | None = None) -> tuple[TumorRecord, ...]:
    """The records that ship with MoESeg, and those of a file of one's own.

    Args:
        own: a file like ``Resources/Tumors/tumors.json``. A record with the ID of a shipped one takes its place.

    Raises:
        WeightsError: a record is wrong; the message names the file, the record, the field and what was expected.
    """
    if own is None:
        return _shipped()
    records = {record.id: record for record in (*_shipped(), *read_records(own))}
    try:
        _check_names(records.values())
    except FieldError as error:
        raise _wrong(own, error) from error
    return tuple(records.values())


def read_records(path: Path) -> tuple[TumorRecord, ...]:
    """The records of one file.

    Raises:
        WeightsError: as for :func:`tumor_records`, or the file cannot be read.
    """
    try:
        data = parse_json(path.read_text(encoding="utf-8"))
        entries = data.get("tumors") if isinstance(data, dict) else None
        if not isinstance(entries, list):
            raise FieldError('"tumors" is missing; an object with a list "tumors" of records was expected')
        records = tuple(_record(entry, number) for number, entry in enumerate(entries, start=1))
        _check_names(records)
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"The tumor records {path} cannot be read ({error}); expected a UTF-8 text file.") from error
    except FieldError as error:
        raise _wrong(path, error) from error
    return records


@cache
def _shipped() -> tuple[TumorRecord, ...]:
    return read_records(resource_path("Tumors", "tumors.json"))


def _wrong(path: Path, error: FieldError) -> WeightsError:
    return WeightsError(
        f"Tumor records {path}: {error}. Correct the file in a text editor; docs/tumors-text-and-anatomy.md says what "
        "each field means."
    )


def _record(entry: object, number: int) -> TumorRecord:
    name = entry.get("id") if isinstance(entry, dict) else None
    where = f'record {number} ("{name}")' if isinstance(name, str) else f"record {number}"
    try:
        record = from_plain(TumorRecord, entry)
        _check(record)
    except FieldError as error:
        raise FieldError(f"{where}: {error}") from error
    return record


def _check(record: TumorRecord) -> None:
    """Raise FieldError for a value that no record can have."""
    if not _ID.fullmatch(record.id):
        raise FieldError(f'id is "{record.id}"; small letters, digits and _ were expected, such as "liver_tumor"')
    for number, phrase in enumerate(record.phrases):
        if not phrase_key(phrase)[1]:
            field = "name" if number == 0 else f"synonyms[{number - 1}]"
            raise FieldError(f'{field} is "{phrase}"; words were expected')
    for field in ("type", "region"):
        code: Code | None = getattr(record, field)
        if code is not None and not (code.scheme == "SCT" and _CODE_VALUE.fullmatch(code.value)):
            raise FieldError(f'{field} is {code.scheme} {code.value}; "SCT" and a SNOMED CT number were expected')
    _check_choices("organs", record.organs, organ_ids())
    _check_choices("modalities", record.modalities, MODALITIES)
    if len(record.size_mm) != 2 or not 0 < record.size_mm[0] < record.size_mm[1]:
        shown = list(record.size_mm)
        raise FieldError(f"size_mm is {shown}; the least and the largest diameter in mm were expected, such as [5, 80]")
    for field in SENTENCES:
        words = getattr(record, field).split()
        if not words or not words[-1].endswith(".") or len(words) > LONGEST_SENTENCE:
            raise FieldError(
                f"{field} has {len(words)} words; a sentence of 1 to {LONGEST_SENTENCE} words that ends with a period "
                "was expected"
            )
    if not any(source.strip() for source in record.sources):
        raise FieldError("sources is empty; at least one guideline, paper or book was expected")


def _check_choices(field: str, given: tuple[str, ...], known: tuple[str, ...]) -> None:
    if not given:
        raise FieldError(f"{field} is empty; at least one of {', '.join(known)} was expected")
    for number, value in enumerate(given):
        if value not in known:
            raise FieldError(f'{field}[{number}] is "{value}"; one of {", ".join(known)} was expected')


def _check_names(records: Iterable[TumorRecord]) -> None:
    """Raise FieldError if two records have the same ID or a phrase in common."""
    ids: set[str] = set()
    said: dict[tuple[str, ...], TumorRecord] = {}
    for record in records:
        if record.id in ids:
            raise FieldError(f'record "{record.id}": id is given twice; each record needs one of its own')
        ids.add(record.id)
        for phrase in record.phrases:
            other = said.setdefault(phrase_key(phrase)[1], record)
            if other is not record:
                raise FieldError(
                    f'record "{record.id}": "{phrase}" is a name of "{other.id}" too; a phrase can mean one type only'
                )
