"""What the user is told about anatomical prompts: missing, unknown, outside the image, on the wrong side."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..core.organs import Organ, Side, organ_of_id
from ..core.tumor_records import TumorRecord
from ..core.volume import Volume

if TYPE_CHECKING:
    from .anatomy3d import PlacedOrgan

WIDE_MM = 250.0
"""Width of an image that shows both sides of a trunk, so that its middle tells left from right."""


class AnatomyNotes:
    """Collects the sentences.

    Args:
        record: the tumor to look for.
        side: the side asked for, or "".

    Attributes:
        sentences: what there is to say.
        are_given: whether there was any organ that is known, be it outside the image or on the wrong side.
    """

    def __init__(self, record: TumorRecord, side: Side) -> None:
        self._record, self._side = record, side
        self.sentences: list[str] = []
        self.are_given = False

    def unknown(self, structure: str) -> None:
        """A mask that is called what no organ is called."""
        self._add(
            f'"{structure}" is no organ that MoESeg knows, so it is not used. Name it as TotalSegmentator does, or '
            "give the segment its terminology."
        )

    def unnamed(self, organ: Organ) -> None:
        """A mask without a name."""
        self._add(f"The mask of an organ has no name; it is taken for the {organ.name}.")

    def outside(self, structure: str) -> None:
        """A mask that does not reach into the image."""
        self.are_given = True
        self._add(f"The {_said(structure)} lies outside the image, so it is not used.")

    def check_sides(self, placed: Sequence[PlacedOrgan], volume: Volume) -> None:
        """Tell of organs that seem to be called by the wrong side: in RAS, left is where R is smaller."""
        middle, width = _middle_and_width(volume)
        for organ_id in dict.fromkeys(found.organ.id for found in placed if found.side):
            organ = organ_of_id(organ_id)
            left = [found for found in placed if found.organ is organ and found.side == "left"]
            right = [found for found in placed if found.organ is organ and found.side == "right"]
            if left and right:
                if _center(left) > _center(right):
                    self._add(
                        f"Left and right {organ.name} seem to be exchanged: the one called left lies further to the "
                        "right. Check their names."
                    )
            elif width >= WIDE_MM and (
                any(found.low_ras[0] > middle for found in left) or any(found.high_ras[0] < middle for found in right)
            ):
                side, other = ("left", "right") if left else ("right", "left")
                self._add(f"What is called {side} {organ.name} lies on the {other} half of the image. Check its name.")

    def check_complete(self, placed: Sequence[PlacedOrgan], kept: Sequence[PlacedOrgan]) -> None:
        """Tell of organs of the tumor that were not given, or not on the side asked for."""
        self.are_given |= bool(placed)
        organs = [organ_of_id(organ_id) for organ_id in self._record.organs]
        missing = [organ for organ in organs if all(found.organ is not organ for found in kept)]
        for organ in organs:
            given = {found.side for found in placed if found.organ is organ}
            if self._side and organ in missing and given:
                other = "right" if self._side == "left" else "left"
                self._add(
                    f"The {self._side} {organ.name} was asked for, but only the {other} one was given, so it is not "
                    "used."
                )
            elif self._side and "" in given:
                self._add(
                    f"The {organ.name} was given without a side, so all of it is searched and not the {self._side} "
                    "one alone."
                )
        names = ", ".join(organ.name for organ in missing)
        if len(missing) == len(organs) and self.says_absent:
            self._add(
                f"Organs were given, but none in which a {self._record.name} lies ({names}), so nothing is searched. "
                "Give that organ, or leave the organs out to search the whole image."
            )
        elif len(missing) == len(organs):
            self._add(
                f"No organ of a {self._record.name} was found ({names}), so the whole image is searched. Results are "
                "better with it."
            )
        elif missing:
            self._add(f"Not given: {names}. The search goes on without.")

    @property
    def says_absent(self) -> bool:
        """Whether a tumor without its organ cannot be there: others were given, and it lies in organs only."""
        return self.are_given and self._record.is_within_organs

    def _add(self, sentence: str) -> None:
        if sentence not in self.sentences:
            self.sentences.append(sentence)


def _said(structure: str) -> str:
    return structure.replace("_", " ")


def _center(found: Sequence[PlacedOrgan]) -> float:
    return float(np.mean([item.center_ras[0] for item in found]))


def _middle_and_width(volume: Volume) -> tuple[float, float]:
    """R coordinate of the middle of an image, and its width along R, in millimeters."""
    corners = volume.to_ras(list(itertools.product(*((-0.5, size - 0.5) for size in volume.size))))
    low, high = float(corners[:, 0].min()), float(corners[:, 0].max())
    return (low + high) / 2, high - low
