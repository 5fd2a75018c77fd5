"""Structures by name: spellings, codes, suggestions."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from MoESegLib.core.structures import Code, Structure, find_coded, find_structure, known_structures, suggest


def name_of(phrase: str) -> str | None:
    found = find_structure(phrase)
    return found.name if found is not None else None


def test_there_are_many_structures_and_each_has_a_name_and_codes_of_its_own() -> None:
    structures = known_structures()
    assert len(structures) > 300
    assert not [name for name, count in Counter(s.name for s in structures).items() if count > 1]
    assert not [codes for codes, count in Counter(s.codes for s in structures).items() if count > 1]


def test_every_name_and_synonym_finds_its_own_structure() -> None:
    for structure in known_structures():
        for phrase in (structure.name, *structure.synonyms):
            assert find_structure(phrase) is structure, phrase


@pytest.mark.parametrize(
    "phrase",
    ["left kidney", "Left Kidney", "kidney, left", "Kidney_L", "LeftKidney", "L. kidney", "kidney (L)", "LEFT KIDNEYS"],
)
def test_the_side_may_be_written_in_many_ways(phrase: str) -> None:
    assert name_of(phrase) == "left kidney"


@pytest.mark.parametrize(
    ("phrase", "name"),
    [
        ("LIVER", "liver"),
        ("both kidneys", "kidney"),
        ("tumours", "tumor"),
        ("oesophagus", "esophagus"),
        ("grey matter", "gray matter"),
        ("liver metastases", "liver metastasis"),
        ("vena cava, inferior", "inferior vena cava"),
        ("IVC", "inferior vena cava"),
        ("bleeding", "hemorrhage"),
        ("surgical tools", "surgical instrument"),
        ("optic disk", "optic disc"),
        ("lymph nodes", "lymph node"),
        # names of TotalSegmentator's classes, which many people have in their scenes
        ("vertebrae_L5", "L5 vertebra"),
        ("rib_left_1", "left first rib"),
        ("lung_middle_lobe_right", "middle lobe of right lung"),
        ("lung_upper_lobe_left", "left upper lobe of lung"),
        ("heart_atrium_left", "left atrium"),
        ("iliac_vena_left", "left common iliac vein"),
        ("adrenal_gland_right", "right adrenal gland"),
        ("small_bowel", "small bowel"),
    ],
)
def test_other_spellings_are_understood(phrase: str, name: str) -> None:
    assert name_of(phrase) == name


@pytest.mark.parametrize("phrase", ["", "left", "left liver", "Segment_1", "flux capacitor", "liver spleen", "()"])
def test_what_is_not_known_is_not_guessed(phrase: str) -> None:
    assert find_structure(phrase) is None


@given(st.text(max_size=30))
def test_any_text_can_be_looked_up_and_suggested_for(text: str) -> None:
    assert find_structure(text) is None or isinstance(find_structure(text), Structure)
    assert len(suggest(text, 3)) <= 3


def test_codes_are_those_of_slicers_general_anatomy_list() -> None:
    liver, spleen, left = find_structure("liver"), find_structure("spleen"), find_structure("left kidney")
    assert liver is not None
    assert spleen is not None
    assert left is not None
    assert liver.category == Code("SCT", "123037004", "Anatomical Structure")
    assert liver.type == Code("SCT", "10200004", "Liver")
    assert liver.color == (221, 130, 101)
    assert spleen.type == Code("SCT", "78961009", "Spleen")
    assert left.type == Code("SCT", "64033007", "Kidney")
    assert left.modifier == Code("SCT", "7771000", "Left")
    right = find_structure("right kidney")
    assert right is not None
    assert right.modifier == Code("SCT", "24028007", "Right")


def test_a_lesion_says_where_it_lies_and_on_which_side() -> None:
    cyst = find_structure("left renal cyst")
    assert cyst is not None
    assert cyst.category.value == "49755003"
    assert cyst.type == Code("SCT", "367643001", "Cyst")
    assert cyst.modifier is None
    assert cyst.region == Code("SCT", "64033007", "Kidney")
    assert cyst.region_modifier == Code("SCT", "7771000", "Left")


def _verhoeff_is_good(digits: str) -> bool:
    """The check digit of SNOMED CT identifiers (Verhoeff 1969), by the dihedral group of order 10."""

    def multiply(a: int, b: int) -> int:
        rotated = (a + b if a < 5 else a - b) % 5
        return rotated + 5 * ((a < 5) != (b < 5))

    step = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)
    total = 0
    for position, digit in enumerate(reversed(digits)):
        value = int(digit)
        for _ in range(position % 8):
            value = step[value]
        total = multiply(total, value)
    return total == 0


def test_a_wrong_digit_in_a_code_is_noticed() -> None:
    assert _verhoeff_is_good("10200004")
    assert not _verhoeff_is_good("10200014")
    assert not _verhoeff_is_good("10020004")


def test_every_code_has_the_check_digit_of_snomed_ct() -> None:
    for structure in known_structures():
        assert all(_verhoeff_is_good(value) for value in structure.codes if value), structure.name


def test_colors_are_bytes_and_neighbors_among_the_organs_can_be_told_apart() -> None:
    for structure in known_structures():
        assert all(0 <= value <= 255 for value in structure.color)
    liver, spleen, kidney = (find_structure(name) for name in ("liver", "spleen", "kidney"))
    assert len({s.color for s in (liver, spleen, kidney) if s is not None}) == 3


def test_suggestions_begin_with_names_that_start_as_typed() -> None:
    assert suggest("kid", 3) == ["kidney", "kidney tumor", "kidney cyst"]
    assert suggest("left kid", 1) == ["left kidney"]
    assert suggest("lobe up")[0] == "upper lobe of lung"
    assert suggest("bleed") == ["hemorrhage"]
    assert suggest("nothing like it") == []
    assert suggest("", 2) == ["liver", "spleen"]


def test_a_structure_is_known_by_its_codes_whatever_its_words() -> None:
    liver = find_structure("liver")
    assert liver is not None
    other = Structure("x", (), Code("SCT", "123037004", "y"), Code("SCT", "10200004", "z"), (0, 0, 0))
    assert find_coded(other) is liver
    unknown = Structure("x", (), Code("SCT", "123037004", "y"), Code("SCT", "1", "z"), (0, 0, 0))
    assert find_coded(unknown) is None
