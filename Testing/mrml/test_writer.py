"""The writer against a plain model of the Segment Editor's rules, on any grid, with undo and closed surfaces."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import slicer
from fakes import blob_volume
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mrml_tools import LEFT_HANDED, MOVED, OBLIQUE, SHEARED, at, brush, patch_of

from MoESegLib.core.errors import LockedError, MoESegError, PromptError
from MoESegLib.core.results import MaskPatch
from MoESegLib.core.volume import Volume
from MoESegLib.mrml.segmentations import (
    COMPLETED,
    IN_PROGRESS,
    add_segment,
    create_segmentation,
    segment_mask,
    segment_of,
    segment_patch,
    set_status,
)
from MoESegLib.mrml.writer import UNDO_STATES, SegmentWriter

SHAPE = (4, 9, 11)  # k, j, i
AREAS = (
    "EditAllowedEverywhere",
    "EditAllowedInsideAllSegments",
    "EditAllowedInsideVisibleSegments",
    "EditAllowedOutsideAllSegments",
    "EditAllowedOutsideVisibleSegments",
    "EditAllowedInsideSingleSegment",
)
OVERWRITE = ("OverwriteNone", "OverwriteVisibleSegments", "OverwriteAllSegments")
GRIDS = {
    "plain": (None, None),
    "oblique, moved": (OBLIQUE, MOVED),
    "left-handed, sheared": (LEFT_HANDED, SHEARED),
}


# The model -------------------------------------------------------------------------------------------------------


@dataclass
class Rules:
    """What the user set in the Segment Editor."""

    overwrite: str = "OverwriteNone"
    area: str = "EditAllowedEverywhere"
    area_segment: int = 0
    intensity: tuple[int, int] | None = None
    locked: frozenset[int] = frozenset()
    hidden: frozenset[int] = frozenset()


@dataclass
class Model:
    """Segments as plain arrays, changed as the Segment Editor's documentation says."""

    image: np.ndarray
    masks: list[np.ndarray] = field(default_factory=list)

    def write(self, index: int, before: np.ndarray, after: np.ndarray, rules: Rules) -> None:
        removed, added = before & ~after, after & ~before
        losers = [other for other in range(len(self.masks)) if other != index and self._overwritten(other, rules)]
        for other in losers:
            if other in rules.locked:
                added = added & ~self.masks[other]
        single = rules.area == AREAS[-1]
        # Erasing inside one segment gives the voxels back to it, wherever they are and whatever their intensity.
        given = single and rules.area_segment not in rules.locked
        allowed = self._range(rules) if single else self._area(rules) & self._range(rules)
        erased = removed & self.masks[index] & (given | allowed)
        self.masks[index] = self.masks[index] & ~erased
        if given and rules.area_segment != index:
            self.masks[rules.area_segment] = self.masks[rules.area_segment] | erased
        drawn = added & self._area(rules) & self._range(rules)
        self.masks[index] = self.masks[index] | drawn
        for other in losers:
            self.masks[other] = self.masks[other] & ~drawn

    def _overwritten(self, other: int, rules: Rules) -> bool:
        if rules.overwrite == "OverwriteVisibleSegments":
            return other not in rules.hidden
        return rules.overwrite == "OverwriteAllSegments"

    def _range(self, rules: Rules) -> np.ndarray:
        if rules.intensity is None:
            return np.ones(SHAPE, bool)
        return (self.image >= rules.intensity[0]) & (self.image <= rules.intensity[1])

    def _area(self, rules: Rules) -> np.ndarray:
        if rules.area == AREAS[-1]:
            return self.masks[rules.area_segment]
        counted = [n for n in range(len(self.masks)) if "Visible" not in rules.area or n not in rules.hidden]
        inside = np.logical_or.reduce([np.zeros(SHAPE, bool), *(self.masks[n] for n in counted)])
        if "Inside" in rules.area:
            return inside
        return ~inside if "Outside" in rules.area else np.ones(SHAPE, bool)


