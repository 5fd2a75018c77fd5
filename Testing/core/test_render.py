"""The picture shows the mask and the prompts where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes import blob_volume
from PIL import Image

from MoESegLib import BoxPrompt, PointPrompt, PolygonPrompt, ScribblePrompt
from MoESegLib.core.render import Layer, render_slice
from MoESegLib.core.volume import Volume


def picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_the_mask_is_tinted_and_prompts_are_drawn_where_they_are(tmp_path: Path) -> None:
    volume = blob_volume((3, 40, 40), np.diag([-1.0, -1.0, 1.0, 1.0]))
    mask = (volume.array > 200).astype(np.uint8)
    plain = picture(render_slice(volume, 2, 1, [], [], tmp_path / "plain.png", height=400))
    layer = Layer("ball", mask, (1.0, 0.0, 0.0), ["by base"])
    tinted = picture(render_slice(volume, 2, 1, [layer], [], tmp_path / "tinted.png", height=400))
    changed = (np.abs(tinted - plain).sum(axis=2) > 30)[:, :400]
    row, column = 200, 200  # the ball lies in the middle, ten pixels a voxel
    assert changed[row, column]
    assert not changed[20, 20]
    assert changed.mean() == pytest.approx(mask[1].mean(), abs=0.05)
    click = PointPrompt(tuple(volume.to_ras([10, 30, 1])))
    clicked = picture(render_slice(volume, 2, 1, [], [click], tmp_path / "click.png", height=400))
    drawn = np.argwhere(np.abs(clicked - plain).sum(axis=2)[:, :400] > 30)
    assert np.allclose(drawn.mean(axis=0), [305, 105], atol=3)


def test_prompts_of_other_slices_are_not_drawn_and_every_kind_is(tmp_path: Path) -> None:
    volume = blob_volume((3, 40, 40), np.diag([-1.0, -1.0, 1.0, 1.0]))
    here = [tuple(volume.to_ras([i, j, 1])) for i, j in ((5, 5), (30, 8), (28, 33))]
    there = PointPrompt(tuple(volume.to_ras([10, 30, 2])))
    pictures = {}
    for name, prompts in {
        "none": [],
        "other slice": [there],
        "box": [BoxPrompt(here[0], here[2])],
        "polygon": [PolygonPrompt(here)],
        "scribble": [ScribblePrompt(here)],
        "negative": [PointPrompt(here[0], False)],
        "positive": [PointPrompt(here[0])],
    }.items():
        pictures[name] = picture(render_slice(volume, 2, 1, [], prompts, tmp_path / "p.png", height=200))
    assert np.array_equal(pictures["none"], pictures["other slice"])
    different = [name for name in pictures if not np.array_equal(pictures[name], pictures["none"])]
    assert different == ["box", "polygon", "scribble", "negative", "positive"]
    assert not np.array_equal(pictures["negative"], pictures["positive"])


def test_proportions_are_physical(tmp_path: Path) -> None:
    volume = Volume(np.zeros((20, 40, 40), np.uint8), np.diag([-1.0, -1.0, 4.0, 1.0]))
    image = picture(render_slice(volume, volume.axis_of("coronal"), 3, [], [], tmp_path / "c.png", height=400))
    legend = 290
    assert image.shape[:2] == (400, 200 + legend)  # 20 slices of 4 mm are twice as high as 40 columns of 1 mm
