"""``moeseg evaluate``: what it prints, writes and refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from evaluation_tools import KINDS, BrightEngine, add_to_manifest, write_balls, write_case
from PIL import Image

from MoESegLib.cli import main
from MoESegLib.cli.evaluate_command import RunProgress
from MoESegLib.engines.expert_gate import Traits


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two sets of balls, and one of two classes."""
    folder = tmp_path / "data"
    folder.mkdir()
    write_balls(folder)
    write_balls(folder, "more", ("a", "b", "c"))
    image, labels = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    labels[2:12, 2:12], labels[20:35, 20:35] = 1, 2
    image[20:35, 20:35] = 200
    case = write_case(folder, "two", "x", "x", "val", image, labels)
    add_to_manifest(folder, "two", {"labels": {"1": "wart", "2": "ball"}}, [case])
    return folder


@pytest.fixture
def engines(home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, BrightEngine]:
    """What can be loaded: an engine without experts, one with, one whose base forgets, one that knows only boxes."""
    experts = {"balls": Traits(KINDS, ("ball",))}
    found = {
        "plain": BrightEngine(),
        "lite-medsam": BrightEngine(),
        "experts": BrightEngine("balls/1", radius=9, traits=experts),
        "forgets": BrightEngine("balls/0", radius=9, traits=experts, spoiled=True),
        "boxes": BrightEngine(understands=frozenset({"box"})),
    }
    monkeypatch.setattr("MoESegLib.engines.load_engine", lambda name, **options: found[name])
    return found


def evaluate(data: Path, *words: str, sets: str = "balls") -> int:
    return main(["evaluate", "--data", str(data), "--set", sets, "--min-pixels", "20", *words])


def lines_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_one_run_compares_engines_on_several_sets_and_leaves_four_files(
    data: Path, engines, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "out"
    words = ["--engine", "plain,experts", "--protocol", "box,clicks:4", "--out", str(out)]
    assert evaluate(data, *words, sets="balls,more") == 0
    text = capsys.readouterr().out
    assert text == (out / "results.md").read_text()
    header = "| set | structure | prompt | masks | patients | plain | experts | difference |"
    assert text.count(header) == 2  # Dice and NSD; sets of one class need no table of their classes
    assert "| balls | all | box | 2 | 2 | 1.000 ± 0.000 [1.000, 1.000] | 1.000 ± 0.000" in text
    assert "| all sets (mean) | all | clicks:4, click 3 | 5 | 5 |" in text
    assert "clicks:4, click 2" not in text
    assert "| balls | clicks:4 | 0.80 |" in text
    assert "- experts: expert balls, taught ball" in text
    scores = lines_of(out / "scores.csv")
    assert len(scores) == 2 * 5 * (1 + 4)
    assert {line["expert"] for line in scores if line["engine"] == "experts"} == {"balls/1"}
    summary = lines_of(out / "summary.csv")
    assert [line for line in summary if line["protocol"] == "clicks:4" and line["click"] == "2"]
    box = next(
        line for line in summary if (line["set"], line["structure"], line["engine"]) == ("more", "all", "experts")
    )
    dices = [
        float(line["dice"])
        for line in scores
        if (line["dataset"], line["engine"], line["protocol"]) == ("more", "experts", "box")
    ]
    assert float(box["dice"]) == pytest.approx(np.mean(dices), abs=1e-6)
    with Image.open(out / "curves.png") as picture:
        colors = {color for _, color in picture.convert("RGB").getcolors(1 << 20) or []}
    assert (0, 90, 181) in colors
    assert (220, 80, 20) in colors
    assert not (out / "scores.partial.csv").exists()


def test_structures_of_a_set_of_several_get_a_table_of_their_own(data: Path, engines, capsys) -> None:
    assert evaluate(data, "--model", "plain", "--protocol", "box", sets="two") == 0
    text = capsys.readouterr().out
    assert "### Dice by structure" in text
    assert "| two | wart | box | 1 | 1 | 0.000 |" in text
    assert evaluate(data, "--engine", "plain", "--protocol", "box", "--class", "ball", sets="two") == 0
    assert "wart" not in capsys.readouterr().out


def test_a_protocol_that_one_engine_does_not_understand_is_a_dash(data: Path, engines, capsys) -> None:
    assert evaluate(data, "--engine", "boxes,plain", "--protocol", "text,auto") == 0
    text = capsys.readouterr().out
    assert "| balls | all | text | 2 | 2 | – | 1.000 ± 0.000 [1.000, 1.000] | – |" in text
    assert "- boxes, auto: does not understand automatic prompts" in text


def test_forgetting_is_reported_and_a_base_that_changed_is_an_error(data: Path, engines, capsys) -> None:
    assert evaluate(data, "--engine", "plain,experts", "--forgetting", sets="two") == 0
    text = capsys.readouterr().out
    assert "to the last voxel, for 4 of 4 masks (first prompts of all structures): non-forgetting holds" in text
    section = text[text.index("## Forgetting") :]
    assert "| two | wart | box |" in section
    assert "| two | ball | box |" not in section
    assert "| two | box | 100 % | 0 % |" in text  # who answered
    assert evaluate(data, "--engine", "plain,forgets", "--forgetting", sets="two") == 1
    assert "IS BROKEN" in capsys.readouterr().out
    assert evaluate(data, "--engine", "experts,plain", "--forgetting", sets="two") == 2
    assert evaluate(data, "--engine", "plain", "--forgetting", sets="two") == 2
    assert "must have none" in capsys.readouterr().err


def test_json_holds_every_number(data: Path, engines, capsys) -> None:
    assert evaluate(data, "--engine", "plain,experts", "--protocol", "clicks:2", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert {row["click"] for row in result["rows"]} == {1, 2}
    assert result["rows"][0]["dice_change"] is None
    assert [entry["engine"] for entry in result["answered_by"]] == ["experts", "experts"]
    assert result["base_unchanged"] == [{"engine": "experts", "compared": 2, "same": 2}]
    assert {entry["threshold"] for entry in result["clicks_to_reach"]} == {0.8, 0.85, 0.9}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--protocol", "wishes"], "Unknown protocol 'wishes'"),
        (["--protocol", "clicks:0"], "1 to 100 clicks"),
        (["--engine", "plain,plain"], "asked for twice"),
        (["--set", "cubes"], "no set 'cubes'; it holds balls, more, two"),
        (["--class", "liver"], "no set holds the class 'liver'"),
        (["--split", "test"], "no images in the split 'test'"),
        (["--limit", "0"], "--limit 0: 1 or more"),
        (["--max-slices", "-1"], "--max-slices -1"),
        (["--tolerance", "-1"], "--tolerance -1.0"),
        (["--tolerance", "nan"], "--tolerance nan"),
        (["--min-pixels", "100000"], "holds a structure of at least 100000 pixels"),
    ],
)
def test_bad_arguments_are_refused_with_what_would_be_good(data: Path, engines, capsys, words, said) -> None:
    assert evaluate(data, *words) == 2
    assert said.lower() in capsys.readouterr().err.lower()