class Case:
    """A scene's segmentation and the model beside it."""

    def __init__(self, scene, writer: SegmentWriter, node, segments: int = 4) -> None:
        self.scene, self.writer, self.node = scene, writer, node
        self.segmentation = create_segmentation(scene, node)
        self.ids = [add_segment(self.segmentation, f"segment {n}") for n in range(segments)]
        writer.attach(self.segmentation, node)
        image = np.array(node.GetImageData().GetPointData().GetScalars()).reshape(SHAPE)
        self.model = Model(image, [np.zeros(SHAPE, bool) for _ in self.ids])

    def apply(self, rules: Rules) -> None:
        editor, display = self.writer.editor_node(), self.segmentation.GetDisplayNode()
        editor.SetOverwriteMode(getattr(editor, rules.overwrite))
        editor.SetMaskMode(getattr(slicer.vtkMRMLSegmentationNode, rules.area))
        editor.SetMaskSegmentID(self.ids[rules.area_segment])
        editor.SetSourceVolumeIntensityMask(rules.intensity is not None)
        if rules.intensity is not None:
            editor.SetSourceVolumeIntensityMaskRange(*rules.intensity)
        for n, segment_id in enumerate(self.ids):
            set_status(segment_of(self.segmentation, segment_id), COMPLETED if n in rules.locked else IN_PROGRESS)
            display.SetSegmentVisibility(segment_id, n not in rules.hidden)

    def write(self, index: int, before: np.ndarray, after: np.ndarray, rules: Rules) -> None:
        self.apply(rules)
        self.writer.write(self.ids[index], MaskPatch.of(before), MaskPatch.of(after))
        self.model.write(index, before, after, rules)

    def masks(self) -> list[np.ndarray]:
        return [segment_mask(self.segmentation, segment_id, self.node).astype(bool) for segment_id in self.ids]

    def check(self) -> None:
        for n, (found, expected) in enumerate(zip(self.masks(), self.model.masks, strict=True)):
            assert np.array_equal(found, expected), f"segment {n}: {np.argwhere(found != expected)[:3]}"


@pytest.fixture
def cases(scene, add_volume, writer):
    """Makes a case on a grid under a transform; the volume is made once for each."""
    nodes = {}

    def make(name: str = "plain", segments: int = 4) -> Case:
        if name not in nodes:
            grid, parent = GRIDS[name]
            array = np.random.default_rng(5).integers(0, 256, SHAPE).astype(np.uint8)
            nodes[name] = add_volume(Volume(array, np.eye(4) if grid is None else grid), parent)
        return Case(scene, writer, nodes[name], segments)

    return make


@st.composite
def blocks(draw) -> np.ndarray:
    """A mask: nothing, or one or two boxes."""
    mask = np.zeros(SHAPE, bool)
    for _ in range(draw(st.integers(0, 2))):
        bounds = [sorted((draw(st.integers(0, size - 1)), draw(st.integers(0, size - 1)))) for size in SHAPE]
        mask[tuple(slice(low, high + 1) for low, high in bounds)] = True
    return mask


RULES = st.builds(
    Rules,
    st.sampled_from(OVERWRITE),
    st.sampled_from(AREAS),
    st.integers(0, 3),
    st.sampled_from([None, (0, 120), (100, 200), (90, 90)]),
    st.frozensets(st.integers(0, 3), max_size=2),
    st.frozensets(st.integers(0, 3), max_size=2),
)


@settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from(sorted(GRIDS)),
    st.lists(blocks(), min_size=4, max_size=4),
    st.lists(st.tuples(st.integers(0, 3), blocks(), blocks(), RULES), min_size=1, max_size=5),
)
def test_the_segment_editors_rules_hold_for_every_mask(cases, grid: str, drawn, steps) -> None:
    case = cases(grid)
    for index, mask in enumerate(drawn):
        case.write(index, np.zeros(SHAPE, bool), mask, Rules())
    for index, before, after, rules in steps:
        frozen = [case.masks()[n] for n in sorted(rules.locked)]
        if index in rules.locked:
            case.apply(rules)
            with pytest.raises(LockedError):
                case.writer.write(case.ids[index], MaskPatch.of(before), MaskPatch.of(after))
        else:
            case.write(index, before, after, rules)
        case.check()
        for n, expected in zip(sorted(rules.locked), frozen, strict=True):
            assert np.array_equal(case.masks()[n], expected), "a locked segment changed"
    case.scene.RemoveNode(case.segmentation)


# Single facts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", GRIDS)
def test_a_small_change_leaves_the_rest_of_a_segment_alone(cases, grid: str) -> None:
    case = cases(grid)
    nothing, whole = np.zeros(SHAPE, bool), np.ones(SHAPE, bool)
    case.write(0, nothing, whole, Rules())
    corner, hole = nothing.copy(), nothing.copy()
    corner[0, 0, 0] = True
    hole[2, 4, 5] = True
    case.write(0, corner, nothing, Rules())
    case.write(0, hole, nothing, Rules())
    case.check()
    assert case.masks()[0].sum() == whole.sum() - 2
    case.write(0, nothing, corner | hole, Rules())
    case.check()
    assert case.masks()[0].all()


def test_numbers_of_added_and_removed_voxels_leave_out_what_locked_segments_keep(cases) -> None:
    case = cases()
    first, second = patch_of((0, 3, 0, 3, 1, 1)), patch_of((2, 5, 0, 3, 1, 1))
    assert case.writer.write(case.ids[0], MaskPatch(), first) == (16, 0)
    case.apply(Rules("OverwriteAllSegments", locked=frozenset({0})))
    assert case.writer.write(case.ids[1], MaskPatch(), second) == (8, 0)
    assert case.writer.write(case.ids[1], second, MaskPatch()) == (0, 16)


def test_nothing_to_change_makes_no_event(cases) -> None:
    case = cases()
    patch = patch_of((0, 3, 0, 3, 1, 1))
    case.writer.write(case.ids[0], MaskPatch(), patch)
    events = []
    content = case.segmentation.GetSegmentation()
    content.AddObserver(slicer.vtkSegmentation.SourceRepresentationModified, lambda *_: events.append(1))
    assert case.writer.write(case.ids[0], patch, patch) == (0, 0)
    assert case.writer.write(case.ids[1], MaskPatch(), MaskPatch()) == (0, 0)
    assert events == []


def test_a_segment_can_become_empty_and_be_filled_again(cases) -> None:
    case = cases()
    patch = patch_of((3, 6, 2, 5, 0, 3))
    case.writer.write(case.ids[0], MaskPatch(), patch)
    case.writer.write(case.ids[0], patch, MaskPatch())
    assert segment_patch(case.segmentation, case.ids[0]).count == 0
    case.writer.write(case.ids[0], MaskPatch(), patch)
    assert segment_patch(case.segmentation, case.ids[0]).extent == patch.extent


def test_a_part_of_a_segment_is_read_by_its_extent(cases) -> None:
    case = cases()
    case.writer.write(case.ids[0], MaskPatch(), patch_of((2, 8, 1, 7, 1, 3)))
    part = segment_patch(case.segmentation, case.ids[0], (0, 4, 6, 8, 0, 1))
    assert part.extent == (2, 4, 6, 7, 1, 1) and part.count == 6
    assert segment_patch(case.segmentation, case.ids[0], (9, 10, 0, 8, 0, 3)).count == 0
    assert segment_patch(case.segmentation, case.ids[1]).count == 0


