"""What the page draws: slices of the image, and masks cut to the slice, as bytes.

The page scales, windows and blends them itself (see ``static/paint.js``), so scrolling back, zooming and windowing need
no answer from here.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import PLANES, Extent, Plane, SliceView, is_empty
from ..core.intensity import CT_WINDOWS, default_window, level_width
from ..core.render import letters
from ..core.volume import Volume

_STEPS = 65535


@dataclass(frozen=True)
class Scale:
    """How intensities become unsigned 16-bit numbers: ``intensity = low + step * number``."""

    low: float
    step: float

    @classmethod
    def of(cls, volume: Volume) -> Scale:
        """Exact for whole numbers of up to 65,536 values (every CT), in 65,536 steps otherwise."""
        low, high = float(volume.array.min()), float(volume.array.max())
        whole = volume.array.dtype.kind in "iu"
        return cls(low, 1.0 if whole and high - low <= _STEPS else max(high - low, 1e-12) / _STEPS)


def slice_bytes(volume: Volume, view: SliceView, index: int, scale: Scale) -> bytes:
    """Slice ``index`` in displayed order: little-endian uint16 ``[row, column]``, or uint8 RGB for color images."""
    picture = view.extract(volume.array, index)
    if volume.color:
        return np.ascontiguousarray(picture).tobytes()
    if scale.step == 1.0:
        return (picture.astype(np.int64) - int(scale.low)).astype("<u2").tobytes()
    numbers = (picture.astype(np.float64) - scale.low) / scale.step
    return np.clip(np.rint(numbers), 0, _STEPS).astype("<u2").tobytes()


@dataclass(frozen=True, eq=False)
class LayerPicture:
    """One mask on one slice.

    Attributes:
        kind: "segment", "added", "removed" or "confidence".
        segment: its ID.
        color: red, green, blue in [0, 1].
        selected: whether it is the selected segment.
        rect: left, top, width, height in displayed pixels.
        voxels: ``[row, column]`` uint8 within the rectangle; 0/1, percent for the confidence.
    """

    kind: str
    segment: str
    color: tuple[float, float, float]
    selected: bool
    rect: tuple[int, int, int, int]
    voxels: NDArray[np.uint8]


def cut(
    view: SliceView, extent: Extent, voxels: NDArray[np.uint8], index: int
) -> tuple[tuple[int, int, int, int], NDArray[np.uint8]] | None:
    """The part of a patch ``[k, j, i]`` in slice ``index`` as displayed, and where it lies; None if there is none."""
    if is_empty(extent) or not extent[2 * view.axis] <= index <= extent[2 * view.axis + 1]:
        return None
    picture = view.extract(voxels, index - extent[2 * view.axis])
    if not picture.any():
        return None
    left = _first(view, extent, view.column_axis, view.column_flip)
    top = _first(view, extent, view.row_axis, view.row_flip)
    return (left, top, picture.shape[1], picture.shape[0]), np.ascontiguousarray(picture)


def _first(view: SliceView, extent: Extent, axis: int, flip: bool) -> int:
    return view.size[axis] - 1 - extent[2 * axis + 1] if flip else extent[2 * axis]


def layer_bytes(layers: Sequence[LayerPicture], revision: int) -> bytes:
    """Length of a JSON header (uint32, little-endian), the header, and the voxels of all layers one after the other."""
    entries = [
        {"kind": one.kind, "segment": one.segment, "color": one.color, "selected": one.selected, "rect": one.rect}
        for one in layers
    ]
    header = json.dumps({"revision": revision, "layers": entries}).encode()
    return struct.pack("<I", len(header)) + header + b"".join(one.voxels.tobytes() for one in layers)


def describe_volume(volume: Volume, scale: Scale) -> dict[str, Any]:
    """What the page must know to place slices: size, spacing, letters and positions of each view, windows."""
    window = default_window(volume)
    low, high = (0.0, 255.0) if window is None else window
    presets = {"default": (low, high), "full range": (scale.low, float(volume.array.max()))}
    if volume.modality == "CT":
        presets |= {name: level_width(*values) for name, values in CT_WINDOWS.items()}
    return {
        "name": volume.name,
        "modality": volume.modality,
        "size": volume.size,
        "spacing": volume.spacing,
        "color": volume.color,
        "scale": asdict(scale),
        "windows": presets,
        "matrix": volume.ijk_to_ras.tolist(),
        "views": {plane: _describe_view(volume, plane) for plane in PLANES},
    }


def _describe_view(volume: Volume, plane: Plane) -> dict[str, Any]:
    view = volume.view(volume.axis_of(plane))
    ras_axis = {"axial": 2, "coronal": 1, "sagittal": 0}[plane]
    middle = (np.array(volume.size, float) - 1) / 2
    middle[view.axis] = 0
    step = volume.ijk_to_ras[ras_axis, view.axis]
    return {
        "axis": view.axis,
        "rowAxis": view.row_axis,
        "columnAxis": view.column_axis,
        "rowFlip": view.row_flip,
        "columnFlip": view.column_flip,
        "rows": view.shape[0],
        "columns": view.shape[1],
        "count": view.count,
        "rowMm": volume.spacing[view.row_axis],
        "columnMm": volume.spacing[view.column_axis],
        "first": float(volume.to_ras(middle)[ras_axis]),
        "step": float(step),
        "letters": [
            *letters(volume, view.row_axis, view.row_flip),
            *letters(volume, view.column_axis, view.column_flip),
        ],
    }
