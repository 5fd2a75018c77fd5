"""Prompts other than clicks reach a 3D model honestly: as what it was taught, and the answer says so."""

from __future__ import annotations

import numpy as np
import pytest
from fakes3d import CENTER, BrightRegion, around, at, bright_ball, dice, field_volume, oblique, predict

from MoESegLib.core.errors import PromptError
from MoESegLib.core.prompts import AutomaticPrompt, BoxPrompt, MaskPrompt, PolygonPrompt, ScribblePrompt, TextPrompt
from MoESegLib.core.volume import Volume


@pytest.fixture(scope="module")
def ball() -> Volume:
    return bright_ball(np.eye(4), (48, 48, 48), 14)


def points(*places: np.ndarray) -> tuple[tuple[float, float, float], ...]:
    return tuple((float(r), float(a), float(s)) for r, a, s in places)


def test_a_box_is_a_click_at_its_center(ball: Volume) -> None:
    offset = np.array([15.0, 12, 9])
    model = BrightRegion()
    result = predict(model, ball, BoxPrompt(*points(CENTER - offset, CENTER + offset)))
    assert model.asked[0].points.tolist() == [[16, 16, 16]]
    assert np.array_equal(result.patch.voxels, predict(model, ball, at(CENTER)).patch.voxels)
    assert any("never taught boxes" in note for note in result.notes)


def test_a_flat_box_drawn_in_a_slice_is_one_too(ball: Volume) -> None:
    offset = np.array([15.0, 12, 0])
    model = BrightRegion()
    predict(model, ball, BoxPrompt(*points(CENTER - offset, CENTER + offset), plane="axial"))
    assert model.asked[0].points.tolist() == [[16, 16, 16]]


def test_an_outline_is_a_click_at_its_innermost_point_which_lies_inside_a_crescent() -> None:
    """The center of a crescent lies outside of it."""
    shape = (24, 64, 64)
    matrix = around(oblique(0.3, 0.2, -0.4, (1.0, 1.0, 2.0)), shape)
    middle = (np.array(shape)[::-1] - 1) / 2
    turn = np.linspace(0, 1.5 * np.pi, 40)
    ring = np.concatenate(
        [24 * np.stack([np.cos(turn), np.sin(turn)], 1), 12 * np.stack([np.cos(turn), np.sin(turn)], 1)[::-1]]
    )
    volume = field_volume(shape, matrix, lambda p: 60 + np.sin(p).sum(axis=-1))
    ijk = np.concatenate([ring + middle[:2], np.full((len(ring), 1), 12.0)], axis=1)
    model = BrightRegion()
    result = predict(model, volume, PolygonPrompt(points(*volume.to_ras(ijk)), plane="axial"), extent="slice")
    clicked = volume.ras_to_ijk(model.crops[0].to_ras[:3, :3] @ [16, 16, 16] + model.crops[0].to_ras[:3, 3])
    assert 12 < np.linalg.norm(clicked[:2] - middle[:2]) < 24
    assert any("innermost" in note for note in result.notes)


def test_a_scribble_is_up_to_8_clicks_of_its_sign_in_one_step(ball: Volume) -> None:
    inside = ScribblePrompt(points(*(CENTER + [x, 0, 0] for x in np.linspace(-9, 9, 50))))
    outside = ScribblePrompt(points(CENTER + [0, 9, 0], CENTER + [0, 12, 0]), positive=False)
    model = BrightRegion()
    predict(model, ball, inside, outside)
    assert [call.labels.tolist() for call in model.asked] == [[1] * 8, [1] * 8 + [0, 0]]


def test_a_scribble_longer_than_the_crop_is_taken_point_by_point() -> None:
    volume = field_volume((30, 30, 200), around(np.eye(4), (30, 30, 200)), lambda p: 60 + 5 * np.sin(p).sum(axis=-1))
    model = BrightRegion()
    predict(model, volume, ScribblePrompt(points(*(CENTER + [x, 0, 0] for x in np.linspace(-90, 90, 20)))))
    assert len(model.crops) > 1
    newest = [call.points[-1] for call in model.asked if len(call.points)]
    assert len(newest) >= 8
    assert all(((point >= 0) & (point < 32)).all() for point in newest)


def test_a_mask_starts_the_answer_and_clicks_correct_it(ball: Volume) -> None:
    model = BrightRegion()
    mask = MaskPrompt(ball.array > 200)
    result = predict(model, ball, mask, at(CENTER + [0, 12, 0], positive=False))
    first, second = model.asked
    assert first.labels.tolist() == []
    assert first.logits is not None
    share = (first.logits > 0).sum() * 3**3 / (ball.array > 200).sum()
    assert 0.8 < share < 1.2
    assert second.labels.tolist() == [0]
    assert 0 < result.patch.count < (ball.array > 200).sum()


def test_a_mask_on_another_grid_lands_on_the_same_anatomy(ball: Volume) -> None:
    other = bright_ball(oblique(0.4, 0.2, -0.3, (1.3, 0.9, 2.0)), (36, 60, 52), 14)
    model = BrightRegion(mask_grid=16)
    predict(model, ball, MaskPrompt(ball.array > 200))
    predict(model, ball, MaskPrompt(other.array > 200, other.ijk_to_ras))
    here, there = (call.logits for call in model.asked)
    origins = [model.crops[0].to_ras[:3, 3], model.crops[-1].to_ras[:3, 3]]
    centers = [
        origin + 6 * np.argwhere(logits > 0).mean(axis=0) + 1.5
        for origin, logits in zip(origins, (here, there), strict=True)
    ]
    assert np.abs(centers[0] - centers[1]).max() < 2.5


def test_a_mask_thinner_than_a_cell_still_says_where_it_is(ball: Volume) -> None:
    mask = np.zeros(ball.shape, bool)
    mask[20:28, 24, 24] = True
    model = BrightRegion(mask_grid=16)
    predict(model, ball, MaskPrompt(mask))
    assert (model.asked[0].logits > 0).any()


def test_a_mask_larger_than_the_crop_is_kept_beyond_it_and_the_answer_says_so() -> None:
    shape = (16, 16, 70)
    volume = field_volume(shape, around(np.diag([3.0, 3, 3, 1]), shape), lambda p: 60 + 5 * np.sin(p).sum(axis=-1))
    mask = np.zeros(shape, np.uint8)
    mask[5:11, 5:11, 4:66] = 1
    result = predict(BrightRegion(), volume, MaskPrompt(mask))
    kept = result.patch.to_array(shape)
    assert dice(kept[:, :, :16], mask[:, :, :16]) > 0.9
    assert any("larger than what the model sees" in note for note in result.notes)


@pytest.mark.parametrize("prompt", [TextPrompt("liver"), AutomaticPrompt()])
def test_prompts_that_point_at_nothing_are_refused(ball: Volume, prompt) -> None:
    with pytest.raises(PromptError, match=f"does not understand {prompt.kind} prompts; it takes box, mask, point"):
        predict(BrightRegion(), ball, prompt)


def test_known_anatomy_is_refused(ball: Volume) -> None:
    with pytest.raises(PromptError, match="first guess"):
        predict(BrightRegion(), ball, MaskPrompt(ball.array > 200, role="anatomy", structure="liver"))


def test_a_model_that_takes_no_masks_refuses_them(ball: Volume) -> None:
    model = BrightRegion()
    model.native = frozenset({"point"})
    with pytest.raises(PromptError, match="does not understand mask prompts"):
        predict(model, ball, MaskPrompt(ball.array > 200))