def test_a_writer_needs_a_segmentation_and_a_segment(scene, cases) -> None:
    with pytest.raises(MoESegError, match="no segmentation"):
        SegmentWriter(scene).write("a", MaskPatch(), patch_of((0, 1, 0, 1, 0, 1)))
    case = cases()
    with pytest.raises(PromptError, match="no segment 'gone'"):
        case.writer.write("gone", MaskPatch(), patch_of((0, 1, 0, 1, 0, 1)))


def test_a_locked_segment_gains_nothing_when_a_prompt_erases_inside_it(cases) -> None:
    case = cases()
    lock = Rules("OverwriteNone", AREAS[-1], 1, locked=frozenset({1}))
    case.writer.write(case.ids[0], MaskPatch(), patch_of((0, 6, 0, 6, 1, 1)))
    case.writer.write(case.ids[1], MaskPatch(), patch_of((0, 2, 0, 2, 1, 1)))
    before = segment_mask(case.segmentation, case.ids[1], case.node)
    case.apply(lock)
    case.writer.write(case.ids[0], patch_of((2, 6, 2, 6, 1, 1)), MaskPatch())
    assert np.array_equal(segment_mask(case.segmentation, case.ids[1], case.node), before)
    assert segment_mask(case.segmentation, case.ids[0], case.node)[1, 2:7, 2:7].sum() == 0
    assert case.writer.editor_node().GetMaskMode() == slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment


@pytest.mark.parametrize("mode", OVERWRITE)
def test_a_locked_segment_keeps_its_voxels_hidden_or_not(cases, mode: str) -> None:
    case = cases()
    for n in (1, 2):
        case.writer.write(case.ids[n], MaskPatch(), patch_of((n, 4 + n, 0, 6, n, n)))
    before = case.masks()
    case.apply(Rules(mode, locked=frozenset({1, 2}), hidden=frozenset({2})))
    case.writer.write(case.ids[0], MaskPatch(), patch_of((0, 10, 0, 8, 0, 3)))
    after = case.masks()
    assert np.array_equal(after[1], before[1]) and np.array_equal(after[2], before[2])
    kept = {"OverwriteNone": after[0] & False, "OverwriteVisibleSegments": before[1]}
    assert np.array_equal(~after[0], kept.get(mode, before[1] | before[2]))


# Closed surface --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", ["plain", "oblique, moved"])
def test_the_closed_surface_follows_the_voxels_when_there_is_one(cases, grid: str) -> None:
    case = cases(grid)
    first = patch_of((1, 5, 1, 5, 1, 2))
    case.writer.write(case.ids[0], MaskPatch(), first)
    case.segmentation.CreateClosedSurfaceRepresentation()

    def size() -> np.ndarray:
        surface = case.segmentation.GetClosedSurfaceInternalRepresentation(case.ids[0])
        assert surface is not None and surface.GetNumberOfPoints() > 0
        bounds = np.array(surface.GetBounds()).reshape(3, 2)
        return bounds[:, 1] - bounds[:, 0]

    small = size()
    case.writer.save_state()
    case.writer.write(case.ids[0], first, patch_of((1, 9, 1, 8, 1, 3)))
    large = size()
    assert (large > small).all()
    case.writer.undo()
    assert size() == pytest.approx(small, abs=1e-3)
    case.writer.redo()
    assert size() == pytest.approx(large, abs=1e-3)


def test_no_closed_surface_is_made_unasked(cases) -> None:
    case = cases()
    case.writer.write(case.ids[0], MaskPatch(), patch_of((1, 5, 1, 5, 1, 2)))
    name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    assert not case.segmentation.GetSegmentation().ContainsRepresentation(name)


# Undo ------------------------------------------------------------------------------------------------------------


