"""A 3D engine answers where the prompts are, on every kind of grid, and pays for the encoder once."""

from __future__ import annotations

import numpy as np
import pytest
from fakes3d import (
    CENTER,
    BrightRegion,
    Oracle,
    around,
    at,
    ball_depth,
    bright_ball,
    dice,
    field_volume,
    oblique,
    positions,
    predict,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from MoESegLib.core.cancel import CancelToken
from MoESegLib.core.errors import Cancelled, PromptError
from MoESegLib.core.prompts import MaskPrompt, PointPrompt
from MoESegLib.core.volume import Volume
from MoESegLib.engines.cache import EngineCache
from MoESegLib.engines.protocol import Context
from MoESegLib.engines.volume_engine import VolumeEngine
from MoESegLib.session import Session

SHEARED = np.array([[1.0, 0.3, 0, 0], [0, 1, 0.2, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ oblique(0.5, 0.2, 0.1, (1, 1.4, 2))
GRIDS = {
    "as in Slicer": (np.diag([-0.8, -0.8, 2.5, 1]), (24, 70, 70)),
    "oblique": (oblique(0.4, -0.3, 0.7, (1.0, 1.2, 1.5)), (44, 52, 60)),
    "left-handed": (oblique(-0.6, 0.2, 1.9, (-1.1, 1.1, 2.0)), (34, 54, 56)),
    "transformed with unequal scales": (SHEARED, (36, 50, 64)),
}


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", GRIDS)
def test_a_ball_comes_back_as_it_is_on_every_grid(name: str, strict: bool) -> None:
    """With a decoder that knows the answer, what is lost is lost by the geometry: less than 1 % of Dice.

    The public way back (cut at the voxels of the model, then the nearest one) loses more.
    """
    matrix, shape = GRIDS[name]
    volume = bright_ball(matrix, shape, 18)
    truth = np.linalg.norm(positions(volume) - CENTER, axis=-1) <= 18
    oracle = Oracle(ball_depth(CENTER, 18), mask_grid=32)
    mask = predict(oracle, volume, at(CENTER), strict=strict).patch.to_array(volume.shape)
    assert dice(mask, truth) >= (0.93 if strict else 0.99)


angles = st.floats(-3.1, 3.1)


@settings(max_examples=12, deadline=None)
@given(st.tuples(angles, angles, angles), st.tuples(*[st.floats(1.8, 3.0)] * 3), st.tuples(*[st.booleans()] * 3))
def test_a_click_finds_the_ball_it_was_placed_in_and_not_the_one_beside(rotated, spacing, flips) -> None:
    other = CENTER + [26, 4, -6]

    def value(points: np.ndarray) -> np.ndarray:
        near = np.minimum(np.linalg.norm(points - CENTER, axis=-1), np.linalg.norm(points - other, axis=-1))
        return np.where(near <= 10, 300, 60) + 5 * np.sin(points).sum(axis=-1)

    shape = (44, 44, 44)
    signed = tuple(float(s * (-1 if flip else 1)) for s, flip in zip(spacing, flips, strict=True))
    volume = field_volume(shape, around(oblique(*rotated, signed), shape), value)
    for center in (CENTER, other):
        mask = predict(BrightRegion(), volume, at(center + [3, 2, -3])).patch.to_array(volume.shape)
        assert mask.any()
        assert np.linalg.norm(positions(volume)[mask > 0] - center, axis=-1).max() < 10 + 5.5


def test_clicks_come_one_by_one_with_all_earlier_ones_and_the_logits_they_gave() -> None:
    volume = bright_ball(np.eye(4), (48, 48, 48), 14)
    model = BrightRegion()
    places = [CENTER, CENTER + [6, 0, 3], CENTER - [3, 9, 0]]
    predict(model, volume, at(places[0]), at(places[1]), at(places[2], positive=False))
    assert [call.labels.tolist() for call in model.asked] == [[1], [1, 1], [1, 1, 0]]
    assert model.asked[0].logits is None
    assert np.array_equal(
        model.asked[1].logits, model.answer(model.crops[0].pixels, np.eye(4), model.asked[0])[0].logits
    )
    assert model.asked[0].points.tolist() == [[16, 16, 16]]
    # 3 mm voxels in array order (r, a, s): 6 mm to the right are 2 voxels along the first axis.
    assert (model.asked[2].points - model.asked[0].points).round().tolist() == [[0, 0, 0], [2, 0, 1], [-1, -3, 0]]


def test_a_further_click_runs_the_decoder_only() -> None:
    volume = bright_ball(np.eye(4), (48, 48, 48), 14)
    model, cache = BrightRegion(), EngineCache()
    engine = VolumeEngine(model)
    prompts = [at(CENTER), at(CENTER + [9, 0, 0]), at(CENTER - [0, 12, 0], positive=False)]
    for count in (1, 2, 3):
        engine.predict(volume, prompts[:count], Context("volume", cache=cache))
        assert (len(model.crops), len(model.asked)) == (1, count)
    again = VolumeEngine(BrightRegion())  # another volume with the same voxels: nothing is left to compute
    again.predict(Volume(volume.array.copy(), volume.ijk_to_ras, "MR"), prompts, Context("volume", cache=cache))
    assert not again.model.crops
    assert not again.model.asked


def test_answers_do_not_depend_on_what_was_asked_before() -> None:
    volume = bright_ball(np.diag([-1.0, -1, 2, 1]), (40, 60, 60), 16)
    prompts = [at(CENTER), at(CENTER + [30, 0, 0]), at(CENTER + [0, 10, 0], positive=False)]
    engine, cache = VolumeEngine(BrightRegion()), EngineCache()
    fresh = engine.predict(volume, prompts, Context("volume"))
    for other in (prompts[2:], prompts[1:], prompts[:1], prompts):
        warm = engine.predict(volume, other, Context("volume", cache=cache))
    assert warm.patch.extent == fresh.patch.extent
    assert np.array_equal(warm.patch.voxels, fresh.patch.voxels)
    assert np.array_equal(warm.probability.percent, fresh.probability.percent)
    assert warm.notes == fresh.notes


def test_slices_get_what_the_volume_would() -> None:
    volume = bright_ball(np.diag([-1.0, -1, 2, 1]), (40, 50, 50), 16)
    everywhere = predict(BrightRegion(), volume, at(CENTER)).patch.to_array(volume.shape)
    click, other = at(CENTER), at(CENTER + [2, 3, 0], plane="coronal")
    k, j = (int(round(volume.ras_to_ijk(p.ras)[axis])) for p, axis in ((click, 2), (other, 1)))
    kept = np.zeros_like(everywhere)
    kept[k] = everywhere[k]
    one = predict(BrightRegion(), volume, click, extent="slice")
    assert np.array_equal(one.patch.to_array(volume.shape), kept)
    assert one.probability.extent[4:] == (k, k)
    both = predict(BrightRegion(), volume, click, other, extent="slice").patch.to_array(volume.shape)
    kept[:, j] = everywhere[:, j]
    assert dice(both, kept) == 1


def test_a_click_near_the_border_of_the_crop_gets_a_crop_of_its_own() -> None:
    """The earlier answer stays where the new crop does not reach."""
    matrix, shape = around(np.eye(4), (60, 60, 200)), (60, 60, 200)
    far = CENTER + [70, 0, 0]

    def value(points: np.ndarray) -> np.ndarray:
        near = np.minimum(np.linalg.norm(points - CENTER, axis=-1), np.linalg.norm(points - far, axis=-1))
        return np.where(near <= 15, 300, 60) + 5 * np.sin(points).sum(axis=-1)

    volume, model = field_volume(shape, matrix, value), BrightRegion()
    result = predict(model, volume, at(CENTER), at(far))
    assert len(model.crops) == 2
    mask = result.patch.to_array(volume.shape)
    assert dice(mask, volume.array > 200) > 0.9
    assert model.asked[1].points.round().tolist() == [[16, 16, 16]]


def rod(length: float, radius: float = 12) -> tuple[Volume, np.ndarray]:
    """A rod along S, in a volume of 3 mm voxels; and where it is."""
    shape = (150, 30, 30)

    def value(points: np.ndarray) -> np.ndarray:
        inside = np.linalg.norm((points - CENTER)[..., :2], axis=-1) <= radius
        inside &= np.abs((points - CENTER)[..., 2]) <= length / 2
        return np.where(inside, 300, 60) + 5 * np.sin(points).sum(axis=-1)

    volume = field_volume(shape, around(np.diag([3.0, 3, 3, 1]), shape), value)
    return volume, volume.array > 200


def test_a_target_larger_than_the_crop_is_followed_over_its_border() -> None:
    volume, truth = rod(200)
    model = BrightRegion()
    result = predict(model, volume, at(CENTER))
    assert 3 <= len(model.crops) <= 7
    assert dice(result.patch.to_array(volume.shape), truth) > 0.95
    assert any(f"{len(model.crops)} crops were joined" in note for note in result.notes)
    first, second = model.crops[0].to_ras[:3, 3], model.crops[1].to_ras[:3, 3]
    assert abs(second - first).max() == pytest.approx(45)  # half of 96 mm, less one cell of 3 mm
    assert model.asked[1].labels.tolist() == [1]  # the click stays visible
    assert (model.asked[1].logits > 0).any()


def test_no_more_crops_than_allowed_are_looked_at_and_the_answer_says_that_the_target_goes_on() -> None:
    volume, truth = rod(440)
    model = BrightRegion()
    result = predict(model, volume, at(CENTER))
    assert len(model.crops) == 7
    assert any("may go on" in note for note in result.notes)
    mask = result.patch.to_array(volume.shape)
    assert 0.4 < mask.sum() / truth.sum() < 0.95
    end = CENTER + [0, 0, 200]
    more = predict(BrightRegion(), volume, at(CENTER), at(end)).patch.to_array(volume.shape)
    assert more.sum() > mask.sum()


def test_a_target_at_the_end_of_the_volume_needs_no_further_crop() -> None:
    volume = bright_ball(np.diag([3.0, 3, 3, 1]), (20, 20, 20), 60)
    model = BrightRegion()
    result = predict(model, volume, at(CENTER))
    assert len(model.crops) == 1
    assert not any("go on" in note or "joined" in note for note in result.notes)


def test_a_correction_takes_back_what_had_leaked_beyond_the_crop() -> None:
    volume, _ = rod(200)
    whole = predict(BrightRegion(), volume, at(CENTER)).patch.to_array(volume.shape)
    cuts = [at(CENTER + [0, 0, side * 24], positive=False) for side in (-1, 1)]

    class Cut(BrightRegion):
        def answer(self, pixels, to_ras, prompt):
            (first, *rest) = super().answer(pixels, to_ras, prompt)
            if (prompt.labels == 0).sum() == 2:
                first.logits[:, :, :8] = first.logits[:, :, -8:] = -8
            return (first, *rest)

    cut = predict(Cut(), volume, at(CENTER), *cuts).patch.to_array(volume.shape)
    assert cut.sum() < 0.5 * whole.sum()
    assert not cut[np.abs(positions(volume)[..., 2] - CENTER[2]) > 50].any()


def test_a_volume_smaller_than_the_crop_works() -> None:
    volume = bright_ball(np.diag([2.0, 2, 2, 1]), (10, 12, 14), 7)
    mask = predict(BrightRegion(spacing=2.0), volume, at(CENTER)).patch.to_array(volume.shape)
    assert dice(mask, volume.array > 200) > 0.9


def test_a_crop_without_a_voxel_above_0_is_answered_and_the_answer_says_so() -> None:
    bright = bright_ball(np.diag([3.0, 3, 3, 1]), (36, 36, 36), 14)
    volume = Volume(bright.array - 1000, bright.ijk_to_ras, modality="MR")
    result = predict(BrightRegion(), volume, at(CENTER))
    assert dice(result.patch.to_array(volume.shape), bright.array > 200) > 0.9
    assert any("above 0" in note for note in result.notes)


def test_a_click_outside_waits_for_one_inside() -> None:
    volume = bright_ball(np.eye(4), (48, 48, 48), 14)
    outside = at(CENTER + [0, 9, 0], positive=False)
    model = BrightRegion()
    alone = predict(model, volume, outside)
    assert alone.patch.count == 0
    assert not model.asked
    assert "No positive prompt" in alone.notes[0]
    predict(model, volume, outside, at(CENTER))
    assert [call.labels.tolist() for call in model.asked] == [[0, 1]]


def test_a_click_outside_far_from_everything_changes_nothing_and_says_so() -> None:
    shape = (40, 40, 200)
    volume = bright_ball(np.eye(4), shape, 14)
    model = BrightRegion()
    result = predict(model, volume, at(CENTER), at(CENTER + [90, 0, 0], positive=False))
    assert len(model.asked) == 1
    assert any("changed nothing" in note for note in result.notes)


def test_the_public_inference_looks_at_one_crop_and_refuses_what_lies_outside() -> None:
    volume, _ = rod(200)
    model = BrightRegion()
    result = predict(model, volume, at(CENTER), at(CENTER + [0, 0, 42]), strict=True)
    assert len(model.crops) == 1
    used = np.flatnonzero(result.patch.to_array(volume.shape).any(axis=(1, 2)))
    assert (used[-1] - used[0]) * 3 <= 96
    with pytest.raises(PromptError, match="one crop of 96 mm"):
        predict(model, volume, at(CENTER), at(CENTER + [0, 0, 60]), strict=True)


def test_experts_weights_and_the_others_masks_are_told() -> None:
    volume = bright_ball(np.eye(4), (48, 48, 48), 14)
    result = predict(BrightRegion(("liver", "general")), volume, at(CENTER))
    assert (result.expert, result.gate_weight, result.confidence) == ("liver", 0.9, None)
    [other] = result.alternatives
    assert (other.expert, other.gate_weight) == ("general", 0.8)
    assert other.patch.count > 0
    chosen = predict(BrightRegion(("liver", "general")), volume, at(CENTER), expert="general")
    assert chosen.expert == "general"
    with pytest.raises(PromptError, match="has no expert 'spleen'; it has general, liver"):
        predict(BrightRegion(("liver", "general")), volume, at(CENTER), expert="spleen")


def test_who_answered_before_is_told_to_the_gate_also_in_the_crops_beyond() -> None:
    volume, _ = rod(200)
    model = BrightRegion(("liver", "general"))
    result = predict(model, volume, at(CENTER), at(CENTER + [0, 0, 6]))
    assert [call.held for call in model.asked] == [None] + ["liver"] * (len(model.asked) - 1)
    assert [other.expert for other in result.alternatives] == ["general"]


def test_nobody_is_held_before_the_first_click_inside_the_target() -> None:
    volume, mask = rod(60)
    model = BrightRegion(("liver", "general"))
    predict(model, volume, MaskPrompt(mask), at(CENTER + [0, 20, 0], False), at(CENTER), at(CENTER + [0, 0, 6]))
    assert [(len(call.points), call.held) for call in model.asked] == [(0, None), (1, None), (2, None), (3, "liver")]


def test_cancel_stops_between_crops_and_leaves_the_cache_usable() -> None:
    volume, _ = rod(200)
    model, token, cache = BrightRegion(), CancelToken(), EngineCache()
    engine = VolumeEngine(model)

    def cancel_at_third() -> None:
        if len(model.asked) == 2:
            token.cancel()

    model.before_decode = cancel_at_third
    with pytest.raises(Cancelled):
        engine.predict(volume, [at(CENTER)], Context("volume", cache=cache, cancel=token))
    model.before_decode = lambda: None
    looked = len(model.crops)
    result = engine.predict(volume, [at(CENTER)], Context("volume", cache=cache))
    assert looked == 3
    assert np.array_equal(result.patch.voxels, predict(BrightRegion(), volume, at(CENTER)).patch.voxels)


def test_progress_rises_to_at_most_1() -> None:
    volume, _ = rod(440)
    told: list[float] = []
    predict(BrightRegion(), volume, at(CENTER), progress=lambda fraction, message: told.append(fraction))
    assert told == sorted(told)
    assert told[0] == 0
    assert 0.5 < told[-1] <= 1


def test_a_session_adds_undoes_and_redoes() -> None:
    volume = bright_ball(np.diag([-1.0, -1, 2, 1]), (40, 60, 60), 16)
    model = BrightRegion()
    with Session(volume, VolumeEngine(model), "volume") as session:
        session.add(at(CENTER))
        one = session.mask("Segment_1")
        session.add(at(CENTER + [0, 12, 0], positive=False))
        two = session.mask("Segment_1")
        assert 0 < two.sum() < one.sum()
        decoded = len(model.asked)
        session.undo()
        assert np.array_equal(session.mask("Segment_1"), one)
        session.redo()
        assert np.array_equal(session.mask("Segment_1"), two)
        assert (len(model.asked), len(model.crops)) == (decoded, 1)
        with pytest.raises(PromptError, match="outside the volume"):
            session.add(at(CENTER + [500, 0, 0]))


def test_segments_at_the_same_place_share_the_encoder() -> None:
    volume = bright_ball(np.eye(4), (48, 48, 48), 14)
    model = BrightRegion()
    with Session(volume, VolumeEngine(model), "volume") as session:
        session.add(at(CENTER, segment="a"))
        session.add(at(CENTER, segment="b"))
        assert np.array_equal(session.mask("a"), session.mask("b"))
        assert len(model.crops) == 1


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        (Volume(np.arange(64).reshape(8, 8), np.eye(4)), "single slice"),
        (Volume(np.zeros((4, 8, 8, 3), np.uint8), np.eye(4), color=True), "color image"),
    ],
)
def test_images_without_depth_and_colors_are_refused(volume: Volume, words: str) -> None:
    with pytest.raises(PromptError, match=words):
        predict(BrightRegion(), volume, PointPrompt((4, 4, 0)))
