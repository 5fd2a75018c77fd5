"""Whole runs on small sets with engines whose answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from evaluation_tools import KINDS, BrightEngine, add_to_manifest, write_balls, write_case
from fakes import ThresholdModel

from MoESegLib.core.cancel import CancelToken
from MoESegLib.core.errors import Cancelled, PromptError
from MoESegLib.core.prompts import PointPrompt
from MoESegLib.engines.cache import DiskCache, EngineCache
from MoESegLib.engines.slice_engine import SliceEngine
from MoESegLib.evaluation.contestants import Contestant, parse_engines
from MoESegLib.evaluation.datasets import read_cases
from MoESegLib.evaluation.forgetting import gate_rows, identities, unchanged_share, untaught
from MoESegLib.evaluation.protocols import parse_protocols
from MoESegLib.evaluation.run import Plan, evaluate
from MoESegLib.evaluation.summary import ALL, efforts, summarize


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_balls(tmp_path)
    return tmp_path


def plan(protocols: str, **changes) -> Plan:
    return Plan(tuple(parse_protocols(protocols)), least_pixels=20, **changes)


def bright(label: str, **options) -> Contestant:
    packs = {options["expert"].partition("/")[0]: ("ball",)} if "expert" in options else {}
    return Contestant(label, BrightEngine(**options), packs)  # type: ignore[arg-type]


def run(data: Path, contestants, protocols: str, dataset: str = "balls", **changes):
    return evaluate(contestants, read_cases(data, dataset), plan(protocols, **changes))


def test_every_structure_is_scored_under_every_protocol(data: Path) -> None:
    engine = Contestant("threshold", SliceEngine(ThresholdModel()))
    scores = run(data, [engine], "box,click,raw-click")
    assert {(score.case, score.protocol, score.structure) for score in scores} == {
        (case, protocol, "ball") for case in ("balls-0", "balls-1") for protocol in ("box", "click", "raw-click")
    }
    rows = {row.protocol: row for row in summarize(scores) if row.structure == ALL}
    means = {protocol: row.cells[0].dice.mean for protocol, row in rows.items() if row.cells[0].dice}
    assert means["box"] > 0.9
    assert means["click"] > 0.85
    assert means["raw-click"] < means["click"]
    assert (rows["box"].masks, rows["box"].patients) == (2, 2)


def test_the_same_run_gives_the_same_scores(data: Path) -> None:
    first, second = (
        run(data, [Contestant("a", SliceEngine(ThresholdModel(frozenset({"box", "point"}))))], "box,clicks:4,scribble")
        for _ in range(2)
    )
    assert first == second


def test_every_click_is_one_prompt_more_and_never_makes_a_radius_engine_worse(data: Path) -> None:
    engine = bright("small")
    scores = run(data, [engine], "clicks:6")
    asked = engine.engine.asked  # type: ignore[attr-defined]
    assert [len(prompts) for prompts in asked[:6]] == [1, 2, 3, 4, 5, 6]
    assert all(isinstance(prompt, PointPrompt) for prompts in asked for prompt in prompts)
    curve = [score.dice for score in scores if score.case == "balls-1"]
    assert len(curve) == 6
    assert curve == sorted(curve)
    assert curve[-1] > curve[0]


def test_a_perfect_answer_ends_the_clicks_and_keeps_the_curve_whole(data: Path) -> None:
    engine = bright("large", radius=99, expert="ball/0")
    scores = run(data, [engine], "clicks:5")
    assert [score.dice for score in scores] == [1.0] * 10
    assert [score.click for score in scores] == [1, 2, 3, 4, 5] * 2
    assert len(engine.engine.asked) == 2  # type: ignore[attr-defined]


def test_the_first_prompt_is_the_same_for_every_engine_and_for_click_and_clicks(data: Path) -> None:
    engines = [bright("one"), bright("two", expert="ball/1", radius=3)]
    run(data, engines, "box,click,clicks:2,scribble,text,auto")
    first, second = (
        [prompts[0].content for prompts in engine.engine.asked if len(prompts) == 1]  # type: ignore[attr-defined]
        for engine in engines
    )
    assert first == second
    points = [content for content in first if content[0] == "point"]
    assert points[0] == points[1]  # click, and the first of two


def test_a_phrase_names_the_class_and_neither_it_nor_auto_points_at_the_target(data: Path) -> None:
    engine = bright("all")
    scores = run(data, [engine], "text,auto")
    prompts = [prompts[0] for prompts in engine.engine.asked]  # type: ignore[attr-defined]
    assert {prompt.kind for prompt in prompts} == {"text", "automatic"}
    assert all(prompt.plane == "axial" for prompt in prompts)
    assert [prompt.text for prompt in prompts if prompt.kind == "text"] == ["ball", "ball"]
    centers = {tuple(np.rint(prompt.ras).astype(int)) for prompt in prompts}
    assert centers == {(-30, -30, 0)}  # of the slice
    assert [score.dice for score in scores] == [1.0] * 4


def test_what_an_engine_does_not_understand_is_a_dash_and_no_failure(data: Path) -> None:
    plain = bright("plain", understands=frozenset({"box", "point"}))
    scores = run(data, [plain, bright("words")], "box,text")
    row = next(row for row in summarize(scores) if row.protocol == "text" and row.structure == ALL)
    assert row.cells[0].dice is None
    assert row.cells[0].reasons == ("does not understand text prompts",)
    assert row.cells[1].dice is not None
    assert row.cells[1].dice.mean == 1
    assert row.cells[1].dice_change is None
    assert all(score.same_mask is None for score in scores if score.protocol == "text")


def test_refused_phrases_count_as_nothing_found(tmp_path: Path) -> None:
    image, labels = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    labels[2:12, 2:12], labels[20:35, 20:35] = 1, 2
    image[20:35, 20:35] = 200
    case = write_case(tmp_path, "two", "a", "a", "val", image, labels)
    add_to_manifest(tmp_path, "two", {"labels": {"1": "wart", "2": "ball"}}, [case])
    scores = run(tmp_path, [bright("picky", phrases=("ball",))], "text", "two")
    by_structure = {row.structure: row.cells[0] for row in summarize(scores)}
    assert by_structure["wart"].dice is None
    assert "wart" in by_structure["wart"].reasons[0]
    assert by_structure["ball"].dice.mean == 1
    assert by_structure[ALL].dice.mean == 0.5
    assert by_structure[ALL].refused == 1


def test_differences_are_paired_and_sets_count_the_same(tmp_path: Path) -> None:
    write_balls(tmp_path, "few", ("p1", "p2"), train=0)
    write_balls(tmp_path, "many", ("p1", "p2", "p3", "p4"), train=0)
    engines = [bright("base", radius=4), bright("better", expert="ball/0", radius=9)]
    scores = [score for name in ("few", "many") for score in run(tmp_path, engines, "click", name)]
    rows = {row.dataset: row for row in summarize(scores) if row.structure == ALL}
    assert list(rows) == ["few", "many", ALL]
    for name in ("few", "many"):
        values = [[s.dice for s in scores if (s.dataset, s.engine) == (name, e)] for e in ("base", "better")]
        first, second = rows[name].cells
        assert (first.dice.mean, second.dice.mean) == pytest.approx((np.mean(values[0]), np.mean(values[1])))
        change = second.dice_change
        assert change.mean == pytest.approx(np.mean(values[1]) - np.mean(values[0]))
        assert change.low <= change.mean <= change.high
        assert first.dice_change is None
    means = [rows[name].cells[1].dice.mean for name in ("few", "many")]
    assert rows[ALL].cells[1].dice.mean == pytest.approx(np.mean(means))
    assert (rows[ALL].masks, rows[ALL].patients) == (6, 6)


def test_one_patient_has_no_interval(tmp_path: Path) -> None:
    write_balls(tmp_path, patients=("p", "p"), train=0)
    row = summarize(run(tmp_path, [bright("one")], "box"))[0]
    assert (row.masks, row.patients) == (2, 1)
    assert row.cells[0].dice.low is None


def test_clicks_to_reach_a_dice_count_what_never_gets_there_as_one_more(data: Path) -> None:
    engines = [bright("hopeless", radius=1), bright("perfect", expert="ball/0", radius=99)]
    found = {(entry.engine, entry.threshold): entry for entry in efforts(run(data, engines, "clicks:3,box"))}
    assert (found["hopeless", 0.9].clicks, found["hopeless", 0.9].never) == (4, 1)
    assert (found["perfect", 0.9].clicks, found["perfect", 0.9].never) == (1, 0)
    assert len(found) == 6


def test_the_base_inside_an_engine_with_experts_is_held_against_the_base_alone(data: Path) -> None:
    experts = {"expert": "ball/0", "radius": 3}
    engines = [bright("base"), bright("sound", **experts), bright("broken", **experts, spoiled=True)]
    scores = run(data, engines, "box,clicks:2")
    sound, broken = identities(scores, engines)
    assert (sound.engine, sound.compared, sound.same, sound.holds) == ("sound", 4, 4, True)
    assert (broken.engine, broken.compared, broken.same, broken.holds) == ("broken", 4, 0, False)
    assert all(score.same_base is None for score in scores if score.click > 1 or score.engine == "base")
    boxes = [score for score in scores if score.protocol == "box"]
    assert unchanged_share(boxes, "sound") == 1
    assert unchanged_share([score for score in scores if score.protocol != "box"], "sound") == 0
    assert identities(scores, engines[1:]) == []


def test_only_structures_that_no_expert_was_taught_are_in_the_forgetting_report(tmp_path: Path) -> None:
    image, labels = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    labels[2:12, 2:12], labels[20:35, 20:35] = 1, 2
    case = write_case(tmp_path, "two", "a", "a", "val", image, labels)
    add_to_manifest(tmp_path, "two", {"labels": {"1": "kidney_left", "2": "ball"}}, [case])
    taught = Contestant("taught", BrightEngine("kidneys/0"), {"kidneys": ("left kidney",)})  # type: ignore[arg-type]
    scores = run(tmp_path, [bright("base"), taught], "box", "two")
    assert {score.structure for score in untaught(scores, [taught])} == {"ball"}


def test_who_answered_is_told_by_pack_and_set(data: Path) -> None:
    engines = [bright("base"), bright("experts", expert="ball/3")]
    scores = run(data, engines, "box,clicks:2")
    rows = gate_rows(scores, engines)
    assert [(row.engine, row.protocol, row.click, row.shares, row.taught) for row in rows] == [
        ("experts", "box", 1, {"ball": 1.0}, 1.0),
        ("experts", "clicks:2", 1, {"ball": 1.0}, 1.0),
        ("experts", "clicks:2", 2, {"ball": 1.0}, 1.0),
    ]
    wrong = Contestant("experts", engines[1].engine, {"ball": ("cube",), "other": ("Balls", "ball")})
    assert [row.taught for row in gate_rows(scores, [wrong])] == [0, 0, 0]
    neither = Contestant("experts", engines[1].engine, {"ball": ("cube",)})
    assert [row.taught for row in gate_rows(scores, [neither])] == [None, None, None]


def test_engines_on_one_encoder_encode_an_image_once_and_runs_share_a_folder(data: Path, tmp_path: Path) -> None:
    cache = EngineCache(disk=DiskCache(tmp_path / "kept"))
    first, second, third = (SliceEngine(ThresholdModel()) for _ in range(3))
    cases = read_cases(data, "balls")
    before = evaluate([Contestant("a", first), Contestant("b", second)], cases, plan("box,clicks:3"), cache)
    assert (first.model.encoded, second.model.encoded) == (2, 0)
    again = EngineCache(disk=DiskCache(tmp_path / "kept"))
    after = evaluate([Contestant("a", third)], cases, plan("box,clicks:3"), again)
    assert third.model.encoded == 0
    assert [score for score in before if score.engine == "a"] == after


def test_a_run_can_be_cancelled_between_masks_and_tells_how_far_it_is(data: Path) -> None:
    engine, cancel, told, kept = bright("slow"), CancelToken(), [], []
    engine.engine.before_predict = lambda: cancel.cancel() if engine.engine.asked else None  # type: ignore[attr-defined]
    with pytest.raises(Cancelled):
        evaluate(
            [engine], read_cases(data, "balls"), plan("box,click,clicks:2"), cancel=cancel,
            progress=lambda fraction, message: told.append((fraction, message)), on_scores=kept.extend,
        )  # fmt: skip
    assert told == [(0.0, "balls: balls-0")]
    assert len(engine.engine.asked) == 2  # type: ignore[attr-defined]
    assert kept == []


def test_engines_and_protocols_are_read_from_words() -> None:
    names = parse_engines(["lite-medsam, segmote-lite+none", "segmote-lite+liver+/x/own.safetensors", "segmote-lite"])
    assert [(name.label, name.model, name.experts) for name in names] == [
        ("lite-medsam", "lite-medsam", None),
        ("segmote-lite+none", "segmote-lite", ()),
        ("segmote-lite+liver+own", "segmote-lite", ("liver", Path("/x/own.safetensors"))),
        ("segmote-lite", "segmote-lite", None),
    ]
    for wrong in ("", "a+", "+liver", "a,a", "a+none+liver"):
        with pytest.raises(PromptError):
            parse_engines([wrong])
    assert [(p.name, p.kind, p.steps) for p in parse_protocols("box, clicks:12")] == [
        ("box", "box", 1), ("clicks:12", "clicks", 12)
    ]  # fmt: skip
    for wrong in ("", "wishes", "clicks", "clicks:0", "clicks:101", "clicks:-1", "box,box", "click:3"):
        with pytest.raises(PromptError):
            parse_protocols(wrong)
    assert {p.prompt_kind for p in parse_protocols("box,click,clicks:2,scribble,text,auto")} == KINDS
