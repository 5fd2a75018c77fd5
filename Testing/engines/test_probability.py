"""The probability of every voxel: it agrees with the mask, and lies where the mask lies."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import ThresholdModel, blob_volume

from MoESegLib.core.geometry import extent_shape, is_empty
from MoESegLib.core.prompts import BoxPrompt, PointPrompt
from MoESegLib.core.results import Prediction, ProbabilityMap
from MoESegLib.core.volume import Volume
from MoESegLib.engines.assemble import SliceAnswer, assemble, enlarge, full_size
from MoESegLib.engines.protocol import Context, ExpertLogits
from MoESegLib.engines.slice_engine import SliceEngine

OBLIQUE = np.array([[0, -0.8, 0.3, 5], [-0.7, 0, 0, 6], [0, 0.2, 2, 7], [0, 0, 0, 1]], float)


def answer(volume: Volume, axis: int, index: int, logits: np.ndarray) -> SliceAnswer:
    view = volume.view(axis)
    prepared = ThresholdModel().prepare(view.extract(volume.array, index), (1.0, 1.0))
    return SliceAnswer(prepared, logits, (ExpertLogits("base", logits, 0.9),))


def full(volume: Volume, probability: ProbabilityMap) -> np.ndarray:
    array = np.zeros(volume.shape, np.uint8)
    i0, i1, j0, j1, k0, k1 = probability.extent
    array[k0 : k1 + 1, j0 : j1 + 1, i0 : i1 + 1] = probability.percent
    return array


def smooth(seed: int = 0) -> np.ndarray:
    rows, columns = np.ogrid[:64, :64]
    return (6 - ((rows - 20 - seed) ** 2 + (columns - 24) ** 2) / 30).astype(np.float32)


@pytest.mark.parametrize("grid", [None, OBLIQUE], ids=["plain", "oblique"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_it_is_the_sigmoid_of_the_logits_on_the_slice(grid, axis: int) -> None:
    volume = blob_volume((20, 30, 40), ijk_to_ras=grid)
    shown = answer(volume, axis, 7, smooth())
    prediction = assemble(volume, {(axis, 7): shown})
    assert prediction.probability is not None
    image = volume.view(axis).extract(full(volume, prediction.probability), 7)
    logits = enlarge(shown.logits, shown.prepared)
    expected = np.rint(100 / (1 + np.exp(-logits.astype(float))))
    assert np.abs(image - expected).max() <= 1
    mask = volume.view(axis).extract(prediction.patch.to_array(volume.shape), 7)
    assert np.array_equal(mask != 0, full_size(shown.logits, shown.prepared))
    assert (image[mask != 0] >= 50).all() and (image[mask == 0] <= 50).all()


def test_it_is_stored_as_the_box_of_what_is_at_least_one_percent() -> None:
    volume = blob_volume((20, 30, 40))
    prediction = assemble(volume, {(2, 7): answer(volume, 2, 7, smooth())})
    probability = prediction.probability
    assert probability is not None and probability.percent.dtype == np.uint8
    assert probability.percent.shape == extent_shape(probability.extent)
    assert probability.percent.max() <= 100
    for axis in range(3):
        ends = np.take(probability.percent, [0, -1], axis=axis)
        assert ends.any(axis=tuple(a for a in range(3) if a != axis)).all()
    i0, i1, j0, j1, k0, k1 = prediction.patch.extent
    p = probability.extent
    assert p[0] <= i0 and p[1] >= i1 and p[2] <= j0 and p[3] >= j1 and p[4:] == (k0, k1)


def test_where_slices_cross_the_larger_one_counts() -> None:
    volume = blob_volume((20, 30, 40))
    answers = {(2, 7): answer(volume, 2, 7, smooth()), (0, 12): answer(volume, 0, 12, smooth(4))}
    singles = [assemble(volume, {key: value}).probability for key, value in answers.items()]
    both = assemble(volume, answers).probability
    assert both is not None
    expected = np.maximum(*(full(volume, single) for single in singles if single is not None))
    assert np.array_equal(full(volume, both), expected)


def test_extreme_logits_do_not_overflow() -> None:
    volume = blob_volume((20, 30, 40))
    logits = np.where(smooth() > 0, 1e6, -1e6).astype(np.float32)
    with np.errstate(all="raise"):
        prediction = assemble(volume, {(2, 7): answer(volume, 2, 7, logits)})
    assert prediction.probability is not None and prediction.probability.percent.max() == 100


def test_nothing_is_nowhere() -> None:
    volume = blob_volume((20, 30, 40))
    prediction = assemble(volume, {(2, 7): answer(volume, 2, 7, np.full((64, 64), -9, np.float32))})
    assert prediction.probability is not None and is_empty(prediction.probability.extent)
    assert assemble(volume, {}).probability is None and Prediction().probability is None


@pytest.mark.parametrize("extent", ["slice", "volume"])
def test_an_engine_tells_it_with_every_answer(extent) -> None:
    volume = blob_volume()
    engine = SliceEngine(ThresholdModel(native=frozenset({"box", "point"})))
    corners = volume.to_ras([[8, 8, 4], [40, 32, 4]])
    prompts = [
        BoxPrompt(tuple(corners[0]), tuple(corners[1]), plane="axial"),
        PointPrompt(tuple(volume.to_ras([24, 20, 4])), plane="axial"),
    ]
    prediction = engine.predict(volume, prompts, Context(extent))
    assert prediction.probability is not None
    percent, mask = full(volume, prediction.probability), prediction.patch.to_array(volume.shape)
    assert mask.sum() > 50
    assert (percent[mask != 0] >= 50).all() and (percent[mask == 0] <= 50).all()
