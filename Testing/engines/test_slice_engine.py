"""From prompts in patient space to masks in the volume, on every kind of grid."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import ThresholdModel, blob_volume
from hypothesis import given, settings
from hypothesis import strategies as st

from MoESegLib.core.cancel import CancelToken
from MoESegLib.core.errors import Cancelled, PromptError
from MoESegLib.core.prompts import BoxPrompt, MaskPrompt, PointPrompt, PolygonPrompt, ScribblePrompt
from MoESegLib.core.volume import Volume
from MoESegLib.engines.cache import DiskCache, EngineCache
from MoESegLib.engines.protocol import Context
from MoESegLib.engines.slice_engine import SliceEngine

POINTS = frozenset({"point", "box", "mask"})


def predict(volume: Volume, *prompts, model: ThresholdModel | None = None, **context) -> np.ndarray:
    engine = SliceEngine(model or ThresholdModel())
    engine.check(volume, prompts, context.get("extent", "slice"))
    return engine.predict(volume, prompts, Context(**context)).patch.to_array(volume.shape)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def flat_box(volume: Volume, k: float = 4, low: float = 6, high: float = 36, **options) -> BoxPrompt:
    a, b = volume.to_ras([[low, low, k], [high, high, k]])
    return BoxPrompt(tuple(a), tuple(b), **options)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_flat_box_finds_its_own_plane(plane: str) -> None:
    volume = blob_volume((40, 42, 44), np.diag([-1.0, -1.0, 1.0, 1.0]))
    axis = volume.axis_of(plane)
    low, high = np.array([8.0, 8, 8]), np.array([36.0, 34, 32])
    low[axis] = high[axis] = 20
    mask = predict(volume, BoxPrompt(tuple(volume.to_ras(low)), tuple(volume.to_ras(high))))
    inside = volume.array > 200
    used = mask.any(axis=tuple(other for other in range(3) if other != 2 - axis))
    assert np.flatnonzero(used).tolist() == [20]
    assert dice(mask.take(20, 2 - axis).astype(bool), inside.take(20, 2 - axis)) > 0.93


angles = st.floats(-3.1, 3.1)
spacings = st.floats(0.5, 3.0)


@settings(max_examples=30, deadline=None)
@given(st.tuples(angles, angles, angles), st.tuples(spacings, spacings, spacings), st.tuples(*[st.booleans()] * 3))
def test_any_grid_gives_the_same_anatomy(rotation, spacing, flips) -> None:
    """Oblique, anisotropic and flipped: the ball is found where it is, from a click given in RAS."""
    matrix = np.eye(4)
    matrix[:3, :3] = _rotation(*rotation) @ np.diag(np.array(spacing) * np.where(flips, -1, 1))
    matrix[:3, 3] = (11, -22, 33)
    volume = blob_volume((24, 40, 36), matrix, radius=6 * min(spacing))
    center = volume.to_ras([17.5, 19.5, 11.5])
    model = ThresholdModel(POINTS)
    mask = predict(volume, PointPrompt(tuple(center)), model=model).astype(bool)
    assert mask.any()
    found = volume.to_ras(np.argwhere(mask)[:, ::-1])
    assert np.linalg.norm(found - center, axis=1).max() < 6 * min(spacing) + 1.5 * max(spacing)


def _rotation(x: float, y: float, z: float) -> np.ndarray:
    def turn(angle: float, a: int, b: int) -> np.ndarray:
        matrix = np.eye(3)
        matrix[a, a] = matrix[b, b] = np.cos(angle)
        matrix[a, b], matrix[b, a] = -np.sin(angle), np.sin(angle)
        return matrix

    return turn(x, 1, 2) @ turn(y, 0, 2) @ turn(z, 0, 1)


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1), (0, 1, 2)])
def test_how_the_voxels_are_stored_does_not_matter(axes: tuple[int, ...]) -> None:
    """The same anatomy stored with flipped axes gives the same mask, voxel for voxel."""
    volume = blob_volume((20, 30, 26), np.diag([-1.0, -1.0, 1.0, 1.0]), center=(9, 13, 14))
    flipped_array, matrix = volume.array, volume.ijk_to_ras.copy()
    for axis in axes:  # array axis 0 is k
        ijk = 2 - axis
        flipped_array = np.flip(flipped_array, axis)
        matrix[:3, 3] = matrix[:3, 3] + matrix[:3, ijk] * (volume.size[ijk] - 1)
        matrix[:3, ijk] *= -1
    flipped = Volume(np.ascontiguousarray(flipped_array), matrix)
    prompt = flat_box(volume, k=9, low=3, high=24, plane="axial")
    assert np.array_equal(np.flip(predict(flipped, prompt), axes), predict(volume, prompt))


def test_one_slice_images_work_in_2d() -> None:
    rows, columns = np.ogrid[:60, :80]
    image = np.where((rows - 30) ** 2 + (columns - 40) ** 2 < 200, 200, 20).astype(np.uint8)
    volume = Volume(image, np.diag([-1.0, -1.0, 1.0, 1.0]))
    mask = predict(volume, flat_box(volume, k=0, low=20, high=58))
    assert mask.shape == (1, 60, 80)
    assert dice(mask[0].astype(bool), image > 100) > 0.93


def test_color_images_work() -> None:
    volume = blob_volume((1, 50, 50))
    color = Volume(np.repeat(volume.array[..., None], 3, axis=3), volume.ijk_to_ras, color=True)
    prompt = flat_box(volume, k=0, low=5, high=45)
    assert np.array_equal(predict(color, prompt), predict(volume, prompt))


def test_a_box_only_model_is_given_a_box_for_each_kind_of_prompt_and_says_so(ball: Volume) -> None:
    engine = SliceEngine(ThresholdModel())
    corners = [ball.to_ras([i, j, 4]) for i, j in ((12, 8), (36, 8), (36, 32), (12, 32))]
    path = [ball.to_ras([i, 19.5, 4]) for i in range(20, 28)]
    mask = np.zeros(ball.shape, np.uint8)
    mask[4, 8:32, 12:36] = 1
    inside = ball.array[4] > 200
    for prompt, word in (
        (PointPrompt(tuple(ball.to_ras([23.5, 19.5, 4]))), "click"),
        (ScribblePrompt(path), "click"),
        (PolygonPrompt(corners), "polygon"),
        (MaskPrompt(mask), "mask"),
    ):
        engine.check(ball, [prompt], "slice")
        prediction = engine.predict(ball, [prompt], Context())
        assert any(word in note for note in prediction.notes), prompt.kind
        assert dice(prediction.patch.to_array(ball.shape)[4].astype(bool), inside) > 0.9, prompt.kind


def test_a_negative_click_cuts_the_box_back_and_a_positive_one_enlarges_it(ball: Volume) -> None:
    box = flat_box(ball, low=12, high=30)
    whole = predict(ball, box)
    cut = predict(ball, box, PointPrompt(tuple(ball.to_ras([28, 20, 4])), False))
    wider = predict(ball, box, PointPrompt(tuple(ball.to_ras([32, 20, 4]))))
    assert cut[4, 20, 28] == 0
    assert whole[4, 20, 28] == 1
    assert cut.sum() < whole.sum() < wider.sum()


def test_a_first_guess_goes_with_the_box_around_it_which_clicks_enlarge(ball: Volume) -> None:
    model = ThresholdModel(native=POINTS, refines=True)
    mask = np.zeros(ball.shape, np.uint8)
    mask[4, 12:24, 16:28] = 1
    click = PointPrompt(tuple(ball.to_ras((34, 18, 4))))
    predict(ball, MaskPrompt(mask), model=model)
    predict(ball, MaskPrompt(mask), click, model=model)
    alone, enlarged = (model.seen[index] for index in (0, -1))
    assert alone.logits is not None and alone.box is not None and enlarged.logits is not None
    assert enlarged.box[2] >= enlarged.points[0][0] > alone.box[2]


def test_a_negative_click_that_cannot_be_left_out_is_refused_with_the_reason(ball: Volume) -> None:
    a, b, c = (PointPrompt(tuple(ball.to_ras([i, 20, 4])), i != 23) for i in (19, 23, 27))
    d, e = (PointPrompt(tuple(ball.to_ras([23, j, 4]))) for j in (15, 25))
    with pytest.raises(PromptError, match="boxes only"):
        predict(ball, flat_box(ball), a, c, d, e, b)


def test_negative_prompts_alone_give_an_empty_mask_and_say_why(ball: Volume) -> None:
    prediction = SliceEngine(ThresholdModel()).predict(
        ball, [PointPrompt(tuple(ball.to_ras([20, 20, 4])), False)], Context()
    )
    assert prediction.patch.count == 0
    assert "positive" in prediction.notes[0]


def test_several_boxes_are_several_objects() -> None:
    array = np.full((1, 40, 60), 20, np.uint8)
    array[0, 10:20, 5:15] = array[0, 15:30, 40:55] = 220
    volume = Volume(array, np.diag([-1.0, -1.0, 1.0, 1.0]))
    boxes = [
        BoxPrompt(tuple(volume.to_ras([3, 8, 0])), tuple(volume.to_ras([17, 22, 0]))),
        BoxPrompt(tuple(volume.to_ras([38, 13, 0])), tuple(volume.to_ras([57, 32, 0]))),
    ]
    assert dice(predict(volume, *boxes).astype(bool), array > 100) > 0.85


# Propagation -----------------------------------------------------------------------------------------------------


def tall_ball() -> Volume:
    return blob_volume((31, 48, 48), np.diag([-1.0, -1.0, 1.0, 1.0]), radius=11)


def test_a_flat_box_is_followed_to_both_ends_of_the_target_and_stops() -> None:
    volume = tall_ball()
    box = flat_box(volume, k=15, low=8, high=40, plane="axial")
    mask = predict(volume, box, extent="volume").astype(bool)
    inside = volume.array > 200
    assert dice(mask, inside) > 0.9
    covered, expected = (np.flatnonzero(m.any(axis=(1, 2))) for m in (mask, inside))
    assert abs(covered[0] - expected[0]) <= 2
    assert abs(covered[-1] - expected[-1]) <= 2


def test_a_3d_box_bounds_the_walk() -> None:
    volume = tall_ball()
    a, b = volume.to_ras([[8, 8, 12], [40, 40, 18]])
    mask = predict(volume, BoxPrompt(tuple(a), tuple(b), plane="axial"), extent="volume")
    assert np.flatnonzero(mask.any(axis=(1, 2))).tolist() == list(range(12, 19))


def test_prompts_on_several_slices_are_all_honored() -> None:
    volume = tall_ball()
    lower = flat_box(volume, k=10, low=8, high=24, plane="axial")
    upper = flat_box(volume, k=20, low=8, high=40, plane="axial")
    both = predict(volume, lower, upper, extent="volume")
    assert np.array_equal(both[10], predict(volume, lower)[10])
    assert np.array_equal(both[20], predict(volume, upper)[20])
    assert both[15].any()


def test_a_negative_click_far_from_the_first_slice_acts_there() -> None:
    volume = tall_ball()
    box = flat_box(volume, k=15, low=8, high=40, plane="axial")
    away = PointPrompt(tuple(volume.to_ras([31, 24, 18])), False, plane="axial")
    without, with_click = (predict(volume, *prompts, extent="volume") for prompts in ((box,), (box, away)))
    assert without[18, 24, 31] == 1
    assert with_click[18, 24, 31] == 0
    assert np.array_equal(without[15], with_click[15])


def test_prompts_in_planes_of_different_orientation_are_refused_for_a_volume() -> None:
    volume = tall_ball()
    axial = flat_box(volume, k=15, plane="axial")
    a, b = volume.to_ras([[8, 24, 8], [40, 24, 25]])
    with pytest.raises(PromptError, match="one orientation"):
        SliceEngine(ThresholdModel()).check(volume, [axial, BoxPrompt(tuple(a), tuple(b), plane="coronal")], "volume")


def test_the_expert_does_not_change_from_slice_to_slice() -> None:
    volume = tall_ball()
    engine = SliceEngine(ThresholdModel(experts=3))
    prediction = engine.predict(volume, [flat_box(volume, k=15, plane="axial")], Context("volume", expert="expert1"))
    assert prediction.expert == "expert1"
    assert {other.expert for other in prediction.alternatives} == {"expert0", "expert2"}


def test_propagation_reports_progress_and_can_be_cancelled() -> None:
    volume, seen, token = tall_ball(), [], CancelToken()

    def progress(fraction: float, message: str) -> None:
        seen.append(fraction)
        if len(seen) == 4:
            token.cancel()

    with pytest.raises(Cancelled):
        SliceEngine(ThresholdModel()).predict(
            volume, [flat_box(volume, k=15, plane="axial")], Context("volume", cancel=token, progress=progress)
        )
    assert seen == sorted(seen)
    assert 0 < seen[0] <= seen[-1] < 1


# Cache -----------------------------------------------------------------------------------------------------------


def test_an_embedding_from_disk_gives_the_same_mask_without_encoding(ball: Volume, tmp_path) -> None:
    first, second = ThresholdModel(), ThresholdModel()
    disk = DiskCache(tmp_path)
    before = predict(ball, flat_box(ball), model=first, cache=EngineCache(disk=disk))
    after = predict(ball, flat_box(ball), model=second, cache=EngineCache(disk=disk))
    assert np.array_equal(before, after)
    assert (first.encoded, second.encoded) == (1, 0)


def test_a_damaged_cache_file_is_ignored(ball: Volume, tmp_path) -> None:
    expected = predict(ball, flat_box(ball), cache=EngineCache(disk=DiskCache(tmp_path)))
    (file,) = tmp_path.glob("*/*.safetensors")
    file.write_bytes(file.read_bytes()[:50])
    model = ThresholdModel()
    found = predict(ball, flat_box(ball), model=model, cache=EngineCache(disk=DiskCache(tmp_path)))
    assert np.array_equal(found, expected)
    assert model.encoded == 1


def test_memory_stays_below_its_bound() -> None:
    volume = tall_ball()
    one_embedding = 64 * 64 * 2
    cache = EngineCache(memory_bytes=5 * one_embedding, decoded_bytes=5 * 64 * 64 * 4)
    predict(volume, flat_box(volume, k=15, plane="axial"), extent="volume", cache=cache)
    assert 0 < cache.embeddings.bytes <= 5 * one_embedding
    assert 0 < cache.decoded.bytes <= 5 * 64 * 64 * 4


def test_the_disk_cache_removes_the_oldest_first(tmp_path) -> None:
    import torch

    disk = DiskCache(tmp_path, max_bytes=3000)
    for number in range(5):
        disk.put(f"{number:032x}", {"image": torch.full((1000,), number, dtype=torch.uint8)})
    kept = [number for number in range(5) if disk.get(f"{number:032x}") is not None]
    assert kept == kept[-len(kept) :] == list(range(5))[-len(kept) :]
    assert 1 <= len(kept) <= 2
    assert disk.clear() > 0
    assert disk.get(f"{4:032x}") is None