def test_undo_and_redo_bring_back_every_one_of_thirty_states(cases) -> None:
    case = cases()
    random = np.random.default_rng(11)
    states = [case.masks()]
    for step in range(UNDO_STATES):
        index = int(random.integers(4))
        if step % 3 == 2:
            brush(case.writer, case.ids[index], (step % 7, step % 7 + 2, 0, 3, 0, 2), add=step % 2 == 0)
        else:
            case.writer.save_state()
            before, after = random.random(SHAPE) < 0.3, random.random(SHAPE) < 0.3
            case.writer.write(case.ids[index], MaskPatch.of(before), MaskPatch.of(after))
        states.append(case.masks())
    for expected in reversed(states[:-1]):
        assert case.writer.undo()
        assert all(np.array_equal(a, b) for a, b in zip(case.masks(), expected, strict=True))
    assert not case.writer.can_undo and not case.writer.undo()
    for expected in states[1:]:
        assert case.writer.redo()
        assert all(np.array_equal(a, b) for a, b in zip(case.masks(), expected, strict=True))
    assert not case.writer.can_redo and not case.writer.redo()


def test_a_new_segmentation_starts_with_an_empty_stack(scene, cases) -> None:
    case = cases()
    case.writer.save_state()
    case.writer.write(case.ids[0], MaskPatch(), patch_of((1, 5, 1, 5, 1, 2)))
    assert case.writer.can_undo
    other = cases()
    assert not other.writer.can_undo
    other.writer.detach()
    assert not other.writer.undo() and not other.writer.redo()


# The parameters of the editor ------------------------------------------------------------------------------------


def test_masking_is_copied_from_and_to_the_segment_editor(scene, writer) -> None:
    ours = writer.editor_node()
    assert ours.GetOverwriteMode() == ours.OverwriteVisibleSegments
    writer.copy_masking()  # the Segment Editor was never opened
    theirs = slicer.vtkMRMLSegmentEditorNode()
    theirs.SetSingletonTag("SegmentEditor")
    theirs = scene.AddNode(theirs)
    theirs.SetOverwriteMode(theirs.OverwriteNone)
    theirs.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    theirs.SetMaskSegmentID("liver")
    theirs.SetSourceVolumeIntensityMask(True)
    theirs.SetSourceVolumeIntensityMaskRange(20, 90)
    writer.copy_masking()
    for node in (ours, writer.editor_node()):
        assert node.GetOverwriteMode() == node.OverwriteNone and node.GetMaskSegmentID() == "liver"
        assert tuple(node.GetSourceVolumeIntensityMaskRange()) == (20, 90) and node.GetSourceVolumeIntensityMask()
    ours.SetOverwriteMode(ours.OverwriteAllSegments)
    ours.SetMaskSegmentID(None)
    writer.copy_masking(to_segment_editor=True)
    assert theirs.GetOverwriteMode() == theirs.OverwriteAllSegments and not theirs.GetMaskSegmentID()


def test_an_editable_segment_of_another_segmentation_is_forgotten(cases) -> None:
    case = cases()
    case.apply(Rules("OverwriteNone", AREAS[-1], 1))
    other = cases()
    other.writer.write(other.ids[0], MaskPatch(), patch_of((1, 5, 1, 5, 1, 2)))
    assert other.masks()[0].sum() == 50
    other.apply(Rules("OverwriteNone", AREAS[-1], 1))
    other.writer.attach(other.segmentation, other.node)
    assert other.writer.editor_node().GetMaskSegmentID() == other.ids[1]


def test_a_far_away_volume_with_fine_voxels_keeps_every_voxel(scene, add_volume, writer) -> None:
    grid = at(900, -1200, 1500) @ OBLIQUE @ np.diag([0.02, 0.02, 0.05, 1])
    node = add_volume(blob_volume((20, 60, 70), ijk_to_ras=grid, radius=0.4))
    segmentation = create_segmentation(scene, node)
    segment_id = add_segment(segmentation)
    writer.attach(segmentation, node)
    mask = np.random.default_rng(2).random((20, 60, 70)) < 0.5
    writer.write(segment_id, MaskPatch(), MaskPatch.of(mask))
    assert np.array_equal(segment_mask(segmentation, segment_id, node), mask)
