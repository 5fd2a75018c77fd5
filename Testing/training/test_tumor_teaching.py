"""Adding a tumor to MAST-Pro from a user's cases: it is found, nothing else changes, and the run can be stopped."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mast_pro_tools import batch_for
from tumor_toy import SIDE, toy_base, toy_cases, toy_volume

from MoESegLib.core.cancel import CancelToken
from MoESegLib.core.errors import Cancelled, PromptError, TrainingError, WeightsError
from MoESegLib.core.organs import organ_ids
from MoESegLib.core.results import MaskPatch
from MoESegLib.core.segmentation_file import SegmentRecord, write_segmentation
from MoESegLib.core.tumors import TumorBook
from MoESegLib.engines.taught_tumors import install_taught, taught_files, taught_path
from MoESegLib.models.mast_pro import MastPro, base_sha256, delta_state, read_delta
from MoESegLib.training.cases import Case
from MoESegLib.training.tumor_cases import prepare_cases
from MoESegLib.training.tumor_loop import TumorSchedule
from MoESegLib.training.tumor_teach import TumorResult, teach_tumor

PLAN = TumorSchedule(steps=8, slices=1, volumes=2, rate=1e-2)
PHRASE, TUMOR = "brain tumor", "brain_tumor"


@pytest.fixture(autouse=True)
def _one_thread():
    """Faster for a network this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def taught(folder: Path, base: MastPro | None = None, **options: Any) -> TumorResult:
    words: dict[str, Any] = {"epochs": 3, "schedule": PLAN, "book": TumorBook.load(), "cache": folder}
    return teach_tumor(toy_cases(), PHRASE, base=base or toy_base(), **{**words, **options})


def answers(network: MastPro) -> torch.Tensor:
    """To the tumors of the base, and to none."""
    batch = batch_for((8, 12, 16), 3)
    del batch["organ_masks"]
    with torch.inference_mode():
        return network.eval()(**{**batch, "tumor": torch.tensor([0, 1, -1])}).logits


def test_a_new_tumor_is_found_and_nothing_else_changes(tmp_path: Path, home: Path) -> None:
    base = toy_base()
    sha256, before = base_sha256(base), answers(base)
    result = taught(tmp_path, base, output=lambda done: install_taught(done.network, TUMOR, done.details()))
    assert result.held_out.score > result.before.score + 0.2
    assert result.base == sha256 == base_sha256(result.network)
    assert torch.equal(answers(result.network), before)
    assert result.adaptation.trainable < result.adaptation.full
    assert len(result.held_out_cases) == 1 and len(result.train_cases) == 4
    assert not list(tmp_path.glob("*tumor-run*"))

    assert taught_files(sha256) == {TUMOR: taught_path(TUMOR)} and taught_files("0" * 64) == {}
    fresh = toy_base()
    name, details = read_delta(taught_path(TUMOR), fresh)
    assert name == TUMOR and details["held_out"]["dice"] == result.held_out.dice
    for key, value in delta_state(result.network, TUMOR).items():
        assert torch.equal(value, delta_state(fresh, TUMOR)[key])
    with pytest.raises(WeightsError, match="taught before"):
        install_taught(result.network, TUMOR)
    install_taught(result.network, TUMOR, replace=True)


def test_a_cancelled_run_goes_on_to_the_weights_of_an_undisturbed_one(tmp_path: Path) -> None:
    expected = taught(tmp_path / "free", epochs=2)
    cancel = CancelToken()
    with pytest.raises(Cancelled):
        taught(
            tmp_path / "run", epochs=2, cancel=cancel,
            progress=lambda fraction, message, metrics: "epoch 2, step 2" in message and cancel.cancel(),
        )  # fmt: skip
    found = taught(tmp_path / "run", epochs=2)
    assert [epoch.held_out for epoch in found.history] == [epoch.held_out for epoch in expected.history]
    for key, value in delta_state(expected.network, TUMOR).items():
        assert torch.equal(value, delta_state(found.network, TUMOR)[key]), key


def test_what_the_base_knows_is_not_taught_again(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"taught liver tumor .* already.*tumors\.json"):
        teach_tumor(toy_cases(), "liver tumor", base=toy_base(), book=TumorBook.load(), cache=tmp_path)
    with pytest.raises(PromptError):
        teach_tumor(toy_cases(), "spoon", base=toy_base(), book=TumorBook.load(), cache=tmp_path)


def test_nothing_is_kept_that_is_no_better_than_before(tmp_path: Path) -> None:
    kept: list[TumorResult] = []
    with pytest.raises(TrainingError, match="no better than before"):
        taught(tmp_path, epochs=1, schedule=dataclasses.replace(PLAN, rate=0.0, steps=1), output=kept.append)
    assert not kept


def write_organs(path: Path, number: int) -> None:
    volume, _ = toy_volume(number)
    brain = np.zeros(volume.shape, bool)
    brain[4:] = True
    write_segmentation(path, volume, [SegmentRecord("s", "Brain", MaskPatch.of(brain))])


def test_organs_come_from_files_named_as_the_images_or_the_patients(tmp_path: Path) -> None:
    organs = tmp_path / "organs"
    organs.mkdir()
    write_organs(organs / "case1.seg.nrrd", 1)
    record = TumorBook.load().find(PHRASE).record
    found = prepare_cases(toy_cases(3), record, organs, tmp_path / "images", 2.0)
    assert found.with_organs == 1
    assert [image.organ_numbers for image in found.images] == [(), (1 + organ_ids().index("brain"),), ()]
    labels = np.asarray(found.images[1].organs)
    assert labels[:4].max() == 0 and labels[4:].min() > 0
    alike = [dataclasses.replace(case, name="ct.nrrd") for case in toy_cases(2)]
    with pytest.raises(TrainingError, match=r"patient0\.seg\.nrrd"):
        prepare_cases(alike, record, organs, tmp_path / "images", 2.0)
    write_organs(organs / "patient0.seg.nrrd", 0)
    assert prepare_cases(alike, record, organs, tmp_path / "images", 2.0).with_organs == 1
    with pytest.raises(TrainingError, match="no folder"):
        prepare_cases(alike, record, tmp_path / "nowhere", tmp_path / "images", 2.0)


def test_an_image_is_prepared_once_and_again_when_its_lesion_changes(tmp_path: Path) -> None:
    record = TumorBook.load().find(PHRASE).record
    cases = toy_cases(2)
    first = prepare_cases(cases, record, None, tmp_path, 2.0)
    again = prepare_cases(cases, record, None, tmp_path, 2.0)
    assert [image.key for image in first.images] == [image.key for image in again.images]
    assert all(image.lesion_voxels.size and min(image.shape) >= SIDE for image in first.images)
    changed = [dataclasses.replace(cases[0], labels=cases[1].labels), cases[1]]
    other = prepare_cases(changed, record, None, tmp_path, 2.0)
    assert other.images[0].key != first.images[0].key and other.images[1].key == first.images[1].key


def test_a_case_without_the_class_is_named(tmp_path: Path) -> None:
    cases: list[Case] = [dataclasses.replace(case, wanted=frozenset({"cyst"})) for case in toy_cases(2)]
    with pytest.raises(TrainingError, match="case0 holds no segment named cyst"):
        prepare_cases(cases, TumorBook.load().find(PHRASE).record, None, tmp_path, 2.0)
