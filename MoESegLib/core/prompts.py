"""Prompts: what the user says about one segment, in patient space.

Every prompt is a frozen value in RAS millimeters with the segment it speaks of, the anatomical plane it was drawn in
(None: not tied to a plane) and an ID. Two prompts with the same content ask the same thing, whatever their IDs; compare
them with :attr:`Prompt.content`.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from .errors import PromptError
from .geometry import PLANES, Plane, Point, as_matrix, transform_points

DEFAULT_SEGMENT = "Segment_1"


@dataclass(frozen=True)
class Prompt:
    """What all prompts share. Use one of the subclasses.

    Attributes:
        segment: ID of the segment the prompt speaks of.
        plane: "axial", "coronal" or "sagittal" when it was drawn in a slice of that orientation, else None.
        id: identity for moving and removing it; made up when not given.
    """

    kind: ClassVar[str] = ""

    segment: str = field(default=DEFAULT_SEGMENT, kw_only=True)
    plane: Plane | None = field(default=None, kw_only=True)
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12], kw_only=True, compare=False)

    def __post_init__(self) -> None:
        if not self.kind:
            raise TypeError("Prompt is abstract; use PointPrompt, BoxPrompt, ScribblePrompt and so on.")
        if not isinstance(self.segment, str) or not self.segment.strip():
            raise PromptError("A prompt needs the ID of a segment, a text that is not empty.")
        if self.plane is not None and self.plane not in PLANES:
            raise PromptError(f"Unknown plane {self.plane!r}; expected one of {', '.join(PLANES)}, or None.")

    @property
    def ras_points(self) -> tuple[Point, ...]:
        """The RAS points that must lie inside the volume."""
        return ()

    @property
    def content(self) -> tuple:
        """Everything but the ID, hashable: prompts with equal content ask the same thing."""
        return (self.kind, *(getattr(self, item.name) for item in fields(self) if item.compare))

    def with_id(self, new_id: str) -> Prompt:
        """The same prompt under another ID."""
        return replace(self, id=new_id)

    def transformed(self, matrix: NDArray[np.float64]) -> Prompt:
        """The same prompt after an affine (4, 4) transform of patient space; the ID stays."""
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; :func:`prompt_from_dict` is the inverse."""
        data = {"kind": self.kind}
        data.update({item.name: getattr(self, item.name) for item in fields(self)})
        return data


@dataclass(frozen=True)
class PointPrompt(Prompt):
    """A click: this point belongs to the segment (positive) or does not.

    Attributes:
        ras: RAS millimeters.
    """

    kind: ClassVar[str] = "point"

    ras: Point
    positive: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "ras", as_point(self.ras))

    @property
    def ras_points(self) -> tuple[Point, ...]:
        return (self.ras,)

    def transformed(self, matrix: NDArray[np.float64]) -> Prompt:
        return replace(self, ras=as_point(transform_points(matrix, self.ras)))


@dataclass(frozen=True)
class BoxPrompt(Prompt):
    """A box around the target, given by two opposite corners; flat along one axis it is a 2D box in that slice.

    Attributes:
        corner_a, corner_b: RAS millimeters. The box is the smallest one along the voxel axes that holds both.
    """

    kind: ClassVar[str] = "box"

    corner_a: Point
    corner_b: Point

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "corner_a", as_point(self.corner_a))
        object.__setattr__(self, "corner_b", as_point(self.corner_b))

    @property
    def ras_points(self) -> tuple[Point, ...]:
        return (self.corner_a, self.corner_b)

    def transformed(self, matrix: NDArray[np.float64]) -> Prompt:
        corner_a, corner_b = transform_points(matrix, [self.corner_a, self.corner_b])
        return replace(self, corner_a=as_point(corner_a), corner_b=as_point(corner_b))


@dataclass(frozen=True)
class ScribblePrompt(Prompt):
    """A freehand stroke inside (positive) or outside the segment.

    Attributes:
        points: RAS points along the stroke, in drawing order; at least one.
    """

    kind: ClassVar[str] = "scribble"

    points: tuple[Point, ...]
    positive: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "points", _as_path(self.points, 1, "A scribble"))

    @property
    def ras_points(self) -> tuple[Point, ...]:
        return self.points

    def transformed(self, matrix: NDArray[np.float64]) -> Prompt:
        return replace(self, points=tuple(as_point(point) for point in transform_points(matrix, self.points)))


@dataclass(frozen=True)
class PolygonPrompt(Prompt):
    """A closed outline (polygon, lasso) around the target in one slice.

    Attributes:
        points: RAS corners in order; the last one is joined to the first; at least three.
    """

    kind: ClassVar[str] = "polygon"

    points: tuple[Point, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "points", _as_path(self.points, 3, "A polygon"))

    @property
    def ras_points(self) -> tuple[Point, ...]:
        return self.points

    def transformed(self, matrix: NDArray[np.float64]) -> Prompt:
        return replace(self, points=tuple(as_point(point) for point in transform_points(matrix, self.points)))


@dataclass(frozen=True)
class WholeSlicePrompt(Prompt):
    """What automatic and text prompts share: they point at nothing, they speak of a whole slice or of all slices.

    Attributes:
        ras: any point (RAS millimeters) of the slice it speaks of, which lies in ``plane``; None for every slice along
            the axis of ``plane``, by default the one the volume was acquired along. It is not a click.
    """

    ras: Point | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ras is not None:
            object.__setattr__(self, "ras", as_point(self.ras))

    @property
    def ras_points(self) -> tuple[Point, ...]:
        return () if self.ras is None else (self.ras,)

    def transformed(self, matrix: NDArray[np.float64]) -> Prompt:
        return self if self.ras is None else replace(self, ras=as_point(transform_points(matrix, self.ras)))


