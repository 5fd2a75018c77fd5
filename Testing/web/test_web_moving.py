"""Dragged prompts: where they go in patient space, and what cannot be dragged."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import blob_volume
from web_tools import need

need("slicer")

from MoESegLib.core.errors import PromptError  # noqa: E402
from MoESegLib.core.prompts import BoxPrompt, PointPrompt, PolygonPrompt, ScribblePrompt, TextPrompt  # noqa: E402
from MoESegLib.web.commands import moved_prompt, points_of  # noqa: E402

VOLUME = blob_volume(
    ijk_to_ras=np.array([[-0.8, 0.2, 0.1, 30], [0.1, -0.9, 0.3, 12], [0.1, 0.2, 2.4, -5], [0, 0, 0, 1]])
)
AXIAL = VOLUME.view(VOLUME.axis_of("axial"))


def ras(*pixels: tuple[float, float], index: float = 4) -> list:
    return VOLUME.to_ras(AXIAL.to_ijk(pixels, 0) + np.eye(3)[AXIAL.axis] * index).tolist()


def dragged(prompt, *pixels: tuple[float, float], index: int = 4):
    points, plane = points_of(VOLUME, {"plane": "axial", "index": index, "xy": pixels})
    return moved_prompt(VOLUME, prompt, points, plane)


def test_a_box_through_several_slices_stays_in_them() -> None:
    corners = ras((5, 5), index=2)[0], ras((20, 22), index=6)[0]
    moved = dragged(BoxPrompt(*corners, segment="a", plane="axial", id="b"), (8, 9), (23, 26))
    assert (moved.id, moved.segment, moved.plane) == ("b", "a", "axial")
    assert moved.corner_a == pytest.approx(ras((8, 9), index=2)[0])
    assert moved.corner_b == pytest.approx(ras((23, 26), index=6)[0])


@pytest.mark.parametrize("kind", [ScribblePrompt, PolygonPrompt])
def test_a_line_keeps_its_sign_and_number_of_points(kind) -> None:
    prompt = kind(ras((5, 5), (9, 5), (9, 9)))
    moved = dragged(prompt, (6, 7), (10, 7), (10, 11))
    assert np.array(moved.points) == pytest.approx(np.array(ras((6, 7), (10, 7), (10, 11))))
    assert getattr(moved, "positive", True)


def test_a_point_goes_into_the_slice_where_it_is_dropped() -> None:
    moved = dragged(PointPrompt(ras((5, 5))[0], False), (8, 9), index=7)
    assert moved.ras == pytest.approx(ras((8, 9), index=7)[0])
    assert (moved.positive, moved.plane) == (False, "axial")


@pytest.mark.parametrize(
    "prompt", [TextPrompt("liver"), TextPrompt("liver", ras=ras((5, 5))[0]), ScribblePrompt(ras((5, 5), (9, 5)))]
)
def test_what_has_no_place_or_other_points_is_refused(prompt) -> None:
    with pytest.raises(PromptError, match="cannot be moved"):
        dragged(prompt, (8, 9))
