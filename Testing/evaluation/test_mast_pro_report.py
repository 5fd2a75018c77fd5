"""The evaluation of MAST-Pro goes on where it stopped, and its tables keep the networks apart."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from mast_pro_tools import small_network

from MoESegLib.core.errors import WeightsError
from MoESegLib.core.results import MaskPatch, Prediction, ProbabilityMap
from MoESegLib.engines.tumor_notes import Doubt, doubt_of
from MoESegLib.models.mast_pro import base_sha256, read_base, round_to_half, write_base
from MoESegLib.training.tumor_held_out import HeldOutSpec
from MoESegLib.weights.store import sha256_of

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SPECS = [HeldOutSpec(dataset, "STS_001", "STS_001") for dataset in ("ct", "mr", "pet")]
DICE = {"full": 0.9, "poor": 0.25, "late": 0.5}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("mast_pro_answers")


def ask(answers: ModuleType, file, models: list[str]) -> list[str]:
    """Ask what was not asked yet; returns who was asked about what."""
    asked = []
    for spec in SPECS:
        for model in models:
            if file.has(model, spec):
                continue
            asked.append(f"{model} {spec.dataset}")
            told = (spec.dataset, spec.name, spec.patient, "soft_tissue_sarcoma")
            file.add(model, spec, [answers.Answer(model, "real", *told, DICE[model], 0.5, None, 1, 1, 0, 10, 10)])
        file.save()
    return asked


def test_only_what_was_not_asked_is_asked_also_where_images_of_a_patient_have_one_name(answers, tmp_path: Path) -> None:
    models = {"full": "1", "poor": "2"}
    assert len(ask(answers, answers.AnswerFile(tmp_path, "list", models), list(models))) == 6
    file = answers.AnswerFile(tmp_path, "list", {**models, "late": "3"})
    assert ask(answers, file, [*models, "late"]) == ["late ct", "late mr", "late pet"]
    assert len(file.all) == 9
    again = answers.AnswerFile(tmp_path, "list", {**models, "late": "3"})
    assert sorted(again.all, key=repr) == sorted(file.all, key=repr)


def test_answers_of_other_weights_or_images_are_asked_anew(answers, tmp_path: Path) -> None:
    models = {"full": "1", "poor": "2"}
    ask(answers, answers.AnswerFile(tmp_path, "list", models), list(models))
    changed = answers.AnswerFile(tmp_path, "list", {"full": "1", "poor": "other weights"})
    assert {answer.model for answer in changed.all} == {"full"}
    assert answers.AnswerFile(tmp_path, "another list", models).all == []


def test_differences_are_those_of_the_same_image_whatever_was_asked_first(answers) -> None:
    report = importlib.import_module("mast_pro_report")

    def answer(model: str, number: int, dice: float):
        name = f"STS_00{number}"
        return answers.Answer(model, "real", "ct", name, name, "sarcoma", dice, 0.5, None, 1, 1, 0, 10, 10)

    first = [answer("full", number, number / 10) for number in (1, 5, 9)]
    other = [answer("other", number, number / 10 - 0.1) for number in (9, 1, 5)]
    text = report.markdown([*first, *other], ["full", "other"], [], {})
    assert "- other: -0.100 [-0.100, -0.100] Dice, worse than full" in text


def test_every_column_belongs_to_its_network_whoever_was_asked_first(answers, tmp_path: Path) -> None:
    report = importlib.import_module("mast_pro_report")
    file = answers.AnswerFile(tmp_path, "list", {"full": "1", "poor": "2", "late": "3"})
    ask(answers, file, ["full", "late"])
    ask(answers, file, ["poor"])
    text = report.markdown(file.all, ["full", "poor", "late"], [], {})
    dice = text[text.index("### Dice") :].splitlines()
    assert [cell.strip() for cell in dice[2].split("|")[4:9]] == ["full", "poor", "difference", "late", "difference"]
    assert [cell.strip() for cell in dice[4].split("|")[4:9]] == ["0.900", "0.250", "-0.650", "0.500", "-0.400"]


def test_findings_are_counted_by_certainty_and_the_surest_one_where_nothing_is(answers) -> None:
    report = importlib.import_module("mast_pro_report")

    def answer(number: int, voxels: int, hits: str, misses: str):
        name = f"STS_00{number}"
        said = ("full", "real", "ct", name, name, "sarcoma", 0.5, 0.5, None, 1, 1, 0, voxels, 10)
        return answers.Answer(*said, hits, misses)

    some = [answer(1, 10, "97 55", "61"), answer(2, 0, "", "62 91"), answer(3, 0, "", ""), answer(4, 0, "", "100")]
    text = report.markdown(some, ["full"], [], {})
    rows = [line for line in text[text.index("## How sure") :].splitlines() if line.startswith("| real")]
    assert [[cell.strip() for cell in row.split("|")[2:6]] for row in rows] == [
        ["50 to 59 %", "1", "1", "0"],
        ["60 to 69 %", "2", "0", "0"],
        ["70 to 79 %", "0", "0", "0"],
        ["80 to 89 %", "0", "0", "0"],
        ["90 to 94 %", "1", "0", "1"],
        ["95 to 100 %", "2", "1", "1"],
        ["nothing found", "", "", "1"],
    ]


def test_the_least_certainty_comes_from_one_fold_and_its_worth_from_the_other(
    answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    calibrate = importlib.import_module("calibrate_mast_pro")
    weights = tmp_path / "weights.safetensors"
    network = small_network()
    round_to_half(network)
    sha256 = write_base(weights, network, {"in_slices": ["liver_tumor"]})
    told = {"tune": ("80 90 90 95", "60 70 80"), "val": ("85 95", "55 70 90")}
    absences = {"tune": (), "val": ("", "60", "60 99")}
    for fold, (hits, misses) in told.items():
        file = answers.AnswerFile(tmp_path / fold, "list", {"full": sha256_of(weights), "poor": "other"})
        (tmp_path / fold).mkdir()
        for model, said in (("full", (hits, misses)), ("poor", ("50", "100 100"))):
            about = (model, "real", "ct", "STS_001", "STS_001", "sarcoma")
            there = answers.Answer(*about, 0.5, 0.5, None, 1, 1, 0, 10, 10, *said)
            absent = (answers.Answer(*about, 0.5, 0.5, None, 0, 0, 0, 0, 10, "", miss) for miss in absences[fold])
            file.add(model, SPECS[0], [there, *absent])
        file.save()
    words = [str(weights), "--kept-back", str(tmp_path / "tune"), "--evaluation", str(tmp_path / "val")]
    monkeypatch.setattr("sys.argv", ["calibrate_mast_pro.py", *words])
    calibrate.main()
    network, details = read_base(weights)
    assert base_sha256(network) == sha256 and details["in_slices"] == ["liver_tumor"]
    assert doubt_of(details) == Doubt(80, 0.0, 0.5)
    said = capsys.readouterr().out
    assert "real: 2 of 4 sure findings touch a lesion, 0 of 4 doubtful ones" in said
    assert "absent in 3: nothing found in 1, nothing sure in 2" in said
    with pytest.raises(WeightsError, match="holds no answers"):  # the file is another one now
        calibrate.main()
    with pytest.raises(WeightsError, match="No certainty"):
        calibrate.least_certainty([60], [60, 61])


def test_cases_are_chosen_by_name_and_number(answers) -> None:
    evaluate = importlib.import_module("evaluate_mast_pro")
    specs = [HeldOutSpec(dataset, name, name) for dataset in ("ct", "mr") for name in ("A_1", "B_1", "B_2", "B_3")]
    chosen = evaluate.limited(specs, 2, "B")
    assert [(spec.dataset, spec.name) for spec in chosen] == [(d, n) for d in ("ct", "mr") for n in ("B_1", "B_2")]
    assert evaluate.limited(specs, None, "") == specs
    with pytest.raises(SystemExit, match="No case begins with 'C'; there are for example A_1 and B_3"):
        evaluate.limited(specs, None, "C")


def test_findings_are_told_apart_by_whether_they_touch_a_lesion(answers) -> None:
    evaluate = importlib.import_module("evaluate_mast_pro")
    mask, percent = np.zeros((4, 10, 10), np.uint8), np.full((4, 10, 10), 20, np.uint8)
    mask[1, 1:4, 1:4], mask[1, 6:9, 6:9] = 1, 1
    percent[1, 2, 2], percent[1, 7, 7], percent[1, 5, 5] = 93, 71, 99  # the last one lies in neither
    target = np.zeros(mask.shape, bool)
    target[1, 3, 3:6] = True
    answer = Prediction(MaskPatch.of(mask), probability=ProbabilityMap((0, 9, 0, 9, 0, 3), percent))
    assert evaluate.certainties(answer, target, 10.0) == ("93", "71")
    assert evaluate.certainties(Prediction(), target, 10.0) == ("", "")