@dataclass(frozen=True)
class TextPrompt(WholeSlicePrompt):
    """A phrase that names the target, for example "liver"."""

    kind: ClassVar[str] = "text"

    text: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.text, str) or not self.text.strip():
            raise PromptError('A text prompt needs a phrase, for example "liver".')
        object.__setattr__(self, "text", " ".join(self.text.split()))


@dataclass(frozen=True)
class AutomaticPrompt(WholeSlicePrompt):
    """Segment what an expert was taught to find; which expert that is, the gate or the user chooses."""

    kind: ClassVar[str] = "automatic"


@dataclass(frozen=True, eq=False)
class MaskPrompt(Prompt):
    """An existing mask: a first guess to start from, or known anatomy.

    Attributes:
        mask: voxels ``[k, j, i]``; anything that is not zero belongs to the mask. Copied and made read-only.
        ijk_to_ras: (4, 4) matrix of the mask's grid; None means the grid of the segmented volume.
        role: "start" (a first guess of the target) or "anatomy" (an organ that guides the model).
        structure: name of the organ when the role is "anatomy".
    """

    kind: ClassVar[str] = "mask"

    mask: NDArray
    ijk_to_ras: NDArray[np.float64] | None = None
    role: str = "start"
    structure: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        mask = np.asarray(self.mask)
        if mask.ndim == 2:
            mask = mask[np.newaxis]
        if mask.ndim != 3 or mask.dtype.kind not in "biuf":
            raise PromptError(f"A mask prompt is an array [k, j, i]; got {mask.dtype} of shape {mask.shape}.")
        mask = np.array(mask != 0, dtype=np.uint8)
        if not mask.any():
            raise PromptError("The mask prompt is empty; paint or choose a segment with at least one voxel.")
        if self.role not in ("start", "anatomy"):
            raise PromptError(f'The role of a mask prompt is "start" or "anatomy", not {self.role!r}.')
        mask.setflags(write=False)
        object.__setattr__(self, "mask", mask)
        if self.ijk_to_ras is not None:
            object.__setattr__(self, "ijk_to_ras", as_matrix(self.ijk_to_ras))

    @property
    def content(self) -> tuple:
        grid = None if self.ijk_to_ras is None else self.ijk_to_ras.tobytes()
        return self.kind, self.segment, self.plane, self._digest, self.mask.shape, grid, self.role, self.structure

    @cached_property
    def _digest(self) -> str:
        """Of the voxels, which never change: 29 organs of a trunk take 0.13 s each time they are asked for."""
        return hashlib.blake2b(self.mask.tobytes(), digest_size=16).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MaskPrompt) and self.content == other.content

    def __hash__(self) -> int:
        return hash(self.content)

    def transformed(self, matrix: NDArray[np.float64]) -> Prompt:
        return self if self.ijk_to_ras is None else replace(self, ijk_to_ras=as_matrix(matrix @ self.ijk_to_ras))

    def to_dict(self) -> dict[str, Any]:
        data = super().to_dict()
        packed = zlib.compress(np.packbits(self.mask).tobytes())
        data["mask"] = {"shape": list(self.mask.shape), "packed": base64.b64encode(packed).decode("ascii")}
        data["ijk_to_ras"] = None if self.ijk_to_ras is None else self.ijk_to_ras.tolist()
        return data


PROMPT_TYPES: dict[str, type[Prompt]] = {
    cls.kind: cls
    for cls in (PointPrompt, BoxPrompt, ScribblePrompt, PolygonPrompt, TextPrompt, MaskPrompt, AutomaticPrompt)
}


def prompt_from_dict(data: dict[str, Any]) -> Prompt:
    """Rebuild a prompt from :meth:`Prompt.to_dict`.

    Raises:
        PromptError: unknown kind, or fields that are missing or unknown.
    """
    values = dict(data)
    kind = values.pop("kind", None)
    if kind not in PROMPT_TYPES:
        raise PromptError(f"Unknown kind of prompt {kind!r}; expected one of {', '.join(PROMPT_TYPES)}.")
    if kind == "mask":
        values["mask"] = _unpack_mask(values.get("mask"))
    try:
        return PROMPT_TYPES[kind](**values)
    except TypeError as error:
        raise PromptError(f"A {kind} prompt cannot be made from the fields {sorted(values)}: {error}.") from error


def _unpack_mask(data: Any) -> NDArray[np.uint8]:
    try:
        shape = tuple(int(length) for length in data["shape"])
        bits = np.frombuffer(zlib.decompress(base64.b64decode(data["packed"])), dtype=np.uint8)
        return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape)
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise PromptError(f"The mask of a saved mask prompt is damaged ({error}); draw it again.") from error


def as_point(value: Iterable[float]) -> Point:
    """Three finite floats.

    Raises:
        PromptError: anything else.
    """
    try:
        point = tuple(float(number) for number in value)
    except (TypeError, ValueError) as error:
        raise PromptError(f"A point is three numbers (R, A, S) in millimeters; got {value!r}.") from error
    if len(point) != 3 or not np.isfinite(point).all():
        raise PromptError(f"A point is three finite numbers (R, A, S) in millimeters; got {value!r}.")
    return cast(Point, point)


def _as_path(value: Sequence[Iterable[float]] | NDArray, least: int, what: str) -> tuple[Point, ...]:
    path = tuple(as_point(point) for point in value)
    if len(path) < least:
        raise PromptError(f"{what} needs at least {least} point{'s' if least > 1 else ''}; got {len(path)}.")
    return path
