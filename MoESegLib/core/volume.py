"""An image in patient space: voxels plus the matrix that places them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import VolumeError
from .geometry import Plane, SliceView, as_matrix, axis_plane, plane_axis, transform_points


@dataclass(frozen=True, eq=False)
class Volume:
    """A scalar or color image with its IJK-to-RAS matrix.

    Attributes:
        array: voxels ``[k, j, i]``, or ``[k, j, i, 3]`` uint8 for a color image. A 2D image has one slice (k = 1); an
            array ``[j, i]`` is accepted and gets that axis. Not copied; must not be changed afterwards.
        ijk_to_ras: (4, 4) matrix from voxel indices (i, j, k) to RAS millimeters.
        modality: "CT", "MR", "PT", "US", ... as in DICOM; "" when it is not known.
        name: a name for people, usually the file's.

    Raises:
        VolumeError: no voxels, not finite, a type that is not numeric, or 4D.
        GeometryError: the matrix cannot place voxels.
    """

    array: NDArray
    ijk_to_ras: NDArray[np.float64]
    modality: str = ""
    name: str = ""
    color: bool = field(default=False)

    def __post_init__(self) -> None:
        array = np.asarray(self.array)
        array = array.astype(np.uint8) if array.dtype == np.bool_ else array
        if array.ndim == (3 if self.color else 2):
            array = array[np.newaxis]
        _check_voxels(array, self.color, self.name or "The volume")
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "ijk_to_ras", as_matrix(self.ijk_to_ras))
        if not self.modality:
            object.__setattr__(self, "modality", _guess_modality(array, self.color))

    @classmethod
    def read(cls, path: str | Path, *, frame: int | None = None, series: str | None = None) -> Volume:
        """Read NRRD, NIfTI, MetaImage, PNG, JPEG, TIFF, a DICOM file or a folder with one DICOM series.

        Args:
            frame: which frame of a 4D image (0 is the first); 4D images are refused without it.
            series: which DICOM series, by its UID, where a folder holds several.

        Raises:
            VolumeError: see :mod:`MoESegLib.core.image_io`.
        """
        from .image_io import read_volume

        return read_volume(Path(path), frame=frame, series=series)

    def write(self, path: str | Path) -> Path:
        """Write to NRRD, NIfTI, MetaImage, or (one slice of uint8) PNG; the file appears whole or not at all.

        Raises:
            OutputError: unknown file type, no permission, or no space.
        """
        from .image_io import write_volume

        return write_volume(self, Path(path))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along k, j, i."""
        return self.array.shape[0], self.array.shape[1], self.array.shape[2]

    @property
    def size(self) -> tuple[int, int, int]:
        """Voxels along i, j, k."""
        return self.array.shape[2], self.array.shape[1], self.array.shape[0]

    @cached_property
    def spacing(self) -> tuple[float, float, float]:
        """Millimeters between voxel centers along i, j, k."""
        i, j, k = np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @cached_property
    def ras_to_ijk_matrix(self) -> NDArray[np.float64]:
        """(4, 4) matrix from RAS millimeters to voxel indices (i, j, k)."""
        return as_matrix(np.linalg.inv(self.ijk_to_ras))

    def ras_to_ijk(self, ras: ArrayLike) -> NDArray[np.float64]:
        """RAS points (..., 3) to continuous voxel indices (..., 3); integers are voxel centers."""
        return transform_points(self.ras_to_ijk_matrix, ras)

    def to_ras(self, ijk: ArrayLike) -> NDArray[np.float64]:
        """Voxel indices (..., 3) to RAS points (..., 3)."""
        return transform_points(self.ijk_to_ras, ijk)

    def contains(self, ras: ArrayLike) -> bool:
        """Whether every RAS point (..., 3) lies within half a voxel of a voxel center."""
        ijk = self.ras_to_ijk(ras)
        return bool(np.all(ijk >= -0.5 - 1e-6) and np.all(ijk <= np.asarray(self.size) - 0.5 + 1e-6))

    @property
    def voxel_volume(self) -> float:
        """Cubic millimeters of one voxel."""
        return float(abs(np.linalg.det(self.ijk_to_ras[:3, :3])))

    def view(self, axis: int) -> SliceView:
        """How slices normal to IJK ``axis`` are displayed."""
        return SliceView.of(self.ijk_to_ras, self.size, axis)

    def axis_of(self, plane: Plane) -> int:
        """The IJK axis normal to an anatomical plane."""
        return plane_axis(self.ijk_to_ras, plane)

    def plane_of(self, axis: int) -> Plane:
        """The anatomical plane normal to an IJK axis."""
        return axis_plane(self.ijk_to_ras, axis)

    @cached_property
    def acquisition_axis(self) -> int:
        """The axis whose slices were most likely acquired: a single slice, else clearly the thickest, else axial."""
        single = [axis for axis in range(3) if self.size[axis] == 1]
        if len(single) == 1:
            return single[0]
        thickest = int(np.argmax(self.spacing))
        others = [self.spacing[axis] for axis in range(3) if axis != thickest]
        if self.spacing[thickest] > 1.5 * max(others):
            return thickest
        return self.axis_of("axial")

    @cached_property
    def content_id(self) -> str:
        """Hash of the voxels and the matrix: two volumes with the same id give the same answers."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(f"{self.array.dtype.str}{self.array.shape}{self.modality}".encode())
        digest.update(np.ascontiguousarray(self.array).data)
        digest.update(self.ijk_to_ras.tobytes())
        return digest.hexdigest()

    def like(self, array: NDArray, name: str = "") -> Volume:
        """Another scalar array on the same grid (a mask, a label map)."""
        return Volume(array, self.ijk_to_ras, name=name, modality="SEG")


def _check_voxels(array: NDArray, color: bool, name: str) -> None:
    if array.ndim != (4 if color else 3):
        advice = "pick one frame, for example array[t]" if array.ndim == 4 else "pass an array [k, j, i]"
        raise VolumeError(f"{name} has {array.ndim} array dimensions {array.shape}, expected 3 (k, j, i): {advice}.")
    if color and (array.shape[-1] != 3 or array.dtype != np.uint8):
        raise VolumeError(f"{name}: a color image is [k, j, i, 3] uint8; got {array.shape} {array.dtype}.")
    if array.size == 0:
        raise VolumeError(f"{name} holds no voxels (shape {array.shape}); check that the file was exported whole.")
    if array.dtype.kind not in "iuf":
        raise VolumeError(f"{name} has voxels of type {array.dtype}; expected integers or floating-point numbers.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int(array.size - np.count_nonzero(np.isfinite(array)))
        raise VolumeError(
            f"{name} holds {bad} voxels that are NaN or infinite; replace them (for example with the smallest finite "
            "value: Slicer's Simple Filters module, or numpy.nan_to_num) and load it again."
        )


def _guess_modality(array: NDArray, color: bool) -> str:
    """ "CT" where the numbers can only be Hounsfield units; otherwise unknown rather than a wrong guess."""
    if color or array.dtype == np.uint8:
        return ""
    return "CT" if array.min() <= -900 and array.max() > 100 else ""
