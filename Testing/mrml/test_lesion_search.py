"""Searching tumors in the scene: the segment that gets the lesions, organs that guide, steps, refining, saving."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import slicer
from fakes import ThresholdModel
from fakes3d import CENTER, BrightRegion
from mrml_tools import OneModel, brush
from tumor_tools import BrightLesions, engine_with, inside, ramp_volume

from MoESegLib import Session
from MoESegLib.core.errors import LockedError, PromptError
from MoESegLib.core.prompts import PointPrompt
from MoESegLib.core.results import MaskPatch
from MoESegLib.core.volume import Volume
from MoESegLib.engines.slice_engine import SliceEngine
from MoESegLib.engines.volume_engine import VolumeEngine
from MoESegLib.mrml.segmentations import (
    COMPLETED,
    add_segment,
    create_segmentation,
    get_tag,
    segment_ids,
    segment_mask,
    segment_of,
    set_status,
)
from MoESegLib.mrml.terminology import structure_of
from MoESegLib.mrml.volumes import local_ijk_to_ras, volume_from_node
from MoESegLib.mrml.workbench import Workbench
from MoESegLib.mrml.writer import oriented_image

LARGE, SMALL = CENTER + (0, -14, 0), CENTER + (0, 14, 0)
BALLS = ((LARGE, 9.0), (SMALL, 6.0))


@pytest.fixture
def volume() -> Volume:
    return ramp_volume((24, 44, 40), np.diag([-1.5, -1.5, 2.0, 1.0]), BALLS)


@pytest.fixture
def network() -> BrightLesions:
    return BrightLesions()


@pytest.fixture
def bench(scene, add_volume, volume, network) -> Workbench:
    """MAST-Pro on an image with two bright balls, and models to click with."""

    def load(name: str):
        return engine_with(network) if name == "mast-pro" else VolumeEngine(BrightRegion())

    opened = Workbench(scene, models=OneModel(load))
    node = add_volume(volume)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "CT")
    opened.select(node, model="mast-pro", extent="volume")
    opened.finish()
    yield opened
    opened.close()


@pytest.fixture
def organs(bench: Workbench, volume: Volume) -> Callable:
    """Makes a segmentation of ball-shaped organs."""

    def make(**balls: tuple[np.ndarray, float]):
        node = create_segmentation(bench.scene, bench.parameters.volume, "organs")
        for name, (center, radius) in balls.items():
            fill(node, add_segment(node, name), bench, inside(volume, center, radius))
        return node

    return make


def fill(node, segment_id: str, bench: Workbench, mask: np.ndarray) -> None:
    image = oriented_image(MaskPatch.of(mask), local_ijk_to_ras(bench.parameters.volume))
    segment = segment_of(node, segment_id)
    segment.AddRepresentation("Binary labelmap", image)
    segment.SetLabelValue(1)


def find(bench: Workbench, phrase: str = "liver tumor"):
    bench.search.find(phrase)
    return bench.finish()


def names(bench: Workbench) -> list[str]:
    segmentation = bench.parameters.segmentation
    return [segment_of(segmentation, key).GetName() for key in segment_ids(segmentation)]


def mask(bench: Workbench, name: str) -> np.ndarray:
    segmentation = bench.parameters.segmentation
    segment_id = segmentation.GetSegmentation().GetSegmentIdBySegmentName(name)
    return segment_mask(segmentation, segment_id, bench.parameters.volume)


def rows(bench: Workbench) -> list[str]:
    return [lesion.name for lesion in bench.lesions.lesions()]


def test_a_search_makes_a_named_and_coded_segment_and_equals_the_python_session(bench, organs, network) -> None:
    bench.parameters.anatomy = organs(liver=(CENTER, 30.0), spleen=(CENTER + (22, 0, 0), 4.0))
    update = find(bench)
    (segment_id,) = segment_ids(bench.parameters.segmentation)
    assert names(bench) == ["liver tumor"] and bench.parameters.segment == segment_id
    assert structure_of(segment_of(bench.parameters.segmentation, segment_id)).name == "liver tumor"
    prompts = bench.session.prompts(segment_id)
    assert [(prompt.kind, getattr(prompt, "structure", "")) for prompt in prompts] == [
        ("text", ""),
        ("mask", "liver"),
        ("mask", "spleen"),
    ]
    with Session(volume_from_node(bench.parameters.volume), engine_with(network), extent="volume") as session:
        for prompt in prompts:
            session.add(prompt)
        assert np.array_equal(mask(bench, "liver tumor"), session.mask(segment_id))
    assert update.answers[segment_id].result.notes[0] == "2 separate lesions."
    assert update.messages == []


def test_lesions_are_numbered_by_size_and_measured(bench, volume) -> None:
    find(bench)
    first, second = bench.lesions.lesions()
    assert (first.name, second.name) == ("liver tumor 1", "liver tumor 2")
    assert first.measures.volume_ml > second.measures.volume_ml
    assert first.measures.longest_diameter_mm == pytest.approx(18, abs=2.5)
    assert np.linalg.norm(np.array(second.measures.center_ras) - SMALL) < 1
    assert bench.lesion_csv().splitlines()[2].startswith("liver tumor 2,")


def test_a_found_lesion_says_how_sure_the_search_was_also_in_a_segment_of_its_own(bench) -> None:
    find(bench)
    sure = [lesion.certainty for lesion in bench.lesions.lesions()]
    (segment_id,) = segment_ids(bench.parameters.segmentation)
    probability = bench.result(segment_id).prediction.probability
    assert all(percent > 90 for percent in sure) and max(sure) == probability.percent.max()
    assert [int(line.split(",")[-1]) for line in bench.lesion_csv().splitlines()[1:]] == sure
    bench.lesions.separate(bench.lesions.lesions())
    bench.finish()
    assert [lesion.certainty for lesion in bench.lesions.lesions()] == sure
    painted = bench.add_segment("painted")
    brush(bench.writer, painted, (10, 30, 6, 16, 4, 18))
    assert {lesion.name: lesion.certainty for lesion in bench.lesions.lesions()}["painted"] is None


def test_undo_and_redo_take_back_a_whole_search(bench, organs) -> None:
    bench.parameters.anatomy = organs(liver=(CENTER, 30.0))
    find(bench)
    found = mask(bench, "liver tumor")
    bench.session.undo()
    bench.finish()
    assert names(bench) == [] and bench.lesions.lesions() == []
    bench.session.redo()
    bench.finish()
    assert np.array_equal(mask(bench, "liver tumor"), found)
    assert len(bench.session.prompts(bench.parameters.segment)) == 2


def test_another_search_for_the_same_tumor_goes_to_its_segment_and_for_another_to_a_new_one(bench, organs) -> None:
    find(bench)
    everywhere = mask(bench, "liver tumor")
    bench.parameters.anatomy = organs(liver=(LARGE, 10.0), left_kidney=(SMALL, 8.0))
    find(bench, "hepatic tumor")
    assert names(bench) == ["liver tumor"]
    near = mask(bench, "liver tumor")
    assert 0 < near.sum() < everywhere.sum()
    find(bench, "left kidney tumor")
    assert names(bench) == ["liver tumor", "left kidney tumor"]
    assert mask(bench, "left kidney tumor").any()
    assert np.array_equal(mask(bench, "liver tumor"), near)


def test_the_same_search_again_is_not_run_and_says_so(bench, organs) -> None:
    bench.parameters.anatomy = organs(liver=(CENTER, 30.0))
    find(bench)
    with pytest.raises(PromptError, match="was looked for with these organs already"):
        find(bench)
    assert "already" in bench.search.refusal
    assert bench.is_busy is False


def test_a_cancelled_search_leaves_the_scene_and_the_next_press_goes_on(bench, network) -> None:
    bench.search.find("liver tumor")
    bench.cancel()
    bench.finish()
    assert not mask(bench, "liver tumor").any()
    find(bench)
    assert mask(bench, "liver tumor").any()


def test_a_blank_selected_segment_is_used_and_renamed(bench) -> None:
    bench.add_segment("")
    find(bench)
    assert names(bench) == ["liver tumor"]


def test_a_refusal_changes_nothing_and_is_kept_for_the_answer_card(bench) -> None:
    for phrase, reason in (("liver", "is an organ and no tumor"), ("prostate tumor", "looked for in MR")):
        with pytest.raises(PromptError, match=reason):
            bench.search.find(phrase)
        assert reason in bench.search.refusal and names(bench) == []
        assert reason in bench.search.needs(phrase).problem


def test_needs_name_the_organs_that_are_there_and_those_that_are_missing(bench, organs) -> None:
    assert bench.search.needs("pancreatic tumor").missing == ("pancreas", "duodenum")
    bench.parameters.anatomy = organs(pancreas=(CENTER, 8.0), kidney_left=(SMALL, 5.0))
    needs = bench.search.needs("pancreatic tumor")
    assert (needs.there, needs.missing, needs.problem) == ((("pancreas", 1),), ("duodenum",), "")
    assert bench.search.needs("right kidney tumor").missing == ("kidney",)
    assert bench.search.needs("kidney tumor").organs == ("left kidney", "right kidney")
    assert bench.search.needs("left kidney tumor").there == (("kidney", 1),)


def test_missing_organs_and_an_empty_answer_are_notes(bench, organs) -> None:
    bench.parameters.anatomy = organs(spleen=(CENTER, 8.0))
    update = find(bench)
    (answer,) = update.answers.values()
    assert answer.result.prediction.patch.count == 0
    assert any("nothing is searched" in note for note in answer.result.notes)
    assert update.messages == []


def test_a_painted_segment_guides_as_the_organ_that_the_user_says(bench, volume) -> None:
    painted = bench.add_segment("my strokes")
    brush(bench.writer, painted, (10, 30, 6, 16, 4, 18))
    bench.parameters.organ_segment, bench.parameters.organ = painted, "liver"
    bench.overwrite_mode = "none"
    assert bench.search.needs("liver tumor").there == (("liver", 1),)
    find(bench)
    prompts = bench.session.prompts(bench.parameters.segment)
    assert [getattr(prompt, "structure", "") for prompt in prompts] == ["", "liver"]
    assert bench.parameters.segment != painted
    found = mask(bench, "liver tumor").astype(bool)
    assert found[inside(volume, SMALL, 5.0)].all() and not found[inside(volume, LARGE, 9.0)].any()


def test_a_locked_organ_beside_the_lesions_is_told_before(bench, volume) -> None:
    liver = bench.add_segment("liver")
    fill(bench.parameters.segmentation, liver, bench, inside(volume, CENTER, 30.0))
    set_status(segment_of(bench.parameters.segmentation, liver), COMPLETED)
    bench.parameters.anatomy = bench.parameters.segmentation
    assert bench.search.needs("liver tumor").locked == ("liver",)


def test_separate_gives_each_lesion_a_segment_in_one_step(bench) -> None:
    find(bench)
    found = mask(bench, "liver tumor")
    bench.lesions.separate(bench.lesions.lesions())
    bench.finish()
    assert names(bench) == ["liver tumor", "liver tumor 1", "liver tumor 2"]
    assert not mask(bench, "liver tumor").any()
    assert np.array_equal(mask(bench, "liver tumor 1") | mask(bench, "liver tumor 2"), found)
    assert structure_of(segment_of(bench.parameters.segmentation, bench.parameters.segment)).name == "liver tumor"
    assert rows(bench) == ["liver tumor 1", "liver tumor 2"]
    bench.session.undo()
    bench.finish()
    assert names(bench) == ["liver tumor"] and np.array_equal(mask(bench, "liver tumor"), found)


def test_a_removed_lesion_comes_back_with_undo(bench) -> None:
    find(bench)
    found = mask(bench, "liver tumor")
    bench.lesions.remove(bench.lesions.lesions()[0])
    bench.finish()
    assert len(rows(bench)) == 1 and mask(bench, "liver tumor").sum() < found.sum() / 2
    bench.session.undo()
    bench.finish()
    assert np.array_equal(mask(bench, "liver tumor"), found)


def test_refining_starts_from_the_lesion_and_changes_nothing_before_the_first_click(bench) -> None:
    find(bench)
    whole = mask(bench, "liver tumor")
    lesion = bench.lesions.lesions()[1]
    bench.lesions.refine(lesion, "sam-med3d")
    bench.finish()
    assert bench.lesions.take_started() and not bench.lesions.take_started()
    assert bench.parameters.model == "sam-med3d" and names(bench) == ["liver tumor", "liver tumor 2"]
    own = mask(bench, "liver tumor 2")
    assert own.sum() == lesion.part.count
    assert np.array_equal(mask(bench, "liver tumor") | own, whole)
    assert rows(bench) == ["liver tumor 1", "liver tumor 2"]
    segment_id = bench.parameters.segment
    (start,) = bench.session.prompts(segment_id)
    assert (start.kind, start.role) == ("mask", "start") and start.mask.sum() == own.sum()

    bench.add(PointPrompt(tuple(SMALL), segment=segment_id))
    bench.finish()
    clicked = mask(bench, "liver tumor 2")
    engine = VolumeEngine(BrightRegion())
    with Session(volume_from_node(bench.parameters.volume), engine, extent="volume") as session:
        for prompt in bench.session.prompts(segment_id):
            session.add(prompt)
        assert np.array_equal(clicked, session.mask(segment_id))
    assert get_tag(segment_of(bench.parameters.segmentation, segment_id), "MoESeg.Model") == "BrightRegion"
    for expected in (own, None):
        bench.session.undo()
        bench.finish()
        if expected is not None:
            assert np.array_equal(mask(bench, "liver tumor 2"), expected)
    assert names(bench) == ["liver tumor"] and np.array_equal(mask(bench, "liver tumor"), whole)


def test_a_lesion_that_has_its_own_segment_is_refined_in_it(bench) -> None:
    find(bench)
    bench.lesions.separate(bench.lesions.lesions())
    bench.finish()
    first = mask(bench, "liver tumor 1")
    bench.lesions.refine(bench.lesions.lesions()[0], "sam-med3d")
    bench.finish()
    assert names(bench) == ["liver tumor", "liver tumor 1", "liver tumor 2"]
    assert np.array_equal(mask(bench, "liver tumor 1"), first)
    assert len(bench.session.prompts(bench.parameters.segment)) == 1
    bench.lesions.refine(bench.lesions.lesions()[0], "sam-med3d")
    bench.finish()
    assert len(bench.session.prompts(bench.parameters.segment)) == 1


def test_a_model_of_slices_corrects_the_slice_in_view_and_leaves_the_others(bench, scene, volume, monkeypatch) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLSliceNode")
    node.SetOrientationToAxial()
    find(bench)
    own = bench.lesions.lesions()[0].part.to_array(volume.shape)
    model = ThresholdModel(frozenset({"point", "box", "mask"}), refines=True)
    monkeypatch.setattr(bench.models, "_load", lambda name: SliceEngine(model))
    node.JumpSliceByOffsetting(*volume.to_ras((20, 20, 2)))
    bench.lesions.refine(bench.lesions.lesions()[0], "segmote-lite")
    assert any("does not show the lesion" in message for message in bench.finish().messages)
    before = own
    for index in (11, 13):
        place = np.argwhere(own[index])[:, ::-1].mean(axis=0).round()
        node.JumpSliceByOffsetting(*volume.to_ras((*place, index)))
        bench.lesions.refine(bench.lesions.lesions()[0], "segmote-lite")
        bench.finish()
        assert np.array_equal(mask(bench, "liver tumor 1"), before)
        ras = tuple(volume.to_ras((*place, index)))
        bench.add(PointPrompt(ras, False, plane="axial", segment=bench.parameters.segment))
        bench.finish()
        after = mask(bench, "liver tumor 1")
        assert np.flatnonzero((after != before).any(axis=(1, 2))).tolist() == [index]
        before = after
    kinds = [prompt.kind for prompt in bench.session.prompts(bench.parameters.segment)]
    assert kinds == ["mask", "point", "mask", "point"]
    for _ in range(4):
        bench.session.undo()
        bench.finish()
    assert names(bench) == ["liver tumor"]


def test_a_finished_segment_keeps_its_lesions(bench) -> None:
    find(bench)
    lesion = bench.lesions.lesions()[0]
    set_status(segment_of(bench.parameters.segmentation, lesion.segment), COMPLETED)
    for action in (
        lambda: bench.lesions.separate([lesion]),
        lambda: bench.lesions.remove(lesion),
        lambda: bench.lesions.refine(lesion, "segmote-lite"),
    ):
        with pytest.raises(LockedError):
            action()
    assert names(bench) == ["liver tumor"] and bench.parameters.model == "mast-pro"


def test_slices_are_searched_one_by_one_into_one_segment(bench, scene, volume) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLSliceNode")
    node.SetOrientationToAxial()
    bench.select(extent="slice")
    bench.finish()
    for index in (12, 14):
        node.JumpSliceByOffsetting(*volume.to_ras((20, 20, index)))
        find(bench)
    found = mask(bench, "liver tumor")
    assert np.flatnonzero(found.any(axis=(1, 2))).tolist() == [12, 14]
    assert [prompt.kind for prompt in bench.session.prompts(bench.parameters.segment)] == ["text", "text"]
    lesions = bench.lesions.lesions()
    assert len(lesions) == 4 and all(lesion.certainty > 50 for lesion in lesions)  # of the slice before, too


def test_the_phrases_to_choose_from_are_those_the_weights_were_taught(bench, network) -> None:
    assert set(bench.search.phrases()) == {"liver tumor", "kidney tumor", "breast tumor", "multiple sclerosis lesion"}
    bench.select(model="segmote-lite")
    assert "thyroid nodule" in bench.search.phrases()
    assert not bench.search.is_chosen
    bench.finish()
    with pytest.raises(PromptError, match="does not look for lesions"):
        bench.search.find("liver tumor")
