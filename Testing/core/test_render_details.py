"""Pictures of slices: proportions, sides of the body, prompts that can be told apart without color."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from MoESegLib.core.errors import OutputError
from MoESegLib.core.prompts import BoxPrompt, PointPrompt, PolygonPrompt, Prompt, ScribblePrompt
from MoESegLib.core.render import Layer, render_slice
from MoESegLib.core.volume import Volume

RED = (1.0, 0.0, 0.0)


@pytest.fixture
def volume() -> Volume:
    """Dark, 4 x 40 x 60 voxels of 1 x 1 x 5 mm."""
    return Volume(np.full((4, 40, 60), 20, np.uint8), np.diag([-1.0, -1.0, 5.0, 1.0]))


def picture(volume: Volume, path: Path, *prompts: Prompt, mask=None, axis: int = 2, index: int = 1) -> np.ndarray:
    """The slice alone ``[row, column, 3]``: 40 rows become 640 pixels, so that one voxel is 16."""
    layers = [] if mask is None else [Layer("target", mask, RED)]
    render_slice(volume, axis, index, layers, prompts, path / "a.png")
    return np.asarray(Image.open(path / "a.png")).astype(int)[:640, :960]


def around(image: np.ndarray, i: float, j: float, half: int = 12) -> np.ndarray:
    x, y = round((i + 0.5) * 16), round((j + 0.5) * 16)
    return image[y - half : y + half + 1, x - half : x + half + 1]


@pytest.mark.parametrize(("axis", "rows", "columns"), [(2, 640, 960), (1, 320, 960), (0, 480, 960)])
def test_slices_keep_their_proportions_and_stay_small(
    axis: int, rows: int, columns: int, volume: Volume, tmp_path: Path
) -> None:
    layer = Layer("target", np.ones(volume.shape, np.uint8), RED)
    image = np.asarray(Image.open(render_slice(volume, axis, 1, [layer], [], tmp_path / "a.png"))).astype(int)
    ys, xs = np.nonzero((image == (255, 0, 0)).all(axis=2))  # the outline runs along the border of the slice
    assert (ys.max() + 1, xs[xs < 960].max() + 1) == (rows, columns)


def test_a_mask_is_tinted_where_it_is_and_patient_right_is_on_the_left(volume: Volume, tmp_path: Path) -> None:
    mask = np.zeros(volume.shape, np.uint8)
    mask[1, 5:12, 4:15] = 1
    assert volume.to_ras([4, 5, 1])[0] > volume.to_ras([50, 5, 1])[0]  # low i is the patient's right
    image = picture(volume, tmp_path, mask=mask)
    tinted = image[:, :, 0] - image[:, :, 1] > 40
    ys, xs = np.nonzero(tinted)
    assert (ys.min(), ys.max() + 1, xs.min(), xs.max() + 1) == (5 * 16, 12 * 16, 4 * 16, 15 * 16)
    other = picture(volume, tmp_path, mask=mask, index=2)
    assert np.array_equal(other[:, :, 0], other[:, :, 1])


def test_the_picture_does_not_depend_on_how_the_voxels_are_stored(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first = Volume(rng.integers(0, 255, (4, 40, 60)).astype(np.uint8), np.diag([-1.0, -1.0, 5.0, 1.0]))
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    flip[:2, 3] = 59, 39
    second = Volume(np.ascontiguousarray(first.array[:, ::-1, ::-1]), first.ijk_to_ras @ flip)
    prompt = PointPrompt(tuple(first.to_ras([12, 30, 1])))
    assert np.array_equal(picture(first, tmp_path, prompt), picture(second, tmp_path, prompt))


def test_clicks_differ_by_their_sign_not_only_by_color(volume: Volume, tmp_path: Path) -> None:
    ras = tuple(volume.to_ras([30, 20, 1]))
    white = []
    for positive in (True, False):
        mark = around(picture(volume, tmp_path, PointPrompt(ras, positive)), 30, 20)
        white.append((mark > 240).all(axis=2))
    center = white[0].shape[0] // 2
    for glyph in white:
        assert glyph[center, center - 4 : center + 5].all()  # both have the horizontal arm
    assert white[0][center - 4 : center + 5, center].all()  # only a plus has the vertical one
    assert not white[1][center - 4, center]


def test_a_box_is_dashed_and_a_polygon_and_a_scribble_are_drawn(volume: Volume, tmp_path: Path) -> None:
    def ras(i: float, j: float) -> tuple:
        return tuple(volume.to_ras([i, j, 1]))

    edge = picture(volume, tmp_path, BoxPrompt(ras(10, 10), ras(50, 30)))[round(10.5 * 16), 11 * 16 : 50 * 16]
    white = (edge > 240).all(axis=1)
    assert 0.3 < white.mean() < 0.7
    assert np.count_nonzero(np.diff(white.astype(int))) > 20
    plain = picture(volume, tmp_path)
    for prompt in (
        PolygonPrompt((ras(10, 10), ras(50, 10), ras(30, 30))),
        ScribblePrompt((ras(10, 10), ras(50, 10)), False),
    ):
        assert (picture(volume, tmp_path, prompt) != plain)[round(10.5 * 16), 20 * 16 : 40 * 16].any()


def test_prompts_of_other_slices_are_not_drawn_but_a_3d_box_is_on_all_of_its_own(
    volume: Volume, tmp_path: Path
) -> None:
    click = PointPrompt(tuple(volume.to_ras([30, 20, 3])))
    box = BoxPrompt(tuple(volume.to_ras([10, 10, 0])), tuple(volume.to_ras([50, 30, 2])))
    plain = picture(volume, tmp_path)
    assert np.array_equal(picture(volume, tmp_path, click), plain)
    assert not np.array_equal(picture(volume, tmp_path, box), plain)
    assert np.array_equal(picture(volume, tmp_path, box, index=3)[40:], picture(volume, tmp_path, index=3)[40:])


def test_the_legend_holds_many_segments_and_long_names(volume: Volume, tmp_path: Path) -> None:
    layers = [Layer("n" * 200, np.zeros(volume.shape), RED, ["x" * 200, "y"]) for _ in range(30)]
    path = render_slice(volume, 2, 1, layers, [], tmp_path / "a.png", title="t" * 200)
    image = np.asarray(Image.open(path)).astype(int)
    legend = image[:, 960:]
    assert (legend[:, -8:] == legend[-1, -1]).all()  # nothing runs over the edge
    swatches = (legend[:, 24] == (255, 0, 0)).all(axis=1)
    assert np.count_nonzero(np.diff(swatches.astype(int)) == 1) == 30


def test_a_picture_that_cannot_be_written_leaves_nothing(volume: Volume, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        render_slice(volume, 2, 1, [], [], tmp_path / "missing" / "a.png")
    assert list(tmp_path.iterdir()) == []
