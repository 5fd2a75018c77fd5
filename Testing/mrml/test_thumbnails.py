"""Pictures of alternatives: the right slice, the mask tinted, the right way up, small."""

from __future__ import annotations

import io

import numpy as np
import pytest
from fakes import blob_volume
from mrml_tools import LEFT_HANDED, OBLIQUE, box, patch_of, point
from PIL import Image

from MoESegLib.core.prompts import TextPrompt
from MoESegLib.core.results import MaskPatch
from MoESegLib.core.volume import Volume
from MoESegLib.mrml.thumbnails import SIZE, thumbnail


def pixels(png: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG" and image.mode == "RGB"
    return np.asarray(image).astype(int)


def tinted(picture: np.ndarray) -> np.ndarray:
    return picture[..., 2] - picture[..., 0] > 60


def test_the_mask_is_tinted_on_the_slice_of_the_prompt() -> None:
    volume = blob_volume()
    patch = patch_of((10, 19, 12, 17, 6, 6))
    shown = tinted(pixels(thumbnail(volume, patch, point(volume, (12, 14, 6), "a"))))
    assert shown.sum() == 60
    elsewhere = pixels(thumbnail(volume, patch, point(volume, (12, 14, 2), "a")))
    assert not tinted(elsewhere).any()


@pytest.mark.parametrize("grid", [None, OBLIQUE, LEFT_HANDED], ids=["plain", "oblique", "left-handed"])
@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_the_picture_is_the_right_way_round_in_every_plane(grid, plane: str) -> None:
    volume = blob_volume((20, 30, 40), ijk_to_ras=grid, radius=1.0)
    center = (18, 12, 9)
    patch = patch_of((16, 20, 11, 13, 8, 11))
    prompt = point(volume, center, "a", plane=plane)
    axis = volume.axis_of(plane)
    view = volume.view(axis)
    mask = view.extract(patch.to_array(volume.shape), center[axis])
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    crop = mask[max(0, rows[0] - 24) : rows[-1] + 25, max(0, columns[0] - 24) : columns[-1] + 25]
    assert np.array_equal(tinted(pixels(thumbnail(volume, patch, prompt))), crop != 0)


def test_large_images_are_made_small_around_the_mask() -> None:
    volume = Volume(np.random.default_rng(0).integers(0, 255, (3, 400, 500)).astype(np.uint8), np.eye(4))
    patch = patch_of((50, 449, 100, 299, 1, 1))
    picture = pixels(thumbnail(volume, patch, None))
    assert picture.shape[1] <= SIZE[0] and picture.shape[0] <= SIZE[1]
    assert max(picture.shape[1] / SIZE[0], picture.shape[0] / SIZE[1]) == pytest.approx(1, abs=0.02)
    assert tinted(picture).any()


def test_without_a_prompt_the_middle_of_the_mask_is_shown() -> None:
    volume = blob_volume()
    assert tinted(pixels(thumbnail(volume, patch_of((10, 19, 12, 17, 6, 6)), None))).sum() == 60
    phrase = TextPrompt(text="ball", segment="a")
    assert tinted(pixels(thumbnail(volume, patch_of((10, 19, 12, 17, 6, 6)), phrase))).sum() == 60


def test_an_empty_mask_and_prompts_outside_are_still_pictures() -> None:
    volume = blob_volume()
    for prompt in (None, box(volume, (5, 5), (9, 9), "a", k=99), box(volume, (5, 5), (9, 9), "a", k=-7)):
        assert not tinted(pixels(thumbnail(volume, MaskPatch(), prompt))).any()


def test_colors_stay_colors_and_a_2d_image_has_one_slice() -> None:
    photo = np.zeros((1, 30, 40, 3), np.uint8)
    photo[..., 0] = 200
    volume = Volume(photo, np.eye(4), color=True)
    picture = pixels(thumbnail(volume, MaskPatch(), None))
    assert (picture[..., 0] == 200).all() and (picture[..., 1:] == 0).all()
