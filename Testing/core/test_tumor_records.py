"""The tumor records: what ships, and what a wrong file of one's own is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from MoESegLib.core.errors import WeightsError
from MoESegLib.core.organs import organ_of_id
from MoESegLib.core.structures import find_structure, known_structures
from MoESegLib.core.tumor_records import read_records, tumor_records
from MoESegLib.resources import resource_path

NEEDED = {
    "liver_tumor", "pancreatic_tumor", "kidney_tumor", "lung_tumor", "colon_tumor", "hepatic_vessel_tumor",
    "soft_tissue_sarcoma", "multiple_sclerosis_lesion", "breast_tumor", "intracranial_hemorrhage",
}  # fmt: skip


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file with the shipped liver record, with some fields changed."""

    def write(**changes: Any) -> Path:
        entries = json.loads(resource_path("Tumors", "tumors.json").read_text(encoding="utf-8"))["tumors"]
        entry = {**next(entry for entry in entries if entry["id"] == "liver_tumor"), **changes}
        entry = {key: value for key, value in entry.items() if value != "REMOVED"}
        path = tmp_path / "tumors.json"
        path.write_text(json.dumps({"about": "own", "tumors": [entry]}), encoding="utf-8")
        return path

    return write


def test_the_types_that_are_promised_are_there_with_all_that_is_said_of_them() -> None:
    records = {record.id: record for record in tumor_records()}
    assert set(records) >= NEEDED
    assert len(records) >= 14
    for record in records.values():
        assert len(record.synonyms) >= 6
        assert len(set(record.sentences)) == 4
        assert record.look_alikes and record.sources
        assert record.codes[0].scheme == "SCT"


def test_lesions_that_are_no_tumors_say_so() -> None:
    others = {record.id for record in tumor_records() if not record.is_tumor}
    assert others == {"intracranial_hemorrhage", "multiple_sclerosis_lesion"}
    for record in tumor_records():
        assert record.is_tumor or "no tumor" in record.distinction


def test_codes_are_those_of_the_known_structures() -> None:
    known = {code for item in known_structures() for code in (item.type, item.region) if code is not None}
    anatomy = {(item.type.value, item.type.meaning) for item in known_structures()}
    for record in tumor_records():
        assert record.type in known, record.id
        region = record.region
        assert region is None or (region.value, region.meaning) in anatomy or region in known, record.id


def test_a_segment_of_a_tumor_gets_the_codes_that_slicer_knows() -> None:
    records = {record.id: record for record in tumor_records()}
    assert records["liver_tumor"].structure() == find_structure("liver tumor")
    assert records["kidney_tumor"].structure("left") == find_structure("left kidney tumor")
    assert records["spleen_lesion"].structure().codes == ("49755003", "52988006", "", "78961009", "")
    for record in records.values():
        assert record.structure().type == record.type, record.id


def test_every_organ_of_a_record_is_one_in_which_tumors_are_looked_for() -> None:
    for record in tumor_records():
        assert not any(organ_of_id(organ).is_look_alike for organ in record.organs), record.id


def test_sides_and_cysts_come_from_the_organs() -> None:
    records = {record.id: record for record in tumor_records()}
    assert {key for key, record in records.items() if record.has_sides} == {
        "kidney_tumor", "lung_tumor", "breast_tumor", "adrenal_tumor", "soft_tissue_sarcoma", "bone_metastasis",
    }  # fmt: skip
    assert [organ.id for organ in records["kidney_tumor"].look_alike_organs] == ["kidney_cyst"]
    assert records["kidney_tumor"].needs(organ_of_id("kidney_cyst"))
    assert not records["kidney_tumor"].needs(organ_of_id("liver"))


def test_an_own_record_takes_the_place_of_a_shipped_one_or_is_added(written) -> None:
    replaced = tumor_records(written(margin="It is a cube."))
    assert len(replaced) == len(tumor_records())
    assert next(record for record in replaced if record.id == "liver_tumor").margin == "It is a cube."
    added = tumor_records(written(id="my_tumor", name="tumor of mine", synonyms=["my own finding"]))
    assert [record.id for record in added] == [*[record.id for record in tumor_records()], "my_tumor"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"margin": "REMOVED"}, r'record 1 \("liver_tumor"\): margin is missing'),
        ({"maargin": "x"}, r"maargin is not a field of this version"),
        ({"size_mm": [5]}, r"size_mm is \[5.0\]; the least and the largest diameter in mm were expected"),
        ({"size_mm": [50, 5]}, r"size_mm is \[50.0, 5.0\]; the least"),
        ({"size_mm": ["5", "9"]}, r'size_mm\[0\] is "5"; a number was expected'),
        ({"organs": ["livr"]}, r'organs\[0\] is "livr"; one of liver, gallbladder'),
        ({"organs": []}, r"organs is empty; at least one of liver"),
        ({"modalities": ["CT", "NMR"]}, r'modalities\[1\] is "NMR"; one of CT, MR'),
        ({"site": ""}, r"site has 0 words; a sentence of 1 to 40 words"),
        ({"site": "word " * 41 + "."}, r"site has 42 words"),
        ({"distinction": "No period"}, r"distinction has 2 words; a sentence .* ends with a period"),
        ({"synonyms": ["..."]}, r'synonyms\[0\] is "..."; words were expected'),
        ({"sources": []}, r"sources is empty"),
        ({"id": "Liver Tumor"}, r'id is "Liver Tumor"; small letters'),
        ({"type": {"scheme": "SCT", "value": "x", "meaning": "y"}}, r'type is SCT x; "SCT" and a SNOMED CT number'),
        ({"id": "mine"}, r'"liver tumor" is a name of "liver_tumor" too'),
    ],
)
def test_a_wrong_record_is_told_with_file_record_field_and_what_was_expected(written, changes, message: str) -> None:
    path = written(**changes)
    with pytest.raises(WeightsError, match=message) as error:
        tumor_records(path)
    assert str(path) in str(error.value)
    assert "docs/tumors-text-and-anatomy.md" in str(error.value)


@pytest.mark.parametrize("text", ["{", "[]", '{"tumors": {}}', '{"tumors": [3]}', '{"tumors": [], "tumors": []}'])
def test_a_file_that_is_no_list_of_records_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tumors.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(WeightsError, match=r"tumors\.json"):
        read_records(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be read"):
        read_records(tmp_path / "missing.json")
    (tmp_path / "other.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WeightsError, match="UTF-8"):
        read_records(tmp_path / "other.json")


def test_the_example_of_the_documentation_is_a_file_that_is_read(tmp_path: Path) -> None:
    document = Path(__file__).parents[2] / "docs" / "tumors-text-and-anatomy.md"
    path = tmp_path / "tumors.json"
    path.write_text(document.read_text(encoding="utf-8").split("```json\n")[1].split("```")[0], encoding="utf-8")
    assert [record.id for record in tumor_records(path)][-1] == "ovarian_tumor"
