"""Sessions on unusual images and in unusual situations: photographs, masks as a start, other experts, lost segments."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import ThresholdModel, blob_volume
from mrml_tools import LEFT_HANDED, MOVED, OBLIQUE, SHEARED, box, brush, point

from MoESegLib import Session
from MoESegLib.core.errors import PromptError
from MoESegLib.core.volume import Volume
from MoESegLib.engines.slice_engine import SliceEngine
from MoESegLib.mrml.scene_session import LESIONS
from MoESegLib.mrml.segmentations import create_segmentation, get_tag, segment_ids, segment_mask, segment_of
from MoESegLib.mrml.views import start_placing
from MoESegLib.mrml.volumes import volume_from_node

NATIVE = frozenset({"box", "point"})


def python_mask(volume: Volume, prompts, extent="slice", expert=None, experts: int = 1) -> np.ndarray:
    model = ThresholdModel(native=NATIVE, experts=experts)
    with Session(volume, SliceEngine(model), extent, prefetch=False) as session:
        session.set_segment(prompts[0].segment, prompts, expert)
        return session.mask(prompts[0].segment)


@pytest.mark.parametrize("grid", [OBLIQUE, LEFT_HANDED], ids=["oblique", "left-handed"])
@pytest.mark.parametrize("parent", [None, MOVED, SHEARED], ids=["no transform", "scaled", "sheared"])
@pytest.mark.parametrize("extent", ["slice", "volume"])
def test_the_voxels_are_those_of_a_python_session_on_every_grid(
    scene, add_volume, open_session, settle, grid, parent, extent
) -> None:
    node = add_volume(blob_volume(ijk_to_ras=grid, radius=7), parent)
    segmentation = create_segmentation(scene, node)
    session = open_session(node, segmentation, extent)
    liver = session.add_segment("liver")
    session.add(box(session.volume, (10, 8), (38, 32), liver, plane=session.volume.plane_of(2)))
    session.add(point(session.volume, (26, 22, 4), liver, plane=session.volume.plane_of(2)))
    settle(session)
    found = segment_mask(segmentation, liver, node)
    assert found.sum() > 20
    assert np.array_equal(found, python_mask(volume_from_node(node), session.prompts(liver), extent))


@pytest.mark.parametrize("color", [False, True], ids=["gray", "RGB"])
def test_a_photograph_is_segmented(scene, add_volume, open_session, settle, color) -> None:
    gray = blob_volume((1, 40, 48), radius=12).array
    array = np.stack([gray, gray // 2 + 100, gray], axis=-1) if color else gray
    node = add_volume(Volume(array, np.diag([-0.2, -0.2, 1, 1]), color=color), name="Photo")
    segmentation = create_segmentation(scene, node)
    session = open_session(node, segmentation)
    lesion = session.add_segment("lesion")
    session.add(box(session.volume, (8, 5), (40, 35), lesion, k=0))
    settle(session)
    found = segment_mask(segmentation, lesion, node)
    assert found.shape == (1, 40, 48) and found.sum() > 100
    assert np.array_equal(found, python_mask(volume_from_node(node), session.prompts(lesion)))
    assert session.undo()
    settle(session)
    assert not segment_mask(segmentation, lesion, node).any()


def test_a_segment_as_a_start_is_in_its_place_under_a_transform(scene, add_volume, open_session, settle) -> None:
    node = add_volume(blob_volume(ijk_to_ras=OBLIQUE), MOVED)
    segmentation = create_segmentation(scene, node)
    session = open_session(node, segmentation)
    source, target = session.add_segment("source"), session.add_segment("target")
    session.writer.editor_node().SetOverwriteMode(session.writer.editor_node().OverwriteNone)
    brush(session.writer, source, (14, 34, 10, 30, 4, 4))
    session.start_from_segment(target, source)
    settle(session)
    found = segment_mask(segmentation, target, node)
    assert found.any() and np.array_equal(found, python_mask(volume_from_node(node), session.prompts(target)))
    assert segment_mask(segmentation, source, node).sum() == 21 * 21


# Experts ---------------------------------------------------------------------------------------------------------


def test_another_expert_is_a_step_that_is_undone_and_saved(open_session, settle, segmentation, volume_node) -> None:
    def engine() -> SliceEngine:
        return SliceEngine(ThresholdModel(native=NATIVE, experts=3))

    session = open_session(engine=engine())
    liver = session.add_segment("liver")
    session.add(point(session.volume, (20, 20, 4), liver))
    answers = settle(session)
    assert [each.expert for each in answers[liver].result.alternatives] == ["expert1", "expert2"]
    session.choose_expert(liver, "expert2")
    answers = settle(session)
    assert answers[liver].result.expert == "expert2" and session.expert_of(liver) == "expert2"
    expected = python_mask(session.volume, session.prompts(liver), expert="expert2", experts=3)
    assert np.array_equal(segment_mask(segmentation, liver, volume_node), expected)
    assert get_tag(segment_of(segmentation, liver), "MoESeg.Expert") == "expert2"
    session.undo()
    settle(session)
    assert session.expert_of(liver) is None
    assert get_tag(segment_of(segmentation, liver), "MoESeg.Expert") == "expert0"
    session.redo()
    settle(session)
    session.close()
    again = open_session(engine=engine())
    again.add(point(again.volume, (28, 20, 4), liver))
    answers = settle(again)
    assert again.expert_of(liver) == "expert2" and answers[liver].result.expert == "expert2"


# Segments that come and go ---------------------------------------------------------------------------------------


def test_a_removed_segment_comes_back_with_its_prompts_on_undo(open_session, settle, segmentation, volume_node) -> None:
    session = open_session()
    liver, spleen = session.add_segment("liver"), session.add_segment("spleen")
    session.add(point(session.volume, (20, 20, 4), liver))
    session.add(point(session.volume, (28, 20, 4), spleen))
    settle(session)
    mask = segment_mask(segmentation, liver, volume_node)
    session.writer.save_state()  # as the Segment Editor's Remove button does
    segmentation.GetSegmentation().RemoveSegment(liver)
    settle(session)
    assert session.nodes.nodes(liver) == [] and len(session.nodes.nodes(spleen)) == 1
    assert session.undo()
    settle(session)
    assert np.array_equal(segment_mask(segmentation, liver, volume_node), mask)
    assert len(session.prompts(liver)) == 1 and len(session.nodes.nodes(liver)) == 1
    session.add(point(session.volume, (24, 24, 4), liver))
    settle(session)
    expected = python_mask(session.volume, session.prompts(liver))
    assert np.array_equal(segment_mask(segmentation, liver, volume_node), expected)


def test_a_renamed_and_recolored_segment_keeps_its_prompts(open_session, settle, segmentation) -> None:
    session = open_session()
    liver = session.add_segment("liver")
    session.add(point(session.volume, (20, 20, 4), liver))
    settle(session)
    segment = segment_of(segmentation, liver)
    segment.SetName("left lobe")
    segment.SetColor(0.1, 0.2, 0.3)
    assert settle(session)["messages"] == []
    assert len(session.prompts(liver)) == 1 and session.is_settled(liver)


def test_a_copied_segment_has_prompts_of_its_own(open_session, settle, segmentation, volume_node) -> None:
    session = open_session()
    liver = session.add_segment("liver")
    session.add(point(session.volume, (20, 20, 4), liver))
    settle(session)
    content = segmentation.GetSegmentation()
    content.CopySegmentFromSegmentation(content, liver)  # as the Segmentations module does
    settle(session)
    (copy,) = (key for key in segment_ids(segmentation) if key != liver)
    assert [prompt.segment for prompt in session.prompts(copy)] == [copy]
    before = segment_mask(segmentation, liver, volume_node)
    session.writer.editor_node().SetOverwriteMode(session.writer.editor_node().OverwriteNone)
    session.add(point(session.volume, (28, 20, 4), copy))
    settle(session)
    assert np.array_equal(segment_mask(segmentation, liver, volume_node), before)
    expected = python_mask(session.volume, session.prompts(copy))
    assert np.array_equal(segment_mask(segmentation, copy, volume_node), expected)
    assert len(session.prompts(liver)) == 1


def test_quick_lesion_clicks_are_each_a_step(scene, open_session, settle, segmentation, volume_node) -> None:
    session = open_session()
    node = session.nodes.new_node(LESIONS, "Lesions", "point+")
    start_placing(scene, node, persistent=True)
    columns = (18, 22, 26, 30)
    for column in columns:
        node.AddControlPointWorld(*session.volume.to_ras((column, 20, 4)))
        session.pump()
    node.AddControlPointWorld(5000, 0, 0)
    messages = settle(session)["messages"]
    assert messages == ["The click is outside the volume; no lesion was added."]
    ids = segment_ids(segmentation)
    assert [segment_of(segmentation, key).GetName() for key in ids] == [f"Lesion {n}" for n in (1, 2, 3, 4)]
    for key, column in zip(ids, columns, strict=True):
        assert segment_mask(segmentation, key, volume_node)[4, 20, column]
    for left in (3, 2, 1, 0):
        assert session.undo()
        settle(session)
        assert len(segment_ids(segmentation)) == left
    assert not session.undo()
    for _ in columns:
        assert session.redo()
    settle(session)
    assert segment_ids(segmentation) == ids and all(session.is_settled(key) for key in ids)


def test_the_same_prompt_twice_is_two_prompts(open_session, settle) -> None:
    session = open_session()
    liver = session.add_segment("liver")
    prompt = point(session.volume, (20, 20, 4), liver)
    first, second = session.add(prompt), session.add(prompt)
    settle(session)
    assert len({first, second} & {each.id for each in session.prompts(liver)}) == 2
    session.remove(liver, second)
    settle(session)
    assert [each.id for each in session.prompts(liver)] == [first]
    assert session.nodes.nodes(liver)[0].GetNumberOfControlPoints() == 1


def test_a_prompt_is_replaced_in_its_place_and_an_unknown_one_is_named(open_session, settle) -> None:
    session = open_session()
    liver = session.add_segment("liver")
    ids = [session.add(point(session.volume, (column, 20, 4), liver)) for column in (18, 24, 30)]
    session.replace(liver, ids[1], point(session.volume, (26, 22, 4), liver, positive=False))
    settle(session)
    prompts = session.prompts(liver)
    assert [prompt.id for prompt in prompts] == ids and [prompt.positive for prompt in prompts] == [True, False, True]
    for change in (
        lambda: session.remove(liver, "gone"),
        lambda: session.replace(liver, "gone", prompts[0]),
    ):
        with pytest.raises(PromptError, match="no prompt 'gone'"):
            change()
    assert session.prompts(liver) == prompts
