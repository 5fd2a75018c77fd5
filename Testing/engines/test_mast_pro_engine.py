"""MAST-Pro's engine with a network that knows the answer: grids, organs, sides, images that do not fit, cancelling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes3d import CENTER, dice, oblique
from mast_pro_tools import small_network
from tumor_tools import BOOK, LIVER_TUMOR, BrightLesions, engine_with, find, inside, organ, ramp_volume

from MoESegLib.core.cancel import CancelToken
from MoESegLib.core.errors import Cancelled, PromptError, ResourceError
from MoESegLib.core.lesions import certainty, split_lesions
from MoESegLib.core.organs import organ_ids
from MoESegLib.core.prompts import BoxPrompt, MaskPrompt, PointPrompt, TextPrompt
from MoESegLib.core.volume import Volume
from MoESegLib.engines import mast_pro, sliding
from MoESegLib.engines.cache import EngineCache
from MoESegLib.engines.protocol import Context
from MoESegLib.engines.tumor_notes import Doubt

AXIAL = np.diag([-1.0, -1.0, 1.5, 1.0])
SHAPE = (40, 60, 60)
FAR_LEFT = CENTER + (-22, 0, 0)
FAR_RIGHT = CENTER + (22, 0, 0)


@pytest.fixture
def volume() -> Volume:
    """One bright ball of 12 mm radius at CENTER."""
    return ramp_volume(SHAPE, AXIAL)


@pytest.fixture
def two_balls() -> Volume:
    """A ball of 10 mm radius on either side."""
    return ramp_volume((30, 48, 84), AXIAL, [(FAR_LEFT, 10.0), (FAR_RIGHT, 10.0)])


def mask_of(prediction, volume: Volume) -> np.ndarray:
    return prediction.patch.to_array(volume.shape)


@pytest.mark.parametrize(
    ("matrix", "shape"),
    [
        (np.diag([1.0, 1.0, 1.0, 1.0]), (60, 70, 70)),
        (np.diag([-1.0, -1.0, 1.0, 1.0]), (60, 70, 70)),
        (np.diag([0.8, -0.8, -3.0, 1.0]), (20, 90, 80)),
        (np.array([[0, 0, 1.5, 0], [-1.2, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1.0]]), (40, 70, 60)),
        (oblique(0.3, -0.2, 0.5, (1.0, 1.1, 2.0)), (36, 80, 76)),
    ],
    ids=["RAS", "LPS", "thick and flipped", "axes exchanged", "oblique"],
)
def test_the_lesion_comes_out_where_it_is_on_any_grid(matrix: np.ndarray, shape: tuple[int, int, int]) -> None:
    volume = ramp_volume(shape, matrix, [(CENTER, 18.0)])
    found = find(engine_with(), volume, organ(volume, radius=24.0))
    assert dice(mask_of(found, volume), inside(volume, radius=18.0)) >= 0.99
    assert found.notes[0] == "1 separate lesion."


def test_the_network_sees_the_phrase_the_organs_and_the_windows_of_the_region_only(volume: Volume) -> None:
    network = BrightLesions()
    find(engine_with(network), volume, organ(volume, radius=14.0), organ(volume, CENTER + (0, 0, -26), 5.0, "spleen"))
    for seen in network.seen:
        assert seen["image"].shape[2:] == network.config.patch
        np.testing.assert_array_equal(seen["text"][0], BOOK.embedding_of("liver_tumor"))
        assert seen["tumor"].tolist() == [network.tumors.index("liver_tumor")]
        assert seen["organs"].dtype == torch.bool
    liver = sum(int(seen["organs"][0, organ_ids().index("liver")].sum()) for seen in network.seen)
    assert liver * 8 > 4 / 3 * np.pi * 14**3 * 0.9  # windows overlap
    assert any(seen["organs"][0, organ_ids().index("spleen")].any() for seen in network.seen)
    assert max(float(seen["anatomy"][0, 1].max()) for seen in network.seen) == pytest.approx(14 / 20, abs=0.1)


def test_without_organs_the_network_gets_none_and_the_answer_says_so(volume: Volume) -> None:
    network = BrightLesions()
    found = find(engine_with(network), volume)
    assert all(seen["anatomy"] is None and seen["organs"] is None for seen in network.seen)
    assert any("the whole image is searched" in note for note in found.notes)
    assert dice(mask_of(found, volume), inside(volume)) > 0.97


def test_what_lies_far_from_the_organ_is_left_out_unless_asked_for(two_balls: Volume) -> None:
    liver = organ(two_balls, FAR_RIGHT, 12.0)
    engine = engine_with()
    left, right = inside(two_balls, FAR_LEFT, 10.0), inside(two_balls, FAR_RIGHT, 10.0)
    near = mask_of(find(engine, two_balls, liver), two_balls)
    assert not near[left].any()
    assert dice(near, right) > 0.97
    everywhere = BoxPrompt(tuple(two_balls.to_ras((0, 0, 0))), tuple(two_balls.to_ras(np.array(two_balls.size) - 1)))
    loose = engine.with_options(restrict=False)
    assert dice(mask_of(find(loose, two_balls, liver, everywhere), two_balls), left | right) > 0.97
    assert dice(mask_of(find(engine, two_balls, liver, everywhere), two_balls), right) > 0.97


def test_windows_that_cannot_hold_the_tumor_are_not_looked_at(two_balls: Volume) -> None:
    kidneys = organ(two_balls, FAR_LEFT, 8.0, "kidney_left"), organ(two_balls, FAR_RIGHT, 8.0, "kidney_right")
    strict, loose = BrightLesions(patch=(8, 8, 8)), BrightLesions(patch=(8, 8, 8))
    find(engine_with(strict), two_balls, TextPrompt("kidney tumor"), *kidneys)
    find(engine_with(loose, restrict=False), two_balls, TextPrompt("kidney tumor"), *kidneys)
    assert len(strict.seen) < len(loose.seen)


def test_a_side_restricts_the_answer_to_that_side(two_balls: Volume) -> None:
    kidneys = organ(two_balls, FAR_LEFT, 12.0, "kidney_left"), organ(two_balls, FAR_RIGHT, 12.0, "kidney_right")
    found = mask_of(find(engine_with(), two_balls, TextPrompt("left kidney tumor"), *kidneys), two_balls)
    assert dice(found, inside(two_balls, FAR_LEFT, 10.0)) > 0.97
    both = mask_of(find(engine_with(), two_balls, TextPrompt("kidney tumor"), *kidneys), two_balls)
    assert dice(both, inside(two_balls, FAR_LEFT, 10.0) | inside(two_balls, FAR_RIGHT, 10.0)) > 0.97


def test_the_wrong_side_alone_gives_nothing_and_says_why(two_balls: Volume) -> None:
    network = BrightLesions()
    right = organ(two_balls, FAR_RIGHT, 12.0, "kidney_right")
    found = find(engine_with(network), two_balls, TextPrompt("left kidney tumor"), right)
    assert found.patch.count == 0
    assert network.seen == []
    assert any("The left kidney was asked for, but only the right one was given" in note for note in found.notes)
    assert any("nothing is searched" in note for note in found.notes)


def test_a_tumor_of_an_organ_that_was_not_among_those_given_is_a_warning_and_not_a_guess(volume: Volume) -> None:
    network = BrightLesions()
    found = find(engine_with(network), volume, TextPrompt("kidney tumor"), organ(volume))
    assert found.patch.count == 0
    assert network.seen == []
    assert any("none in which a kidney tumor lies (kidney)" in note for note in found.notes)


def test_a_mass_that_lies_in_no_certain_organ_is_looked_for_without_its_organ(volume: Volume) -> None:
    found = find(engine_with(), volume, TextPrompt("soft tissue sarcoma"), organ(volume))
    assert dice(mask_of(found, volume), inside(volume)) > 0.97
    assert any("the whole image is searched" in note for note in found.notes)


def test_organs_on_another_grid_give_the_same_answer(volume: Volume) -> None:
    coarse = ramp_volume((30, 30, 30), oblique(0.2, 0.1, -0.3, (3.0, 3.0, 3.0)))
    same, other = (find(engine_with(), volume, organ(grid)) for grid in (volume, coarse))
    assert dice(mask_of(other, volume), mask_of(same, volume)) > 0.99


def test_a_box_is_the_region_and_nothing_is_found_beyond_it(two_balls: Volume) -> None:
    low, high = FAR_RIGHT - 16, FAR_RIGHT + 16
    box = BoxPrompt(tuple(low), tuple(np.minimum(high, two_balls.ijk_to_ras[:3, 3] + (0, 0, 1e9))))
    found = find(engine_with(), two_balls, box)
    assert dice(mask_of(found, two_balls), inside(two_balls, FAR_RIGHT, 10.0)) > 0.97


def test_a_box_flat_in_one_slice_bounds_the_other_two_directions(two_balls: Volume) -> None:
    z = float(CENTER[2])
    low = (float(FAR_RIGHT[0]) - 16, float(CENTER[1]) - 16, z)
    box = BoxPrompt(low, (float(FAR_RIGHT[0]) + 16, float(CENTER[1]) + 16, z))
    found = mask_of(find(engine_with(), two_balls, box), two_balls)
    assert dice(found, inside(two_balls, FAR_RIGHT, 10.0)) > 0.97
    flat = mask_of(find(engine_with(), two_balls, box, extent="slice"), two_balls)
    assert np.count_nonzero(flat.any(axis=(1, 2))) == 1
    index = int(np.flatnonzero(flat.any(axis=(1, 2)))[0])
    np.testing.assert_array_equal(flat[index], found[index])


def test_a_phrase_with_a_point_is_about_that_slice(volume: Volume) -> None:
    whole = mask_of(find(engine_with(), volume), volume)
    place = volume.to_ras((30, 30, 20))
    found = mask_of(find(engine_with(), volume, TextPrompt("liver tumor", ras=tuple(place))), volume)
    assert found.any()
    assert not np.delete(found, 20, axis=0).any()
    # The windows lie elsewhere, so the border may differ by rounding.
    assert dice(found[20], whole[20]) > 0.98


def test_no_tumor_is_an_empty_answer_that_says_so() -> None:
    empty = ramp_volume(SHAPE, AXIAL, [(CENTER + 500, 12.0)])
    noise = np.random.default_rng(0).normal(0, 5, empty.shape)
    volume = Volume((empty.array + noise).astype(np.float32), empty.ijk_to_ras, "CT")
    found = find(engine_with(), volume, organ(volume))
    assert found.patch.count == 0
    assert found.notes[0] == "Nothing was found."


def test_spots_under_30_cubic_millimeters_are_dropped_and_lesions_counted() -> None:
    balls = [(CENTER, 8.0), (CENTER + (0, 20, 0), 7.0), (CENTER + (20, 0, 0), 1.7)]
    volume = ramp_volume((40, 70, 70), AXIAL, balls)
    found = find(engine_with(BrightLesions(spacing_mm=1.0)), volume)
    assert found.notes[0] == "2 separate lesions."
    mask = mask_of(found, volume)
    assert not mask[inside(volume, CENTER + (20, 0, 0), 2.0)].any()
    assert mask[inside(volume, CENTER + (0, 20, 0), 5.0)].all()


def test_findings_that_the_network_is_not_sure_of_are_called_doubtful() -> None:
    volume = ramp_volume((40, 70, 70), AXIAL, [(CENTER, 10.0), (CENTER + (0, 24, 0), 3.0)])  # the small one is fainter
    network = BrightLesions(spacing_mm=1.0)
    found = find(engine_with(network), volume)
    assert found.probability is not None and not any("oubtful" in note for note in found.notes)
    large, small = (certainty(part, found.probability) for part in split_lesions(found.patch, 1.0))
    assert small < large
    told = (
        "less than {}% sure of every voxel there. In test images 25% of such findings were lesions, of surer ones 80%."
    )
    some = find(engine_with(network, doubt=Doubt(large, 0.25, 0.8)), volume)
    assert some.notes[1] == "1 of them doubtful: the model is " + told.format(large)
    every = find(engine_with(network, doubt=Doubt(large + 1, 0.25, 0.8)), volume)
    assert every.notes[1] == "Doubtful: the model is " + told.format(large + 1)
    for doubt, phrase in ((Doubt(small, 0.25, 0.8), "liver tumor"), (Doubt(101, 0.25, 0.8), "adrenal tumor")):
        sure = find(engine_with(network, doubt=doubt), volume, TextPrompt(phrase))  # of the other type nothing is known
        assert sure.notes[0] == "2 separate lesions." and not any("oubtful" in note for note in sure.notes)


@pytest.mark.parametrize("thickness", [0.5, 5.0])
def test_a_single_slice_is_one_window_deep(thickness: float) -> None:
    slice_ = ramp_volume((1, 90, 80), np.diag([-1.0, -1.0, thickness, 1.0]), [(CENTER, 16.0)])
    network = BrightLesions()
    found = find(engine_with(network), slice_, organ(slice_))
    assert all(tuple(seen["image"].shape[2:]) == (1, *network.config.slice_patch) for seen in network.seen)
    assert dice(mask_of(found, slice_), inside(slice_, radius=16.0)) > 0.99


def test_gray_pictures_stored_in_color_are_read_as_gray_and_photographs_refused() -> None:
    rows, columns = np.indices((80, 90))
    gray = (40 + 180 * (np.hypot(rows - 40, columns - 45) < 15)).astype(np.uint8)
    color = np.repeat(gray[None, ..., None], 3, axis=-1)
    picture = Volume(color, np.diag([-1.0, -1, 1, 1]), "US", color=True)
    found = find(engine_with(), picture, TextPrompt("breast tumor"))
    assert dice(mask_of(found, picture)[0], gray > 100) > 0.95
    color[0, :6, :6] = (255, 0, 0)
    found = find(engine_with(), Volume(color, picture.ijk_to_ras, "US", color=True), TextPrompt("breast tumor"))
    assert any("is colored; it was read as gray" in note for note in found.notes)
    color[..., 0] = 255
    with pytest.raises(PromptError, match="color picture"):
        find(engine_with(), Volume(color, picture.ijk_to_ras, color=True), TextPrompt("breast tumor"))


def test_mr_for_a_tumor_of_ct_is_refused_and_an_unknown_image_gets_a_note(volume: Volume) -> None:
    mr = Volume(volume.array, volume.ijk_to_ras, "MR")
    with pytest.raises(PromptError, match="looked for in CT, and this image is MR"):
        find(engine_with(), mr, TextPrompt("colon tumor"))
    with pytest.raises(PromptError, match="liver tumor is looked for in CT, and this image is MR"):
        find(engine_with(taught={"liver_tumor": ["CT"]}), mr)
    bare = Volume((volume.array + 200).astype(np.int16), volume.ijk_to_ras)
    assert any("does not say how it was made" in note for note in find(engine_with(), bare).notes)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([BoxPrompt((0, -20, 10), (10, -5, 20))], 'Type for example "liver tumor"'),
        ([TextPrompt("liver tumor"), PointPrompt((7, -13, 21))], "does not understand point prompts"),
        ([TextPrompt("liver tumor"), MaskPrompt(np.ones(SHAPE))], "cannot start from a first guess"),
        ([TextPrompt("liver tumor"), TextPrompt("kidney tumor")], "different tumors"),
        ([TextPrompt("left liver tumor")], "says left"),
        ([TextPrompt("spaceship")], "spaceship"),
        ([TextPrompt("liver")], "organ and no tumor"),
    ],
    ids=["no phrase", "a click", "a first guess", "two tumors", "no such side", "nonsense", "an organ"],
)
def test_what_cannot_be_answered_is_refused_with_advice(volume: Volume, prompts: list, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        engine_with().check(volume, prompts, "volume")


def test_organs_may_come_before_the_phrase(volume: Volume) -> None:
    engine = engine_with()
    engine.check(volume, [organ(volume)], "volume")
    found = engine.predict(volume, [organ(volume)], Context("volume"))
    assert found.patch.count == 0
    assert 'Type what to look for, for example "liver tumor"' in found.notes[0]


def test_a_tumor_that_was_not_taught_is_answered_with_a_warning(volume: Volume) -> None:
    network = BrightLesions()
    found = find(engine_with(network), volume, TextPrompt("spleen lesion"))
    assert network.seen[0]["tumor"].tolist() == [-1]
    assert any("were not taught spleen lesion" in note for note in found.notes)


def test_the_answer_names_the_experts_that_served_and_the_balance(volume: Volume) -> None:
    network = small_network(tumors=("liver_tumor",), organs=organ_ids(), patch=(16, 24, 20))
    found = find(engine_with(network), volume, organ(volume))
    assert found.expert.startswith("expert ")
    assert found.gate_weight is not None and 0 < found.gate_weight < 1
    (note,) = (note for note in found.notes if note.startswith("liver tumor, deepest level first: "))
    assert note.count("specific against generic experts") == network.config.mixtures
    assert f"{found.expert} ({found.gate_weight:.0%})" in note


def test_a_network_without_experts_answers_as_the_base(volume: Volume) -> None:
    network = small_network(tumors=("liver_tumor",), organs=organ_ids(), patch=(16, 24, 20), experts=False)
    assert find(engine_with(network), volume, organ(volume)).expert == "base"


def test_it_can_be_cancelled_in_the_middle_of_a_window(volume: Volume) -> None:
    network = small_network(tumors=("liver_tumor",), organs=organ_ids(), patch=(16, 24, 20))
    token, cache, layers = CancelToken(), EngineCache(), []

    def after_some_layers(*_) -> None:
        layers.append(1)
        if len(layers) == 30:
            token.cancel()

    handles = [layer.register_forward_hook(after_some_layers) for layer in network.backbone.modules()]
    with pytest.raises(Cancelled):
        find(engine_with(network), volume, cancel=token, cache=cache)
    assert len(layers) < 60
    assert len(cache.decoded) == 0
    for handle in handles:
        handle.remove()
    assert not any(module._forward_pre_hooks for module in network.modules())
    again = find(engine_with(network), volume, cache=cache)
    np.testing.assert_array_equal(mask_of(again, volume), mask_of(find(engine_with(network), volume), volume))


def test_reading_the_image_can_be_cancelled(volume: Volume) -> None:
    token, network = CancelToken(), BrightLesions()
    token.cancel()
    with pytest.raises(Cancelled):
        find(engine_with(network), volume, cancel=token)
    assert network.seen == []


def test_progress_rises_from_0_to_1_and_names_the_window(volume: Volume) -> None:
    told: list[tuple[float, str]] = []
    find(engine_with(), volume, progress=lambda done, text: told.append((done, text)))
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert 0.7 < shares[-1] <= 1
    assert told[-1][1] == f"window {len(told) - 1} of {len(told) - 1}"


def test_the_same_question_again_comes_from_the_cache(volume: Volume) -> None:
    network, cache = BrightLesions(), EngineCache()
    engine = engine_with(network)
    first = find(engine, volume, organ(volume), cache=cache)
    windows = len(network.seen)
    again = find(engine, volume, organ(volume), cache=cache)
    assert len(network.seen) == windows
    np.testing.assert_array_equal(again.patch.voxels, first.patch.voxels)
    assert again.notes == first.notes
    find(engine, volume, organ(volume, radius=20.0), cache=cache)
    assert len(network.seen) > windows


def test_more_overlap_is_more_windows_and_nearly_the_same_answer(volume: Volume) -> None:
    few, many = BrightLesions(), BrightLesions()
    first = find(engine_with(few), volume)
    second = find(engine_with(many).with_options(overlap=0.7), volume)
    assert len(many.seen) > len(few.seen)
    assert dice(mask_of(first, volume), mask_of(second, volume)) > 0.995
    with pytest.raises(PromptError, match="overlap by 0 to 0.9"):
        engine_with(overlap=1.0)


def test_the_preview_counts_windows_and_memory_without_looking(volume: Volume) -> None:
    network = BrightLesions()
    engine = engine_with(network)
    prompts = [TextPrompt("liver tumor"), organ(volume, radius=8.0)]
    cost, whole = engine.preview(volume, prompts), engine.preview(volume, prompts[:1])
    assert cost is not None and whole is not None
    assert network.seen == []
    assert cost.windows < whole.windows
    assert 0 < cost.bytes < whole.bytes
    find(engine_with(network, restrict=False), volume, *prompts)
    assert len(network.seen) == cost.windows
    assert engine.preview(volume, [TextPrompt("kidney tumor"), organ(volume)]) is None


def test_a_search_that_does_not_fit_into_memory_is_refused_before_it_begins(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mast_pro, "free_memory", lambda: 1_000_000)
    network = BrightLesions()
    with pytest.raises(ResourceError, match="Give the organ of the tumor or draw a box"):
        find(engine_with(network), volume)
    assert network.seen == []


def test_the_answer_does_not_depend_on_how_the_region_is_read(volume: Volume) -> None:
    """Read slab by slab it is what training reads at once."""
    from MoESegLib.engines.anatomy3d import anatomy_on_grid, dense_channels, spacing_of
    from MoESegLib.engines.tumor_image import on_grid, scale_of, tumor_grid
    from MoESegLib.engines.tumor_search import plan_search

    config = BrightLesions().config
    grid = tumor_grid(volume, 2.0)
    anatomy = anatomy_on_grid(volume, grid, [organ(volume)], BOOK.find("liver tumor").record)
    search = plan_search(volume, grid, anatomy, [], config, "volume")
    inputs = search.read(anatomy, config, lambda: None)
    region = tuple(slice(low, low + size) for low, size in zip(search.start, search.shape, strict=True))
    scale = scale_of(volume)
    whole = scale.channels(on_grid(volume, grid, outside=scale.outside), config.windows)
    expected = [*whole, *dense_channels(anatomy.target, spacing_of(grid)), anatomy.labels.astype(np.float32)]
    for found, channel in zip(inputs, expected, strict=True):
        np.testing.assert_allclose(found, channel[region].transpose(search.order), atol=2e-6)


def test_what_was_learned_in_slices_is_looked_for_slice_by_slice_in_a_volume_thinner_than_a_window() -> None:
    from MoESegLib.engines.anatomy3d import anatomy_on_grid, dense_channels, spacing_of
    from MoESegLib.engines.tumor_image import tumor_grid
    from MoESegLib.engines.tumor_search import plan_search

    thin = ramp_volume((12, 44, 46), np.diag([-2.0, -2.0, 2.0, 1.0]))
    network = BrightLesions()
    depth, slice_patch = network.config.patch[0], network.config.slice_patch
    found = find(engine_with(network, in_slices=["liver_tumor"]), thin, organ(thin))
    assert {tuple(seen["image"].shape[2:]) for seen in network.seen} == {(1, *slice_patch)}
    assert dice(found.patch.to_array(thin.shape) != 0, inside(thin)) > 0.95
    network.seen.clear()
    find(engine_with(network, in_slices=["kidney_tumor"]), thin, organ(thin))
    assert {seen["image"].shape[2] for seen in network.seen} == {depth}
    # Its organs are those of the slice, with the distance to their border within it.
    grid = tumor_grid(thin, 2.0)
    anatomy = anatomy_on_grid(thin, grid, [organ(thin)], BOOK.find("liver tumor").record)
    search = plan_search(thin, grid, anatomy, [], network.config, "volume", in_slices=True)
    inputs = search.read(anatomy, network.config, lambda: None)
    assert len(inputs[0]) == grid.shape[2] == 12
    r, a, _ = (slice(low, low + size) for low, size in zip(search.start, search.shape, strict=True))
    for k in (0, 5, 11):
        alone = dense_channels(anatomy.target[:, :, k : k + 1], spacing_of(grid))[:, r, a, 0]
        assert alone[0].any()
        np.testing.assert_allclose(inputs[2:4, k], alone.transpose(0, 2, 1), atol=2e-6)


def test_slices_are_answered_together_as_one_by_one_and_those_without_the_organ_not_at_all(monkeypatch) -> None:
    thin = ramp_volume((12, 44, 46), np.diag([-2.0, -2.0, 2.0, 1.0]))
    together, alone = BrightLesions(), BrightLesions()
    found = find(engine_with(together, in_slices=["liver_tumor"]), thin, organ(thin, radius=8.0))
    monkeypatch.setattr(sliding, "windows_at_once", lambda config, window: 1)
    expected = find(engine_with(alone, in_slices=["liver_tumor"]), thin, organ(thin, radius=8.0))
    np.testing.assert_array_equal(mask_of(found, thin), mask_of(expected, thin))
    sizes, ones = ([len(seen["image"]) for seen in network.seen] for network in (together, alone))
    cost = engine_with(alone, in_slices=["liver_tumor"]).preview(thin, [LIVER_TUMOR, organ(thin, radius=8.0)])
    assert set(ones) == {1} and cost is not None and sum(sizes) == len(ones) < cost.windows
    assert 1 < max(sizes) <= 16 * 24 * 20 // (32 * 40) == 6


def test_a_volume_that_fills_a_window_is_searched_as_a_volume(volume: Volume) -> None:
    network = BrightLesions()
    assert tumor_depth(volume) >= network.config.patch[0]
    find(engine_with(network, in_slices=["liver_tumor"]), volume)
    assert {seen["image"].shape[2] for seen in network.seen} == {network.config.patch[0]}


def tumor_depth(volume: Volume) -> int:
    """Axial slices of 2 mm."""
    from MoESegLib.engines.tumor_image import tumor_grid

    return tumor_grid(volume, 2.0).shape[2]


def test_no_window_is_looked_at_after_cancelling(volume: Volume) -> None:
    network, token = BrightLesions(), CancelToken()
    network.before = lambda: token.cancel() if len(network.seen) == 2 else None
    with pytest.raises(Cancelled):
        find(engine_with(network), volume, cancel=token)
    assert len(network.seen) == 3
