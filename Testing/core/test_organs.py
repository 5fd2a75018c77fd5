"""Organs that guide the search for tumors: names of other programs, codes, sides, label numbers."""

from __future__ import annotations

import numpy as np
import pytest

from MoESegLib.core.organs import (
    TASKS,
    organ_called,
    organ_ids,
    organ_labels,
    organ_named,
    organ_of_id,
    organ_of_structure,
    organs,
    side_of,
)
from MoESegLib.core.structures import Structure, find_structure, known_structures
from MoESegLib.core.terminology import structure_of_entry


def id_of(text: str) -> str | None:
    organ = organ_named(text)
    return None if organ is None else organ.id


def structure(name: str) -> Structure:
    found = find_structure(name)
    assert found is not None
    return found


def test_the_order_of_the_organ_tokens_is_kept() -> None:
    first = ("liver", "gallbladder", "pancreas", "spleen", "kidney", "adrenal_gland", "stomach", "duodenum")
    assert organ_ids()[:8] == first
    assert len(organ_ids()) == len(set(organ_ids())) == 27


def test_every_organ_is_made_of_coded_structures() -> None:
    for organ in organs():
        assert all(find_structure(name) is not None for name in organ.structures), organ.id
        assert organ.codes
        assert all(code.scheme == "SCT" and code.value.isdigit() for code in organ.codes)


def test_every_name_of_a_known_task_finds_its_organ() -> None:
    for organ in organs():
        for task in TASKS:
            for name in organ.labels(task).values():
                assert organ_named(name) is organ, name


def test_no_label_number_belongs_to_two_organs() -> None:
    for task in TASKS:
        numbers = [number for organ in organs() for number in organ.labels(task)]
        assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize(
    ("task", "number", "organ", "side"),
    [
        ("total", 5, "liver", ""),
        ("total", 7, "pancreas", ""),
        ("total", 2, "kidney", "right"),
        ("total", 3, "kidney", "left"),
        ("total", 23, "kidney_cyst", "left"),
        ("total", 13, "lung", "right"),
        ("total", 64, "portal_vein", ""),
        ("total", 91, "bone", ""),
        ("total", 115, "bone", "right"),
        ("total_mr", 10, "lung", "left"),
        ("total_mr", 50, "brain", ""),
        ("btcv", 6, "liver", ""),
        ("btcv", 13, "adrenal_gland", "left"),
    ],
)
def test_label_numbers_are_those_of_the_programs(task, number: int, organ: str, side: str) -> None:
    name = organ_of_id(organ).labels(task)[number]
    assert side_of(name) == side


@pytest.mark.parametrize(
    ("text", "organ"),
    [
        ("Left kidney", "kidney"),
        ("kidney, right", "kidney"),
        ("64033007", "kidney"),
        ("SCT:64033007", "kidney"),
        ("vertebrae_L5", "bone"),
        ("lung_middle_lobe_right", "lung"),
        ("liver_segment_4", "liver"),
        ("breasts", "breast"),
        ("renal cyst", "kidney_cyst"),
        ("liver_tumor", None),
        ("liver lesion", None),
        ("left liver", None),
        ("banana", None),
        ("108369006", None),
        ("367643001", None),
    ],
)
def test_names_and_codes_find_an_organ_and_lesions_do_not(text: str, organ: str | None) -> None:
    assert id_of(text) == organ


def test_only_paired_organs_have_sides() -> None:
    paired = {organ.id for organ in organs() if organ.sides}
    assert {"kidney", "adrenal_gland", "lung", "breast", "kidney_cyst"} <= paired
    assert not paired & {"liver", "pancreas", "colon", "brain", "urinary_bladder", "aorta"}


def test_a_structure_is_known_by_its_codes_and_a_lesion_is_no_organ() -> None:
    assert organ_of_structure(structure("left kidney")) is organ_named("kidney")
    assert organ_of_structure(structure("kidney cyst")) is organ_named("kidney cyst")
    assert organ_of_structure(structure("liver tumor")) is None
    for known in known_structures():
        found = organ_of_structure(known)
        assert found is None or known.category.value != "49755003" or found.is_look_alike, known.name


def test_the_terminology_decides_and_the_name_helps_where_it_is_silent() -> None:
    kidney = organ_named("kidney")
    assert organ_called("Segment_1", structure("left kidney")) == (kidney, "left kidney")
    assert organ_called("kidney_left", structure("tissue")) == (kidney, "kidney_left")
    assert organ_called("kidney_left", structure("kidney")) == (kidney, "kidney_left")
    assert organ_called("kidney_left", None) == (kidney, "kidney_left")
    assert organ_called("liver", structure("liver tumor")) is None
    assert organ_called("my finding", None) is None


def test_a_label_map_of_a_task_becomes_one_of_organs_on_the_side_asked_for() -> None:
    labels = np.array([0, 2, 3, 5, 51, 16, 115], np.int16)
    numbers = {organ_id: number for number, organ_id in enumerate(organ_ids(), start=1)}
    kidney, bone = numbers["kidney"], numbers["bone"]
    expected = [0, kidney, kidney, numbers["liver"], numbers["heart"], 0, bone]
    assert organ_labels(labels, "total").tolist() == expected
    assert organ_labels(labels, "total", "left").tolist() == [0, 0, kidney, *expected[3:6], 0]
    assert organ_labels(labels, "total").dtype == np.uint8


@pytest.mark.parametrize(
    ("code", "meaning", "organ"),
    [
        ("181674001", "Gluteus maximus muscle", "muscle"),
        ("244849004", "Deep muscle of back", "muscle"),
        ("64033007", "Kidney (structure)", "kidney"),
        ("44567001", "Trachea", None),
    ],
)
def test_codes_that_totalsegmentator_writes_are_known_with_their_side(
    code: str, meaning: str, organ: str | None
) -> None:
    entry = f"list~SCT^123037004^Anatomical Structure~SCT^{code}^{meaning}~SCT^7771000^Left~regions~^^~^^"
    called = organ_called("Segment_1", structure_of_entry(entry, (1, 2, 3)))
    assert (None if called is None else (called[0].id, side_of(called[1]))) == (organ and (organ, "left"))
