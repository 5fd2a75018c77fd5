"""Markups and prompts say the same: placed, dragged, copied, renamed and read under any transform."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from fakes import blob_volume
from mrml_tools import LEFT_HANDED, MOVED, OBLIQUE, SHEARED, box, point

from MoESegLib.core.prompts import AutomaticPrompt, BoxPrompt, PointPrompt, PolygonPrompt, ScribblePrompt, TextPrompt
from MoESegLib.mrml.prompt_nodes import KIND, NEGATIVE_COLOR, POSITIVE_COLOR, PROMPT, PromptNodes, has_markups
from MoESegLib.mrml.segmentations import create_segmentation
from MoESegLib.mrml.views import is_placing, start_placing, stop_placing
from MoESegLib.mrml.volumes import volume_from_node

SEGMENT = "liver-id"
GRIDS = {
    "plain": (None, None),
    "oblique": (OBLIQUE, None),
    "oblique, moved": (OBLIQUE, MOVED),
    "left-handed": (LEFT_HANDED, None),
    "plain, sheared": (None, SHEARED),
    "oblique, sheared": (OBLIQUE, SHEARED),
}


@pytest.fixture
def prompt_nodes(scene, add_volume):
    """The markups of a segmentation on a volume, as a session makes them."""
    made = []

    def make(grid="plain") -> tuple[PromptNodes, object]:
        matrix, parent = GRIDS[grid]
        node = add_volume(blob_volume(ijk_to_ras=matrix), parent)
        volume = volume_from_node(node)
        segmentation = create_segmentation(scene, node)
        made.append(PromptNodes(scene, segmentation, node.GetTransformNodeID, lambda: volume))
        return made[-1], volume

    yield make
    for nodes in made:
        nodes.close()


def curve(volume, kind=ScribblePrompt, **more):
    points = tuple(map(tuple, volume.to_ras([[8, 8, 4], [20, 9, 4], [25, 22, 4], [12, 25, 4]])))
    return kind(points=points, segment=SEGMENT, plane="axial", **more)


def everything(volume) -> list:
    return [
        point(volume, (20, 20, 4), SEGMENT),
        point(volume, (5, 6, 2), SEGMENT, positive=False),
        box(volume, (10, 8), (38, 32), SEGMENT),
        curve(volume),
        curve(volume, positive=False),
        curve(volume, PolygonPrompt),
        point(volume, (24, 21, 5), SEGMENT, plane=None),
    ]


def by_id(prompts) -> dict:
    return {prompt.id: prompt for prompt in prompts}


def forget(nodes: PromptNodes) -> None:
    """As after loading: only the markups themselves can tell."""
    nodes._known.clear()


@pytest.mark.parametrize("grid", GRIDS)
def test_prompts_are_read_back_as_they_were_shown(prompt_nodes, grid: str) -> None:
    nodes, volume = prompt_nodes(grid)
    prompts = everything(volume)
    nodes.show(SEGMENT, "liver", prompts)
    forget(nodes)
    found = by_id(nodes.read(SEGMENT))
    assert set(found) == set(by_id(prompts))
    for prompt in prompts:
        same = found[prompt.id]
        assert type(same) is type(prompt) and same.plane == prompt.plane and same.segment == SEGMENT
        assert getattr(same, "positive", True) == getattr(prompt, "positive", True)
        if isinstance(prompt, BoxPrompt):
            continue  # of any two opposite corners; tested below
        assert np.array(same.ras_points) == pytest.approx(np.array(prompt.ras_points), abs=1e-3)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("flat", [True, False], ids=["in a slice", "in 3D"])
def test_a_box_under_any_transform_is_read_back_in_voxels(prompt_nodes, grid: str, flat: bool) -> None:
    nodes, volume = prompt_nodes(grid)
    corners = np.array([[10, 8, 4], [38, 32, 4 if flat else 7]], float)
    ras = volume.to_ras(corners)
    plane = "axial" if flat else None
    prompt = BoxPrompt(corner_a=tuple(ras[0]), corner_b=tuple(ras[1]), segment=SEGMENT, plane=plane)
    nodes.show(SEGMENT, "liver", [prompt])
    forget(nodes)
    (found,) = nodes.read(SEGMENT)
    ijk = volume.ras_to_ijk(found.ras_points)
    assert np.sort(ijk, axis=0) == pytest.approx(corners, abs=0.02)


def test_what_is_known_is_given_back_unchanged(prompt_nodes) -> None:
    nodes, volume = prompt_nodes("oblique, sheared")
    prompts = everything(volume)
    nodes.show(SEGMENT, "liver", prompts)
    assert nodes.read(SEGMENT) == prompts  # not even rounding
    before = [node.GetMTime() for node in nodes.nodes(SEGMENT)]
    nodes.show(SEGMENT, "liver", prompts)
    assert [node.GetMTime() for node in nodes.nodes(SEGMENT)] == before
    assert nodes.changed_segments() == set()


# Telling apart ---------------------------------------------------------------------------------------------------


def test_inside_and_outside_differ_by_label_glyph_and_color(prompt_nodes) -> None:
    nodes, volume = prompt_nodes()
    nodes.show(SEGMENT, "liver", everything(volume))
    found = {node.GetAttribute(KIND): node for node in nodes.nodes(SEGMENT)}
    inside, outside = found["point+"], found["point-"]
    assert [inside.GetNthControlPointLabel(n) for n in range(2)] == ["+1", "+2"]
    assert outside.GetNthControlPointLabel(0) == "\N{MINUS SIGN}1"
    first, second = inside.GetDisplayNode(), outside.GetDisplayNode()
    assert first.GetGlyphType() != second.GetGlyphType()
    assert tuple(first.GetSelectedColor()) == POSITIVE_COLOR and tuple(second.GetSelectedColor()) == NEGATIVE_COLOR
    assert found["scribble+"].GetName() == "liver scribble inside"
    assert found["scribble-"].GetName() == "liver scribble outside"
    assert found["polygon+"].IsA("vtkMRMLMarkupsClosedCurveNode") and not found["scribble+"].GetCurveClosed()
    assert all(node.GetTransformNodeID() is None for node in found.values())


def test_flipping_the_sign_moves_a_point_to_the_other_list(prompt_nodes) -> None:
    nodes, volume = prompt_nodes()
    first = point(volume, (20, 20, 4), SEGMENT)
    nodes.show(SEGMENT, "liver", [first])
    flipped = PointPrompt(ras=first.ras, positive=False, segment=SEGMENT, plane="axial", id=first.id)
    nodes.show(SEGMENT, "liver", [flipped])
    (node,) = nodes.nodes(SEGMENT)
    assert node.GetAttribute(KIND) == "point-" and node.GetNumberOfControlPoints() == 1
    forget(nodes)
    assert nodes.read(SEGMENT) == [flipped]


def test_only_the_markups_of_the_selected_segment_are_shown(prompt_nodes) -> None:
    nodes, volume = prompt_nodes()
    nodes.show("a", "a", [point(volume, (20, 20, 4), "a")])
    nodes.show("b", "b", [point(volume, (22, 20, 4), "b")])
    nodes.show_only("a")
    visible = {node.GetAttribute("MoESeg.Segment"): node.GetDisplayNode().GetVisibility() for node in nodes._find()}
    assert visible == {"a": 1, "b": 0}
    assert nodes.changed_segments() == set()


def test_prompts_that_point_at_nothing_have_no_markups(prompt_nodes) -> None:
    nodes, volume = prompt_nodes()
    place = {"ras": tuple(volume.to_ras((20, 20, 4))), "segment": SEGMENT, "plane": "axial"}
    prompts = [TextPrompt(text="liver", segment=SEGMENT), TextPrompt(text="liver", **place), AutomaticPrompt(**place)]
    assert not any(has_markups(prompt) for prompt in prompts)
    nodes.show(SEGMENT, "liver", prompts)
    assert nodes.nodes(SEGMENT) == []


# The user changes something --------------------------------------------------------------------------------------


def test_dragging_tells_when_the_mouse_is_released(prompt_nodes) -> None:
    nodes, volume = prompt_nodes("oblique, moved")
    prompt = point(volume, (20, 20, 4), SEGMENT)
    nodes.show(SEGMENT, "liver", [prompt])
    (node,) = nodes.nodes(SEGMENT)
    target = volume.to_ras((28, 22, 4))
    node.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointStartInteractionEvent)
    node.SetNthControlPointPositionWorld(0, *target)
    assert nodes.changed_segments() == set()
    node.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent)
    assert nodes.changed_segments() == {SEGMENT}
    assert nodes.changed_segments() == set()
    (moved,) = nodes.read(SEGMENT)
    assert moved.id == prompt.id and moved.plane == "axial"
    assert moved.ras == pytest.approx(tuple(target), abs=1e-6)


def test_a_change_during_one_drag_of_another_segment_is_not_held_back(prompt_nodes) -> None:
    nodes, volume = prompt_nodes()
    for name in "ab":
        nodes.show(name, name, [point(volume, (20, 20, 4), name)])
    nodes.nodes("a")[0].InvokeEvent(slicer.vtkMRMLMarkupsNode.PointStartInteractionEvent)
    nodes.nodes("a")[0].SetNthControlPointPositionWorld(0, 0, 0, 0)
    nodes.nodes("b")[0].SetNthControlPointPositionWorld(0, 0, 0, 0)
    assert nodes.changed_segments() == {"b"}
    nodes.nodes("a")[0].InvokeEvent(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent)
    assert nodes.changed_segments() == {"a"}


def test_a_copied_point_is_a_prompt_of_its_own(prompt_nodes) -> None:
    nodes, volume = prompt_nodes()
    prompt = point(volume, (20, 20, 4), SEGMENT)
    nodes.show(SEGMENT, "liver", [prompt])
    (node,) = nodes.nodes(SEGMENT)
    node.AddControlPointWorld(*volume.to_ras((25, 25, 4)))
    node.SetNthControlPointDescription(1, node.GetNthControlPointDescription(0))  # as copy and paste does
    found = nodes.read(SEGMENT)
    assert len(found) == 2 and found[0].id == prompt.id and found[1].id != prompt.id
    assert by_id(nodes.read(SEGMENT)).keys() == by_id(found).keys()  # and keeps its identity from now on


def test_points_the_user_renames_stay_the_same_prompts(prompt_nodes) -> None:
    nodes, volume = prompt_nodes()
    prompt = point(volume, (20, 20, 4), SEGMENT)
    nodes.show(SEGMENT, "liver", [prompt])
    (node,) = nodes.nodes(SEGMENT)
    node.SetNthControlPointLabel(0, "dome of the liver")
    node.SetName("my points")
    assert nodes.read(SEGMENT) == [prompt]
    nodes.show(SEGMENT, "liver", nodes.read(SEGMENT))
    assert node.GetNthControlPointLabel(0) == "dome of the liver" and node.GetName() == "my points"


def test_a_description_the_user_writes_makes_no_prompt_disappear(prompt_nodes) -> None:
    nodes, volume = prompt_nodes()
    nodes.show(SEGMENT, "liver", [point(volume, (20, 20, 4), SEGMENT), point(volume, (24, 20, 4), SEGMENT)])
    (node,) = nodes.nodes(SEGMENT)
    node.SetNthControlPointDescription(0, "")
    node.SetNthControlPointDescription(1, "seen in the arterial phase")
    found = nodes.read(SEGMENT)
    assert len(found) == 2
    assert found[0].ras == pytest.approx(tuple(volume.to_ras((20, 20, 4))))


def test_a_point_that_follows_the_mouse_before_the_click_is_no_prompt(prompt_nodes) -> None:
    nodes, volume = prompt_nodes()
    node = nodes.new_node(SEGMENT, "liver", "point+")
    markups = slicer.vtkMRMLMarkupsNode
    index = node.AddControlPointWorld(*volume.to_ras((20, 20, 4)))
    node.SetNthControlPointPositionWorld(index, *volume.to_ras((20, 20, 4)), markups.PositionPreview)
    assert nodes.read(SEGMENT) == []
    node.SetNthControlPointPositionWorld(index, *volume.to_ras((21, 20, 4)), markups.PositionDefined)
    assert len(nodes.read(SEGMENT)) == 1
    assert SEGMENT in nodes.changed_segments()


@pytest.mark.parametrize("kind", ["box+", "scribble-", "polygon+"])
def test_a_shape_is_a_prompt_when_it_is_finished(scene, prompt_nodes, kind: str) -> None:
    nodes, volume = prompt_nodes("oblique, moved")
    node = nodes.new_node(SEGMENT, "liver", kind)
    start_placing(scene, node, persistent=False)
    for ijk in ((10, 8, 4), (30, 8, 4), (30, 30, 4)):
        node.AddControlPointWorld(*volume.to_ras(ijk))
    assert is_placing(scene)
    assert nodes.changed_segments() == set() and nodes.read(SEGMENT) == []
    stop_placing(scene)
    assert nodes.changed_segments() == {SEGMENT}
    (found,) = nodes.read(SEGMENT)
    assert f"{found.kind}{'+' if getattr(found, 'positive', True) else '-'}" == kind
    assert nodes.read(SEGMENT)[0].id == found.id == node.GetAttribute(PROMPT)


def test_a_curve_of_two_points_is_no_outline_yet(prompt_nodes) -> None:
    nodes, volume = prompt_nodes()
    node = nodes.new_node(SEGMENT, "liver", "polygon+")
    for ijk in ((10, 8, 4), (30, 8, 4)):
        node.AddControlPointWorld(*volume.to_ras(ijk))
    assert nodes.read(SEGMENT) == []
    node.AddControlPointWorld(*volume.to_ras((30, 30, 4)))
    assert len(nodes.read(SEGMENT)) == 1


def test_points_of_one_sign_share_a_list_and_clearing_keeps_it(prompt_nodes) -> None:
    nodes, volume = prompt_nodes()
    node = nodes.new_node(SEGMENT, "liver", "point+")
    assert nodes.new_node(SEGMENT, "liver", "point+") is node
    assert nodes.new_node(SEGMENT, "liver", "point-") is not node
    node.AddControlPointWorld(*volume.to_ras((20, 20, 4)))
    nodes.clear_points(SEGMENT)
    assert node.GetNumberOfControlPoints() == 0 and nodes.read(SEGMENT) == []
    nodes.remove_unused()
    assert nodes.nodes(SEGMENT) == []


def test_a_list_that_is_placed_into_is_kept_when_its_last_prompt_is_undone(scene, prompt_nodes) -> None:
    nodes, volume = prompt_nodes()
    node = nodes.new_node(SEGMENT, "liver", "point+")
    start_placing(scene, node, persistent=True)
    nodes.show(SEGMENT, "liver", [point(volume, (20, 20, 4), SEGMENT)])
    nodes.show(SEGMENT, "liver", [])
    assert nodes.nodes(SEGMENT) == [node]
    stop_placing(scene)
    nodes.remove_unused()
    assert nodes.nodes(SEGMENT) == []


def test_showing_prompts_does_not_change_what_the_user_places_into(scene, prompt_nodes) -> None:
    nodes, volume = prompt_nodes()
    mine = scene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", "ruler")
    start_placing(scene, mine, persistent=False)
    nodes.show(SEGMENT, "liver", everything(volume))
    selection = scene.GetFirstNodeByClass("vtkMRMLSelectionNode")
    assert selection.GetActivePlaceNodeID() == mine.GetID()
    assert selection.GetActivePlaceNodeClassName() == "vtkMRMLMarkupsLineNode"
    assert is_placing(scene)


def test_markups_of_the_user_and_of_other_segmentations_are_left_alone(scene, prompt_nodes, add_volume) -> None:
    nodes, volume = prompt_nodes()
    mine = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "landmarks")
    mine.AddControlPointWorld(1, 2, 3)
    other, _ = prompt_nodes()
    other.show(SEGMENT, "liver", [point(volume, (20, 20, 4), SEGMENT)])
    assert nodes.nodes(SEGMENT) == []
    nodes.remove_segment(SEGMENT)
    nodes.remove_unused()
    assert mine.GetScene() is scene and len(other.nodes(SEGMENT)) == 1


def test_a_removed_node_takes_its_prompts_with_it(scene, prompt_nodes) -> None:
    nodes, volume = prompt_nodes()
    nodes.show(SEGMENT, "liver", [point(volume, (20, 20, 4), SEGMENT), curve(volume)])
    gone = next(node for node in nodes.nodes(SEGMENT) if node.GetAttribute(KIND) == "scribble+")
    scene.RemoveNode(gone)
    nodes.node_removed(gone)  # as the session's watcher tells
    assert nodes.changed_segments() == {SEGMENT}
    assert [prompt.kind for prompt in nodes.read(SEGMENT)] == ["point"]


def test_removed_prompts_leave_no_display_nodes_behind(scene, prompt_nodes) -> None:
    nodes, volume = prompt_nodes()
    count = scene.GetNumberOfNodes()
    for _ in range(3):
        nodes.show(SEGMENT, "liver", everything(volume))
        nodes.show(SEGMENT, "liver", [])
    assert scene.GetNumberOfNodes() == count


def test_nothing_is_observed_after_closing(prompt_nodes) -> None:
    nodes, volume = prompt_nodes()
    nodes.show(SEGMENT, "liver", [point(volume, (20, 20, 4), SEGMENT)])
    nodes.close()
    (node,) = nodes.nodes(SEGMENT)
    node.SetNthControlPointPositionWorld(0, 1, 2, 3)
    assert nodes.changed_segments() == set()
