"""Varied copies of a slice: image and masks move together, and what a copy is follows from its seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tiny_teaching import ball_cases, tiny_engine

from MoESegLib.training.augment import vary
from MoESegLib.training.cases import Case, Structure
from MoESegLib.training.embeddings import EmbeddingStore
from MoESegLib.training.samples import Collecting, collect_samples

ROWS, COLUMNS = np.mgrid[:96, :128]
DISK = (ROWS - 40) ** 2 + (COLUMNS - 80) ** 2 < 20**2
IMAGE = np.where(DISK, 200, 20).astype(np.uint8)


def test_masks_move_with_the_image() -> None:
    for seed in range(8):
        image, (mask,) = vary(IMAGE, [DISK], np.random.default_rng(seed), mirror=True)
        assert image.shape == IMAGE.shape
        assert image.dtype == np.uint8
        bright = image > (int(image[mask].mean()) + int(image[~mask].mean())) / 2
        overlap = 2 * (bright & mask).sum() / (bright.sum() + mask.sum())
        assert overlap > 0.93
        assert 0.75**2 * 0.8 < mask.sum() / DISK.sum() < 1.35**2 * 1.2


def test_colors_stay_colors() -> None:
    color = np.stack([IMAGE, IMAGE // 2, IMAGE // 4], axis=-1)
    image, _ = vary(color, [DISK], np.random.default_rng(0), mirror=False)
    assert image.shape == color.shape
    inside = image[40:60, 60:80].reshape(-1, 3).mean(axis=0)
    assert inside[0] > inside[1] > inside[2]


def test_only_where_allowed_left_and_right_are_exchanged() -> None:
    left = np.zeros((64, 64), bool)
    left[:, :20] = True
    sides = {
        allowed: {
            bool(mask[:, :32].sum() < mask[:, 32:].sum())
            for mask in (
                vary(left * np.uint8(99), [left], np.random.default_rng(s), mirror=allowed)[1][0] for s in range(12)
            )
        }
        for allowed in (True, False)
    }
    assert sides == {True: {True, False}, False: {False}}


def test_copies_of_a_slice_are_found_again_whatever_other_cases_there_are(tmp_path: Path) -> None:
    engine, store = tiny_engine(), EmbeddingStore(tmp_path)
    cases = ball_cases(3)
    how = Collecting(max_slices=1, varied=2)
    both = collect_samples(engine, cases, store, how)
    calls = engine.model.encoder.calls
    assert calls == len({sample.embedding for sample in both}) == 3 * 3
    alone = collect_samples(engine, cases[1:2], store, how)
    assert engine.model.encoder.calls == calls
    assert {sample.embedding for sample in alone} < {sample.embedding for sample in both}
    other = collect_samples(engine, cases[1:2], EmbeddingStore(tmp_path), Collecting(max_slices=1, varied=2, seed=1))
    assert engine.model.encoder.calls == calls + 2
    assert len(other) == len(alone)


def test_objects_of_a_class_are_bounded_and_all_of_them_are_one_sample_without_prompt(tmp_path: Path) -> None:
    case = ball_cases(1)[0]
    (ball,) = case.labels
    cut = np.zeros(case.image.shape, np.uint8)
    objects = []
    for column in range(4):
        part = cut.copy()
        part[:, :, column * 12 : (column + 1) * 12] = 1
        objects.append(Structure("cell", type(ball.patch).of((part > 0) & (ball.patch.to_array(case.image.shape) > 0))))
    many = Case("cells", "p", case.image, tuple(entry for entry in objects if entry.patch.count))
    how = Collecting(max_slices=1, max_objects=1, automatic=True)
    one, whole = collect_samples(tiny_engine(), [many], EmbeddingStore(tmp_path), how)
    assert (one.automatic, whole.automatic) == (False, True)
    assert one.target.sum() < whole.target.sum()
    assert (one.target <= whole.target).all()
