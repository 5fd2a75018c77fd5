"""Saved scenes: segments, prompts and their markups are back after loading, and go on as if nothing happened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import slicer
from fakes import ThresholdModel, blob_volume
from mrml_tools import MOVED, OBLIQUE, box, brush, point

from MoESegLib import Session
from MoESegLib.core.errors import PromptError
from MoESegLib.core.prompts import PolygonPrompt, ScribblePrompt, TextPrompt
from MoESegLib.core.results import MaskPatch
from MoESegLib.core.volume import Volume
from MoESegLib.engines.slice_engine import SliceEngine
from MoESegLib.mrml.overlays import ChangesOverlay
from MoESegLib.mrml.segmentations import create_segmentation, get_tag, segment_ids, segment_mask, segment_of
from MoESegLib.mrml.volumes import volume_from_node

GRIDS = {"plain": (None, None), "oblique": (OBLIQUE, None), "oblique, moved": (OBLIQUE, MOVED)}
STROKE = (2, 6, 2, 6, 4, 4)


@pytest.fixture
def work(add_volume, scene, open_session, settle, writer):
    """A scene with a liver of three kinds of prompts and a brush stroke, and an accepted neighbor."""

    def make(grid: str = "plain"):
        matrix, parent = GRIDS[grid]
        node = add_volume(blob_volume(ijk_to_ras=matrix), parent, "Abdomen")
        segmentation = create_segmentation(scene, node, "Organs")
        session = open_session(node, segmentation)
        liver, spleen = session.add_segment("liver"), session.add_segment("spleen")
        session.add(box(session.volume, (10, 8), (30, 32), liver))
        session.add(point(session.volume, (30, 20, 4), liver))
        stroke = tuple(map(tuple, session.volume.to_ras([[20, 15, 4], [26, 18, 4]])))
        session.add(ScribblePrompt(points=stroke, segment=liver, plane="axial"))
        session.add(point(session.volume, (34, 26, 5), spleen))
        settle(session)
        session.accept(spleen)
        brush(writer, liver, STROKE)
        settle(session)
        return session, node, segmentation, liver, spleen

    return make


@pytest.fixture(autouse=True)
def remote_cache(scene, tmp_path):
    """Bundles are unpacked beside the cache of remote files, which the application sets up."""
    manager, logic = slicer.vtkDataIOManager(), slicer.vtkDataIOManagerLogic()
    cache = slicer.vtkCacheManager()
    cache.SetRemoteCacheDirectory(str(tmp_path / "cache"))
    scene.SetCacheManager(cache)
    manager.SetCacheManager(cache)
    scene.SetDataIOManager(manager)
    logic.SetMRMLScene(scene)
    logic.SetAndObserveDataIOManager(manager)
    yield
    del logic


def save_and_load(scene, path: Path, clear: bool = True) -> None:
    scene.SetRootDirectory(str(path.parent))
    assert scene.WriteToMRB(str(path))
    if clear:
        scene.Clear(0)
    assert scene.ReadFromMRB(str(path), clear)


def nodes_named(scene, name: str, kind: str) -> list:
    collection = scene.GetNodesByClassByName(kind, name)
    return [collection.GetItemAsObject(index) for index in range(collection.GetNumberOfItems())]


def expected_mask(volume: Volume, model, prompts) -> np.ndarray:
    """What a fresh Python session gives for the prompts."""
    with Session(volume, SliceEngine(model), prefetch=False) as session:
        for prompt in prompts:
            session.add(prompt)
        return session.mask(prompts[0].segment).astype(bool)


@pytest.mark.parametrize("grid", GRIDS)
def test_a_saved_scene_is_back_and_its_prompts_are_editable(
    scene, work, open_session, settle, model, tmp_path, grid: str
) -> None:
    session, node, segmentation, liver, spleen = work(grid)
    masks = [segment_mask(segmentation, key, node) for key in (liver, spleen)]
    prompts = session.prompts(liver)
    session.close()
    save_and_load(scene, tmp_path / "scene.mrb")
    (node,) = nodes_named(scene, "Abdomen", "vtkMRMLScalarVolumeNode")
    (segmentation,) = nodes_named(scene, "Organs", "vtkMRMLSegmentationNode")
    decoded = model.decoded
    again = open_session(node, segmentation)
    assert settle(again)["messages"] == []
    assert model.decoded == decoded  # nothing is asked again until the user goes on
    assert segment_ids(segmentation) == (liver, spleen)
    for key, mask in zip((liver, spleen), masks, strict=True):
        assert np.array_equal(segment_mask(segmentation, key, node), mask)
    restored = again.prompts(liver)
    assert [(prompt.kind, prompt.id, prompt.plane) for prompt in restored] == [
        (prompt.kind, prompt.id, prompt.plane) for prompt in prompts
    ]
    for old, new in zip(prompts, restored, strict=True):
        assert np.array(new.ras_points) == pytest.approx(np.array(old.ras_points), abs=1e-3)
    assert len(again.nodes.nodes(liver)) == 3 and len(again.nodes.nodes(spleen)) == 1
    assert get_tag(segment_of(segmentation, spleen), "Segmentation.Status") == "completed"
    with pytest.raises(PromptError, match="no segment"):
        again.prompts("gone")

    (list_node,) = (n for n in again.nodes.nodes(liver) if n.IsA("vtkMRMLMarkupsFiducialNode"))
    list_node.SetNthControlPointPositionWorld(0, *again.volume.to_ras((36, 24, 4)))
    settle(again)
    moved = again.prompts(liver)
    assert again.volume.ras_to_ijk(moved[1].ras) == pytest.approx((36, 24, 4), abs=1e-3)
    expected = expected_mask(volume_from_node(node), model, moved)
    assert not np.array_equal(expected, expected_mask(volume_from_node(node), model, restored))
    stroke = np.zeros_like(expected)
    stroke[4, 2:7, 2:7] = True
    assert np.array_equal(segment_mask(segmentation, liver, node).astype(bool), expected | stroke)
    assert np.array_equal(segment_mask(segmentation, spleen, node), masks[1])

    assert again.undo()
    settle(again)
    assert np.array_equal(segment_mask(segmentation, liver, node), masks[0])
    assert again.redo()
    settle(again)
    assert np.array_equal(segment_mask(segmentation, liver, node).astype(bool), expected | stroke)


def test_importing_beside_other_nodes_changes_ids_and_nothing_else(
    scene, work, add_volume, open_session, settle, model, tmp_path
) -> None:
    session, node, segmentation, liver, _ = work()
    mask = segment_mask(segmentation, liver, node)
    save_and_load(scene, tmp_path / "scene.mrb", clear=False)  # the same scene once more, beside itself
    volumes = nodes_named(scene, "Abdomen", "vtkMRMLScalarVolumeNode") + nodes_named(
        scene, "Abdomen_1", "vtkMRMLScalarVolumeNode"
    )
    both = nodes_named(scene, "Organs", "vtkMRMLSegmentationNode") + nodes_named(
        scene, "Organs_1", "vtkMRMLSegmentationNode"
    )
    (other,) = (each for each in both if each is not segmentation)
    (other_volume,) = (each for each in volumes if each is not node)
    assert other.GetID() != segmentation.GetID()
    settle(session)
    assert len(session.nodes.nodes(liver)) == 3  # the markups of the copy are not ours
    second = open_session(other_volume, other)
    settle(second)
    assert len(second.nodes.nodes(liver)) == 3
    assert np.array_equal(segment_mask(other, liver, other_volume), mask)
    ours, theirs = ({each.GetID() for each in one.nodes.nodes(liver)} for one in (session, second))
    assert not ours & theirs
    second.nodes.nodes(liver)[0].RemoveAllControlPoints()
    settle(second)
    assert [prompt.kind for prompt in second.prompts(liver)] == ["box", "scribble"]
    assert np.array_equal(segment_mask(segmentation, liver, node), mask)


def test_importing_while_a_session_is_open_disturbs_nothing(scene, work, settle, tmp_path) -> None:
    session, node, segmentation, liver, spleen = work()
    masks = [segment_mask(segmentation, key, node) for key in (liver, spleen)]
    prompts = session.prompts(liver)
    save_and_load(scene, tmp_path / "scene.mrb", clear=False)
    update = session.pump()
    assert not session.closed and update.messages == []
    settle(session)
    assert session.prompts(liver) == prompts
    for key, mask in zip((liver, spleen), masks, strict=True):
        assert np.array_equal(segment_mask(segmentation, key, node), mask)
    session.add(point(session.volume, (36, 24, 4), liver))
    settle(session)
    assert session.is_settled(liver)


def test_closing_the_scene_ends_the_session(scene, work) -> None:
    session, *_ = work()
    scene.Clear(0)
    assert session.closed
    session.pump()
    session.close()
    assert not session.is_running and not session.undo()


def test_a_scene_saved_while_a_prediction_runs_asks_again_after_loading(
    scene, volume_node, segmentation, open_session, settle, model, tmp_path
) -> None:
    session = open_session()
    liver = session.add_segment("liver")

    def fail() -> None:
        raise RuntimeError("the power went")

    model.before_decode = fail
    session.add(box(session.volume, (10, 8), (38, 32), liver))
    settle(session)
    session.close()
    save_and_load(scene, tmp_path / "scene.mrb")
    model.before_decode = lambda: None
    (node,) = nodes_named(scene, "CT", "vtkMRMLScalarVolumeNode")
    (loaded,) = nodes_named(scene, "Segmentation", "vtkMRMLSegmentationNode")
    again = open_session(node, loaded)
    settle(again)
    assert again.has_unanswered() and segment_mask(loaded, liver, node).sum() == 0
    again.retry()
    settle(again)
    expected = expected_mask(volume_from_node(node), model, again.prompts(liver))
    assert expected.sum() > 0
    assert np.array_equal(segment_mask(loaded, liver, node).astype(bool), expected)


def test_markups_that_were_deleted_before_saving_are_made_again(scene, work, open_session, settle, tmp_path) -> None:
    session, _, _, liver, _ = work()
    markups = session.nodes.nodes(liver)
    session.close()
    for each in markups:
        scene.RemoveNode(each)
    save_and_load(scene, tmp_path / "scene.mrb")
    (node,) = nodes_named(scene, "Abdomen", "vtkMRMLScalarVolumeNode")
    (segmentation,) = nodes_named(scene, "Organs", "vtkMRMLSegmentationNode")
    again = open_session(node, segmentation)
    settle(again)
    assert len(again.nodes.nodes(liver)) == 3 and len(again.prompts(liver)) == 3


def test_the_answer_of_another_model_replaces_what_was_loaded(scene, work, open_session, settle, tmp_path) -> None:
    session, _, _, liver, _ = work()
    session.close()
    save_and_load(scene, tmp_path / "scene.mrb")
    (node,) = nodes_named(scene, "Abdomen", "vtkMRMLScalarVolumeNode")
    (segmentation,) = nodes_named(scene, "Organs", "vtkMRMLSegmentationNode")
    other = ThresholdModel(native=frozenset({"box", "point"}))
    other.name = "another"
    again = open_session(node, segmentation, engine=SliceEngine(other))
    settle(again)
    again.add(point(again.volume, (36, 24, 4), liver))
    settle(again)
    assert again.is_settled(liver)
    expected = expected_mask(volume_from_node(node), other, again.prompts(liver))
    found = segment_mask(segmentation, liver, node).astype(bool)
    # The voxels stood for the old answer: what the new model does not repeat goes, strokes included.
    assert np.array_equal(found, expected)


def test_prompts_that_the_new_model_does_not_understand_are_told_and_kept(
    scene, work, open_session, settle, tmp_path
) -> None:
    session, node, segmentation, liver, _ = work()
    mask = segment_mask(segmentation, liver, node)
    session.close()
    boxes = SliceEngine(ThresholdModel(native=frozenset({"box"})))
    again = open_session(node, segmentation, engine=boxes)
    settle(again)
    assert len(again.prompts(liver)) == 3
    assert np.array_equal(segment_mask(segmentation, liver, node), mask)
    with pytest.raises(PromptError):
        again.add(TextPrompt(text="liver", segment=liver))
    corners = tuple(map(tuple, again.volume.to_ras([[8, 8, 4], [20, 9, 4], [25, 22, 4]])))
    again.add(PolygonPrompt(points=corners, segment=again.add_segment("other"), plane="axial"))
    settle(again)


def test_overlays_are_not_saved(scene, work, tmp_path) -> None:
    session, node, *_ = work()
    overlay = ChangesOverlay(scene)
    overlay.show(node, MaskPatch(), MaskPatch((1, 1, 1, 1, 1, 1), np.ones((1, 1, 1), np.uint8)))
    session.close()
    save_and_load(scene, tmp_path / "scene.mrb")
    assert nodes_named(scene, "MoESeg changes", "vtkMRMLSegmentationNode") == []
