"""Runs on volumes: engines that answer in 3D, asked by a simulated user who clicks and boxes in 3D."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from evaluation_tools import BrightEngine, Painter, add_to_manifest, write_balls, write_case, write_rods
from fakes3d import BrightRegion, Oracle, ball_depth
from moe_tools import tiny_base

from MoESegLib.core.errors import PromptError, VolumeError
from MoESegLib.core.geometry import transform_points
from MoESegLib.core.prompts import BoxPrompt, PointPrompt, ScribblePrompt
from MoESegLib.core.volume import Volume
from MoESegLib.engines.sam_med3d import SamMed3DModel
from MoESegLib.engines.volume_engine import VolumeEngine
from MoESegLib.evaluation.contestants import Contestant, contestant, in_volumes, parse_engines
from MoESegLib.evaluation.datasets import read_cases
from MoESegLib.evaluation.forgetting import confusion_rows, gate_rows, identities, unchanged_share
from MoESegLib.evaluation.metrics import dice, surface_dice
from MoESegLib.evaluation.protocols import parse_protocols
from MoESegLib.evaluation.run import Plan, evaluate
from MoESegLib.evaluation.summary import ALL, efforts, summarize
from MoESegLib.resources import resource_path

TAUGHT = {"rods": SimpleNamespace(classes=("thin rod",))}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_rods(tmp_path)
    return tmp_path


def run(data: Path, contestants, protocols: str, dataset: str = "rods", least: int = 20, **changes):
    plan = Plan(tuple(parse_protocols(protocols)), least_pixels=least, **changes)
    return evaluate(contestants, read_cases(data, dataset), plan)


def named(text: str, engine: VolumeEngine) -> Contestant:
    return contestant(parse_engines([text])[0], engine)


def test_a_perfect_engine_has_dice_1_and_needs_one_click(data: Path) -> None:
    engine = Painter()
    scores = run(data, [Contestant("perfect", engine)], "clicks:3,box,scribble")
    assert {(score.case, score.structure) for score in scores} == {
        (case, rod) for case in ("rods-0", "rods-1") for rod in ("thick rod", "thin rod")
    }
    assert all(score.slice is None for score in scores)
    assert {score.dice for score in scores if score.structure == "thick rod"} == {1.0}
    clicks = [score for score in scores if score.protocol == "clicks:3"]
    assert {(score.dice, score.nsd) for score in clicks} == {(1.0, 1.0)}
    assert len([prompts for prompts in engine.asked if isinstance(prompts[0], PointPrompt)]) == 4  # nothing to correct
    assert {(entry.threshold, entry.clicks, entry.never) for entry in efforts(scores)} == {
        (threshold, 1.0, 0.0) for threshold in (0.8, 0.85, 0.9)
    }


def test_the_dice_of_a_part_is_what_counting_by_hand_gives(data: Path) -> None:
    """The smaller piece of the thin rod is not found from a click into the larger one."""
    scores = run(data, [Contestant("near", Painter({"base": 6.7}))], "clicks:2")
    thin = [score for score in scores if (score.case, score.structure) == ("rods-0", "thin rod")]
    large, small = 5 * 5 * 5, 3 * 4 * 4
    assert [score.pixels for score in thin] == [large + small] * 2
    assert [score.dice for score in thin] == pytest.approx([2 * large / (2 * large + small), 1.0])


def test_the_first_click_is_at_the_center_in_millimeters_and_the_box_is_tight(data: Path) -> None:
    engine = Painter()
    run(data, [Contestant("perfect", engine)], "click,box,scribble")
    volume = Volume.read(data / "rods-0_img.nii.gz")
    click, box, stroke = (prompts[0] for prompts in (engine.asked[0], engine.asked[2], engine.asked[4]))
    assert isinstance(click, PointPrompt)
    assert isinstance(box, BoxPrompt)
    assert isinstance(stroke, ScribblePrompt)
    assert click.plane is box.plane is None
    np.testing.assert_allclose(volume.ras_to_ijk(click.ras), (5, 6, 7), atol=1e-4)
    np.testing.assert_allclose(volume.ras_to_ijk(box.corner_a), (3, 3, 2), atol=1e-4)
    np.testing.assert_allclose(volume.ras_to_ijk(box.corner_b), (8, 10, 13), atol=1e-4)
    ijk = volume.ras_to_ijk(stroke.points)
    assert stroke.plane == volume.plane_of(volume.acquisition_axis)
    assert len(set(np.rint(ijk[:, volume.acquisition_axis]))) == 1
    assert all(volume.array[tuple(np.rint(place).astype(int)[::-1])] == 50 for place in ijk)


def test_every_click_is_a_prompt_more_and_the_same_run_gives_the_same_scores(data: Path) -> None:
    engine = Painter({"base": 3.0})
    first = run(data, [Contestant("near", engine)], "clicks:5")
    assert [len(prompts) for prompts in engine.asked[:5]] == [1, 2, 3, 4, 5]
    assert len({prompt.ras for prompt in engine.asked[4]}) == 5
    curve = [score.dice for score in first if (score.case, score.structure) == ("rods-1", "thick rod")]
    assert curve == sorted(curve)
    assert curve[-1] > curve[0]
    assert run(data, [Contestant("near", Painter({"base": 3.0}))], "clicks:5") == first


def test_general_specialist_and_mixture_are_columns_of_one_run(data: Path) -> None:
    engine = Painter({"base": 4.0, "rods": np.inf}, "rods", TAUGHT)
    three = [named(text, engine) for text in ("painter:base", "painter:rods", "painter")]
    assert [(one.label, one.expert, list(one.packs)) for one in three] == [
        ("painter:base", "base", []),
        ("painter:rods", "rods", ["rods"]),
        ("painter", None, ["rods"]),
    ]
    scores = run(data, three, "clicks:3")
    assert {(score.engine, score.expert) for score in scores} == {
        ("painter:base", "base"), ("painter:rods", "rods"), ("painter", "rods"),
    }  # fmt: skip
    cells = next(row.cells for row in summarize(scores) if (row.structure, row.click) == (ALL, 1))
    general, special, mixture = (cell.dice.mean for cell in cells if cell.dice is not None)
    assert general < special == mixture == 1
    # Only the gate chooses; of the thin rods, which it should, it knows all.
    rows = gate_rows(scores, three)
    assert {(row.engine, row.shares["rods"], row.taught) for row in rows} == {("painter", 1.0, 1.0)}
    first = [row for row in confusion_rows(scores, three) if row.click == 1]
    assert [(row.engine, row.taught, row.masks, row.shares) for row in first] == [
        ("painter", ("rods",), 2, {"rods": 1.0}),
        ("painter", (), 2, {"rods": 1.0}),
    ]
    assert [(entry.engine, entry.compared, entry.same) for entry in identities(scores, three)] == [
        ("painter:rods", 4, 4),
        ("painter", 4, 4),
    ]
    assert unchanged_share(scores, "painter") == 0


def test_an_expert_that_is_not_there_is_refused_before_any_work() -> None:
    engine = Painter({"base": 4.0, "rods": 9.0}, "rods", TAUGHT)
    with pytest.raises(PromptError, match="painter has no expert 'spine'; it has base, rods"):
        named("painter:spine", engine)
    for text in ("painter:", ":base", "painter:+none"):
        with pytest.raises(PromptError, match="NAME:EXPERT"):
            parse_engines([text])
    name = parse_engines(["segmote-lite:liver/2+liver+spleen"])[0]
    assert (name.label, name.model, name.experts, name.expert) == (
        "segmote-lite:liver/2+liver+spleen", "segmote-lite", ("liver", "spleen"), "liver/2",
    )  # fmt: skip


def test_engines_of_slices_and_for_volumes_are_not_compared(data: Path) -> None:
    both = [Contestant("plane", BrightEngine()), Contestant("space", Painter())]  # type: ignore[arg-type]
    with pytest.raises(PromptError, match="space segments whole volumes and plane single slices"):
        run(data, both, "click")
    assert in_volumes(both[1:])
    assert not in_volumes(both[:1])
    with pytest.raises(PromptError, match="--max-slices"):
        run(data, both[1:], "click", max_slices=2)


def test_2d_images_are_refused_and_pictures_before_any_volume_is_asked(tmp_path: Path) -> None:
    write_rods(tmp_path)
    write_balls(tmp_path)
    engine = Painter()
    cases = [*read_cases(tmp_path, "rods"), *read_cases(tmp_path, "balls")]
    plan = Plan(tuple(parse_protocols("click")), least_pixels=20)
    with pytest.raises(VolumeError, match=r"balls-0 is a 2D image.*lite-medsam"):
        evaluate([Contestant("space", engine)], cases, plan)
    assert not engine.asked
    labels = np.zeros((1, 20, 20), np.uint8)
    labels[0, 5:15, 5:15] = 1
    case = write_case(tmp_path, "thin", "one", "one", "val", 99 * labels, labels, "nii.gz")
    add_to_manifest(tmp_path, "thin", {"labels": {"1": "square"}}, [case])
    with pytest.raises(VolumeError, match="one is a 2D image"):
        run(tmp_path, [Contestant("space", engine)], "click", "thin")


def test_what_an_engine_for_volumes_cannot_be_asked_is_a_dash_with_the_reason(data: Path) -> None:
    scores = run(data, [Contestant("space", Painter())], "text,auto,raw-click,click")
    rows = {row.protocol: row.cells[0] for row in summarize(scores) if row.structure == ALL}
    assert [protocol for protocol, cell in rows.items() if cell.dice is None] == ["text", "auto", "raw-click"]
    assert rows["raw-click"].reasons[0].startswith("raw-click is for engines of slices")
    assert rows["click"].dice is not None


def test_the_base_inside_a_mixture_is_held_against_the_base_also_where_crops_are_joined(tmp_path: Path) -> None:
    """The rod is longer than a crop, so that the expert and the base are asked in several ones."""
    labels = np.zeros((16, 16, 120), np.uint8)
    labels[5:11, 5:11, 10:110] = 1
    case = write_case(tmp_path, "long", "one", "one", "val", 60 + 200 * labels.astype(np.int16), labels, "nii.gz")
    add_to_manifest(tmp_path, "long", {"labels": {"1": "rod"}}, [case])
    alone, mixed, broken = (BrightRegion(names, spacing=1.0) for names in (("base",), ("x", "base"), ("x", "base")))
    for number, model in enumerate((alone, mixed, broken)):
        model.decoder_id = f"decoder {number}"
    mixed.traits = broken.traits = {"x": SimpleNamespace(classes=("rod",))}  # type: ignore[attr-defined]
    broken.answer = lambda pixels, to_ras, prompt: tuple(  # type: ignore[method-assign]
        type(one)(one.expert, one.logits - 5) for one in BrightRegion.answer(broken, pixels, to_ras, prompt)
    )
    engines = [named(label, VolumeEngine(model)) for label, model in zip("abc", (alone, mixed, broken), strict=True)]
    scores = run(tmp_path, engines, "click", "long")
    assert scores[0].dice > 0.95
    assert len({crop.key for crop in alone.crops}) > 2
    assert [(entry.engine, entry.holds) for entry in identities(scores, engines)] == [("b", True), ("c", False)]


def test_a_ball_that_an_oracle_knows_is_found_with_a_small_error(tmp_path: Path) -> None:
    shape, center, radius = (24, 40, 40), np.array([-20.0, -20.0, 24.0]), 12.0
    matrix = np.diag([-1.0, -1.0, 2.0, 1.0])
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)[..., ::-1]
    depth = ball_depth(center, radius)(transform_points(matrix, index))
    labels = (depth > 0).astype(np.uint8)
    image = (100 * labels + index[..., 0]).astype(np.int16)
    case = write_case(tmp_path, "ball", "one", "one", "val", image, labels, "nii.gz", (1.0, 1.0, 2.0))
    add_to_manifest(tmp_path, "ball", {"labels": {"1": "ball"}}, [case])
    engine = VolumeEngine(Oracle(ball_depth(center, radius), crop_size=32, spacing=1.5, mask_grid=32))
    (score,) = run(tmp_path, [Contestant("oracle", engine)], "click", "ball")
    assert score.dice > 0.98
    assert score.nsd == 1.0


def test_a_real_ct_goes_through_a_small_network(tmp_path: Path) -> None:
    case = {
        "set": "demo", "case": "ct", "group": "one", "split": "val",
        "image": str(resource_path("Demo", "ct")), "label": str(resource_path("Demo", "labels.nii.gz")),
    }  # fmt: skip
    add_to_manifest(tmp_path, "demo", {"labels": {"52": "aorta"}, "modality": "CT"}, [case])
    model = SamMed3DModel("tiny", tiny_base(), "0" * 64, torch.device("cpu"))
    engine = VolumeEngine(model, max_crops=1)
    cases = read_cases(tmp_path, "demo", classes=["aorta"])
    plan = Plan(tuple(parse_protocols("clicks:2")))
    scores = evaluate([Contestant("tiny", engine)], cases, plan)
    assert [(score.click, score.refusal, score.structure) for score in scores] == [(1, "", "aorta"), (2, "", "aorta")]
    volume, labels = cases[0].load()
    assert scores[0].pixels == np.count_nonzero(labels == 52) > 1000
    assert evaluate([Contestant("tiny", engine)], cases, plan) == scores


def test_surface_dice_in_volumes_counts_voxels_of_the_surface_within_millimeters() -> None:
    cube, moved = np.zeros((12, 12, 12), bool), np.zeros((12, 12, 12), bool)
    cube[3:8, 3:8, 3:8] = True
    moved[4:9, 3:8, 3:8] = True
    surface = 5**3 - 3**3
    # The four layers that overlap share their side walls of 16 voxels; the ends of both lie off the other's surface but
    # for the rims.
    assert surface_dice(cube, moved, 0) == pytest.approx(2 * 4 * 16 / (2 * surface))
    assert surface_dice(cube, moved, 2, (2, 1, 1)) == 1
    assert surface_dice(cube, moved, 1.9, (2, 1, 1)) < 1
    assert surface_dice(cube, moved, 1.9, (1, 2, 2)) == 1
    assert dice(cube, moved) == pytest.approx(0.8)
