"""Prompts in a segment's tags: exact, with the anatomy, in files, and refused when damaged."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import slicer
from fakes import ThresholdModel, blob_volume
from mrml_tools import MOVED, OBLIQUE, SHEARED, box, point, vtk_matrix

from MoESegLib import Session
from MoESegLib.core.errors import PromptError
from MoESegLib.core.prompts import AutomaticPrompt, MaskPrompt, PolygonPrompt, ScribblePrompt, TextPrompt
from MoESegLib.core.results import Prediction, SegmentResult
from MoESegLib.engines.slice_engine import SliceEngine
from MoESegLib.mrml.prompt_store import StoredPrompts, question_id, settle, store_prompts, stored_prompts
from MoESegLib.mrml.segmentations import (
    COMPLETED,
    add_segment,
    create_segmentation,
    get_tag,
    segment_ids,
    segment_mask,
    segment_of,
    set_status,
    set_tags,
)
from MoESegLib.mrml.volumes import volume_from_node, world_from_local

ID = "Segment_7"


@pytest.fixture
def segment() -> slicer.vtkSegment:
    segment = slicer.vtkSegment()
    segment.SetName("liver")
    return segment


def everything(volume) -> list:
    points = tuple(map(tuple, volume.to_ras([[8, 8, 4], [20, 9, 4], [25, 22, 4]])))
    first, second = np.zeros((2, 5, 6), np.uint8), np.ones((3, 4, 5), np.uint8)
    first[1, 2, 3] = 1
    return [
        point(volume, (20, 20, 4), ID),
        point(volume, (5, 6, 2), ID, positive=False, plane=None),
        box(volume, (10, 8), (38, 32), ID),
        ScribblePrompt(points=points, positive=False, segment=ID),
        PolygonPrompt(points=points, segment=ID, plane="coronal"),
        TextPrompt(text='the "left" lobe, µ-lesion', segment=ID),
        TextPrompt(text="liver", ras=points[0], segment=ID, plane="axial"),
        AutomaticPrompt(ras=points[1], segment=ID, plane="sagittal"),
        AutomaticPrompt(segment=ID),
        MaskPrompt(mask=first, segment=ID),
        MaskPrompt(mask=second, ijk_to_ras=OBLIQUE, role="anatomy", structure="liver", segment=ID),
    ]


def same(first, second, tolerance: float = 1e-9) -> bool:
    """Equal up to rounding in the transform."""
    if type(first) is not type(second) or first.id != second.id or first.plane != second.plane:
        return False
    a, b = first.to_dict(), second.to_dict()
    numbers = [
        key for key in a if key in ("ras", "points", "corner_a", "corner_b", "ijk_to_ras") and a[key] is not None
    ]
    close = all(np.allclose(a[key], b[key], atol=tolerance) for key in numbers)
    return close and all(a[key] == b[key] for key in a if key not in numbers)


@pytest.mark.parametrize("parent", [np.eye(4), MOVED, SHEARED], ids=["no transform", "scaled", "sheared"])
def test_every_kind_of_prompt_comes_back(segment, parent) -> None:
    prompts = everything(blob_volume())
    text = store_prompts(segment, prompts, "organ", parent)
    stored = stored_prompts(segment, ID, parent)
    assert stored.text == text == get_tag(segment, "MoESeg.Prompts")
    assert stored.expert == "organ"
    assert all(same(a, b) for a, b in zip(stored.prompts, prompts, strict=True))


def test_storing_what_was_read_gives_the_same_text(segment) -> None:
    text = store_prompts(segment, everything(blob_volume()), None, np.eye(4))
    stored = stored_prompts(segment, ID, np.eye(4))
    assert store_prompts(segment, stored.prompts, None, np.eye(4)) == text


def test_prompts_move_with_the_anatomy(segment) -> None:
    volume = blob_volume()
    prompt = point(volume, (20, 20, 4), ID)
    store_prompts(segment, [prompt], None, np.eye(4))
    (moved,) = stored_prompts(segment, ID, MOVED).prompts
    expected = MOVED @ [*prompt.ras, 1]
    assert moved.ras == pytest.approx(tuple(expected[:3]))


def test_they_get_the_present_id_of_the_segment(segment) -> None:
    store_prompts(segment, [point(blob_volume(), (20, 20, 4), ID)], None, np.eye(4))
    (prompt,) = stored_prompts(segment, "Segment_1_1", np.eye(4)).prompts
    assert prompt.segment == "Segment_1_1"


def test_no_prompts_leave_no_tag(segment) -> None:
    store_prompts(segment, everything(blob_volume()), "organ", np.eye(4))
    assert store_prompts(segment, [], "organ", np.eye(4)) == ""
    assert not segment.HasTag("MoESeg.Prompts")
    assert stored_prompts(segment, ID, np.eye(4)) == StoredPrompts()


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "{",
        "7",
        '"text"',
        "{}",
        '{"prompts": 3}',
        '{"prompts": [3]}',
        '{"prompts": [{"kind": "hologram"}]}',
        '{"prompts": [{"kind": "point"}]}',
        '{"prompts": [{"kind": "point", "ras": [1, 2]}]}',
        '{"prompts": [{"kind": "point", "ras": [1, 2, 3], "from": "the future"}]}',
        '{"prompts": [{"kind": "mask", "mask": {"shape": [1, 1, 1], "packed": "!!"}}]}',
        '{"prompts": [{"kind": "box", "corner_a": null, "corner_b": [1, 2, 3]}]}',
    ],
)
def test_a_damaged_tag_is_refused_with_advice(segment, text: str) -> None:
    segment.SetTag("MoESeg.Prompts", text)
    with pytest.raises(PromptError, match=r"saved with the segment liver cannot be read.*voxels are untouched"):
        stored_prompts(segment, ID, np.eye(4))


def test_a_segment_with_a_damaged_tag_can_be_prompted_anew(open_session, settle, segmentation, volume_node) -> None:
    segment_id = add_segment(segmentation, "liver")
    segment_of(segmentation, segment_id).SetTag("MoESeg.Prompts", "nonsense")
    session = open_session()
    messages = settle(session)["messages"]
    assert len(messages) == 1 and "cannot be read" in messages[0]
    assert settle(session)["messages"] == []
    assert session.safe_prompts(segment_id) == ()
    fine = session.add_segment("spleen")
    session.add(point(session.volume, (20, 20, 4), fine))
    settle(session)
    assert session.is_settled(fine)
    session.add(point(session.volume, (20, 20, 4), segment_id))
    settle(session)
    assert session.is_settled(segment_id) and len(session.prompts(segment_id)) == 1


def test_the_list_that_the_command_line_writes_is_read(segment) -> None:
    prompts = everything(blob_volume())
    segment.SetTag("MoESeg.Prompts", json.dumps([prompt.to_dict() for prompt in prompts]))
    stored = stored_prompts(segment, ID, np.eye(4))
    assert stored.expert is None
    assert all(same(a, b) for a, b in zip(stored.prompts, prompts, strict=True))


def test_prompts_that_did_not_change_are_read_once_however_many_segments_there_are() -> None:
    segments = {f"Segment_{number}": slicer.vtkSegment() for number in range(40)}
    for segment_id, segment in segments.items():
        store_prompts(segment, [AutomaticPrompt(segment=segment_id)], None, np.eye(4))
    first, second = (
        [stored_prompts(segment, segment_id, np.eye(4)).prompts for segment_id, segment in segments.items()]
        for _ in range(2)
    )
    assert all(a is b for a, b in zip(first, second, strict=True))


# What an answer leaves -------------------------------------------------------------------------------------------


def test_an_answer_leaves_where_it_came_from(segment) -> None:
    result = SegmentResult(ID, Prediction(expert="organ", confidence=0.87654))
    settle(segment, "question", "lite-medsam", "slice", result)
    expected = {"Asked": "question", "Settled": "question", "Model": "lite-medsam", "Expert": "organ"}
    expected |= {"Confidence": "0.877", "Extent": "slice"}
    assert {name: get_tag(segment, f"MoESeg.{name}") for name in expected} == expected
    assert get_tag(segment, "MoESeg.Version") and get_tag(segment, "Segmentation.Status") == "inprogress"
    settle(segment, "other", "lite-medsam", "slice", SegmentResult(ID))
    assert not segment.HasTag("MoESeg.Confidence")
    settle(segment, "", "lite-medsam", "slice", SegmentResult(ID))
    assert not any(segment.HasTag(f"MoESeg.{name}") for name in (*expected, "Version"))


def test_a_question_depends_on_prompts_engine_and_extent() -> None:
    found = {question_id(*parts) for parts in (("a", "x", "slice"), ("b", "x", "slice"), ("a", "y", "slice"))}
    assert len(found | {question_id("a", "x", "volume")}) == 4
    assert question_id("a", "x", "slice") == question_id("a", "x", "slice")
    assert question_id("", "x", "slice") == ""


# Files -----------------------------------------------------------------------------------------------------------


def test_a_seg_nrrd_file_keeps_prompts_status_and_provenance(scene, add_volume, writer, tmp_path) -> None:
    node = add_volume(blob_volume(ijk_to_ras=OBLIQUE), MOVED)
    volume = volume_from_node(node)
    segmentation = create_segmentation(scene, node)
    world = world_from_local(segmentation)
    first, second = add_segment(segmentation, "liver"), add_segment(segmentation, "empty")
    prompts = everything(volume)
    segment = segment_of(segmentation, first)
    store_prompts(segment, prompts, "organ", world)
    set_tags(segment, Model="lite-medsam", Asked="q", Settled="q")
    set_status(segment, COMPLETED)
    writer.attach(segmentation, node)
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(tmp_path / "organs.seg.nrrd"))
    assert storage.WriteData(segmentation) == 1
    loaded = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert storage.ReadData(loaded) == 1
    loaded.SetAndObserveTransformNodeID(node.GetTransformNodeID())
    assert segment_ids(loaded) == (first, second)
    again = stored_prompts(segment_of(loaded, first), first, world_from_local(loaded))
    assert again.expert == "organ"
    assert all(
        same(a, b) for a, b in zip(again.prompts, [replace(prompt, segment=first) for prompt in prompts], strict=True)
    )
    assert get_tag(segment_of(loaded, first), "MoESeg.Model") == "lite-medsam"
    assert get_tag(segment_of(loaded, first), "Segmentation.Status") == COMPLETED


def test_a_file_of_a_python_session_goes_on_in_the_scene(
    scene, add_volume, open_session, settle, tmp_path, model: ThresholdModel
) -> None:
    node = add_volume(blob_volume(ijk_to_ras=OBLIQUE))
    volume = volume_from_node(node)
    with Session(volume, SliceEngine(model), prefetch=False) as python:
        python.add(box(volume, (10, 8), (38, 32), "liver"))
        path = python.write(tmp_path / "python.seg.nrrd")
        mask = python.mask("liver")
        python.add(point(volume, (5, 5, 4), "liver", positive=True))
        both = python.mask("liver")
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.CreateDefaultDisplayNodes()
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(path))
    assert storage.ReadData(segmentation) == 1
    (segment_id,) = segment_ids(segmentation)
    session = open_session(node, segmentation)
    settle(session)
    assert np.array_equal(segment_mask(segmentation, segment_id, node), mask)
    assert [prompt.kind for prompt in session.prompts(segment_id)] == ["box"]
    session.add(point(session.volume, (5, 5, 4), segment_id))
    settle(session)
    assert np.array_equal(segment_mask(segmentation, segment_id, node), both)


def test_a_moved_transform_moves_prompts_and_markups(scene, add_volume, open_session, settle) -> None:
    node = add_volume(blob_volume(), MOVED)
    segmentation = create_segmentation(scene, node)
    session = open_session(node, segmentation)
    liver = session.add_segment("liver")
    session.add(point(session.volume, (20, 20, 4), liver))
    settle(session)
    mask = segment_mask(segmentation, liver, node)
    node.GetParentTransformNode().SetMatrixTransformToParent(vtk_matrix(SHEARED))
    settle(session)
    assert np.array_equal(segment_mask(segmentation, liver, node), mask)
    (prompt,) = session.prompts(liver)
    assert session.volume.ras_to_ijk(prompt.ras) == pytest.approx((20, 20, 4), abs=1e-6)
    (markup,) = session.nodes.nodes(liver)
    position = [0.0, 0.0, 0.0]
    markup.GetNthControlPointPositionWorld(0, position)
    assert position == pytest.approx(list(prompt.ras), abs=1e-4)
    assert session.is_settled(liver)
    session.add(point(session.volume, (28, 20, 4), liver))
    settle(session)
    assert segment_mask(segmentation, liver, node)[4, 20, 28] == 1