def test_a_place_that_cannot_be_written_and_earlier_results_are_refused_before_any_work(
    data: Path, engines, tmp_path: Path, capsys
) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "no" / "folder"):
        assert evaluate(data, "--engine", "plain", "--out", str(place)) == 2
    out = tmp_path / "out"
    assert evaluate(data, "--engine", "plain", "--out", str(out)) == 0
    before = (out / "scores.csv").read_bytes()
    asked = len(engines["plain"].asked)
    assert evaluate(data, "--engine", "plain", "--out", str(out)) == 2
    assert "--replace" in capsys.readouterr().err
    assert len(engines["plain"].asked) == asked
    assert evaluate(data, "--engine", "plain", "--out", str(out), "--replace") == 0
    assert (out / "scores.csv").read_bytes() == before


def test_ctrl_c_leaves_what_was_measured_marked_as_partial(data: Path, engines, tmp_path: Path, capsys) -> None:
    engine, out = engines["plain"], tmp_path / "out"

    def interrupt_at_the_third() -> None:
        if len(engine.asked) == 2:
            raise KeyboardInterrupt

    engine.before_predict = interrupt_at_the_third
    assert evaluate(data, "--engine", "plain", "--protocol", "box,click", "--out", str(out)) == 130
    assert "2 scores so far are in" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["scores.partial.csv"]
    assert [line["case"] for line in lines_of(out / "scores.partial.csv")] == ["balls-0", "balls-0"]
    engine.asked.clear()
    engine.before_predict = lambda: (_ for _ in ()).throw(KeyboardInterrupt)
    assert evaluate(data, "--engine", "plain", "--out", str(out)) == 130
    assert list(out.iterdir()) == []
    assert "nothing was written" in capsys.readouterr().err


def test_a_log_gets_a_line_a_minute_with_the_time_left(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with RunProgress(quiet=False) as progress:
        for minute, fraction in enumerate((0.0, 0.1, 0.2)):
            now[0] = 1000 + 45 * minute
            progress(fraction, "balls: x")
    assert capsys.readouterr().err == "20 %, 6 min left, balls: x\n"
