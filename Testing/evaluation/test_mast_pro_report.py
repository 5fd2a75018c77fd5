"""The evaluation of MAST-Pro goes on where it stopped, and its tables keep the networks apart."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from MoESegLib.training.tumor_held_out import HeldOutSpec

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
