"""Automatic prompts and phrases in the scene: they speak of the slice the user looks at, or of the whole volume."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from fakes import ThresholdModel
from mrml_tools import OneModel, point

from MoESegLib.core.errors import PromptError
from MoESegLib.engines.slice_engine import SliceEngine
from MoESegLib.mrml.segmentations import segment_ids, segment_mask
from MoESegLib.mrml.volumes import volume_from_node
from MoESegLib.mrml.workbench import Workbench
from MoESegLib.session import Session

KINDS = frozenset({"box", "point", "mask", "text", "automatic"})
BOTH = pytest.mark.parametrize(
    "add", [lambda bench: bench.add_text("liver"), Workbench.add_automatic], ids=["text", "automatic"]
)
Add = Callable[[Workbench], str]


@pytest.fixture
def engine() -> SliceEngine:
    return SliceEngine(ThresholdModel(KINDS, refines=True))


@pytest.fixture
def bench(scene, volume_node, engine) -> Iterator[Workbench]:
    workbench = Workbench(scene, models=OneModel(lambda name: engine))
    workbench.select(volume_node)
    workbench.finish(10)
    yield workbench
    workbench.close()


@pytest.fixture
def views(bench) -> list:
    """An axial and a coronal one."""
    found = []
    for orientation in ("Axial", "Coronal"):
        view = bench.scene.AddNewNodeByClass("vtkMRMLSliceNode")
        getattr(view, f"SetOrientationTo{orientation}")()
        view.JumpSliceByOffsetting(*bench.ready().volume.to_ras((20, 16, 3)))
        found.append(view)
    return found


def mask_of(bench: Workbench) -> np.ndarray:
    """Of the selected segment."""
    return segment_mask(bench.parameters.segmentation, bench.parameters.segment, bench.parameters.volume)


def used_slices(mask: np.ndarray, axis: int) -> list[int]:
    return np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != 2 - axis))).tolist()


@BOTH
def test_the_slice_that_is_looked_at_is_segmented_and_can_be_undone(bench, views, engine, add: Add) -> None:
    add(bench)
    bench.finish(10)
    mask = mask_of(bench)
    assert used_slices(mask, 2) == [3]
    prompts = bench.ready().prompts(bench.parameters.segment)
    with Session(volume_from_node(bench.parameters.volume), engine, prefetch=False) as python:
        python.set_segment(bench.parameters.segment, prompts)
        assert np.array_equal(python.mask(bench.parameters.segment), mask)
    bench.ready().undo()
    bench.finish(10)
    assert mask_of(bench).sum() == 0
    bench.ready().redo()
    bench.finish(10)
    assert np.array_equal(mask_of(bench), mask)


@BOTH
def test_what_no_view_shows_is_refused_and_leaves_no_segment(bench, add: Add) -> None:
    with pytest.raises(PromptError, match="No slice view shows the image"):
        add(bench)
    assert segment_ids(bench.parameters.segmentation) == ()


def test_a_model_without_such_experts_is_refused_and_leaves_no_segment(bench, views) -> None:
    bench.ready().engine.understands = frozenset({"box"})
    with pytest.raises(PromptError, match="teach one"):
        bench.add_automatic()
    assert segment_ids(bench.parameters.segmentation) == ()


def test_a_view_that_the_layout_shows_goes_before_one_that_it_hides(bench, views) -> None:
    views[1].SetMappedInLayout(True)
    bench.add_automatic()
    bench.finish(10)
    (prompt,) = bench.ready().prompts(bench.parameters.segment)
    assert prompt.plane == "coronal"
    assert used_slices(mask_of(bench), 1) == [16]


@BOTH
def test_the_whole_volume_needs_no_view_and_clicks_correct_it(bench, add: Add) -> None:
    bench.select(extent="volume")
    bench.finish(10)
    add(bench)
    bench.finish(10)
    before = mask_of(bench)
    bench.add(point(bench.ready().volume, (23, 20, 4), bench.parameters.segment, positive=False))
    bench.finish(10)
    after = mask_of(bench)
    assert len(used_slices(before, 2)) > 3 and used_slices(before != after, 2) == [4] and after[4, 20, 23] == 0


def test_nothing_found_is_said_and_is_no_failure(bench, views) -> None:
    views[1].SetMappedInLayout(True)
    views[1].JumpSliceByOffsetting(*bench.ready().volume.to_ras((20, 1, 3)))
    bench.add_automatic()
    update = bench.finish(10)
    segment_id = bench.parameters.segment
    assert update.messages == [] and bench.ready().is_settled(segment_id)
    assert bench.result(segment_id).notes == ("Nothing was found on the slice.",)
