"""The published pipelines resize with OpenCV; ours must give their pixels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from MoESegLib.engines.resize import fit_longest_side, resize_area

SIZES = [
    ((512, 512), (256, 256)),
    ((512, 346), (256, 173)),
    ((346, 512), (173, 256)),
    ((500, 400), (256, 205)),
    ((1024, 768), (256, 192)),
    ((640, 513), (256, 205)),
    ((97, 99), (251, 256)),
    ((128, 128), (256, 256)),
    ((256, 100), (256, 100)),
]


@pytest.mark.parametrize(("old", "new"), SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_area_resizing_is_that_of_opencv(old, new, channels) -> None:
    shape = old if channels == 1 else (*old, channels)
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    difference = np.abs(
        resize_area(image, new).astype(int) - cv2.resize(image, new[::-1], interpolation=cv2.INTER_AREA)
    )
    assert difference.max() <= 1
    enlarging = new[0] > old[0]
    assert (difference > 0).mean() < (0.06 if enlarging else 1e-4)


def test_equal_spacings_give_the_published_size_and_scale() -> None:
    for shape in ((512, 512), (346, 512), (97, 99), (1000, 37)):
        size, scale = fit_longest_side(shape, (0.977, 0.977), 256)
        ratio = 256 / max(shape)
        assert size == tuple(int(length * ratio + 0.5) for length in shape)
        assert scale == pytest.approx((ratio, ratio))


def test_different_spacings_give_square_pixels() -> None:
    size, (x, y) = fit_longest_side((20, 400), (5.0, 1.0), 256)
    assert size == (64, 256)
    assert y / x == pytest.approx(5.0)
