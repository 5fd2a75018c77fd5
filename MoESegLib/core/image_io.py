"""Reading and writing volumes through SimpleITK; the only place where LPS (ITK) turns into RAS."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image

from .errors import OutputError, VolumeError
from .files import atomic_path
from .geometry import LPS_TO_RAS
from .volume import Volume

VOLUME_SUFFIXES = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_MODALITY_TAG = "0008|0060"
_POSITION_TAG = "0020|0032"


def read_volume(path: Path, *, frame: int | None = None, series: str | None = None) -> Volume:
    """Read an image file or a DICOM folder into a :class:`~MoESegLib.core.volume.Volume`.

    Raises:
        VolumeError: missing, unreadable or truncated, several DICOM series, 4D without ``frame``, or voxels that are
            not usable (NaN, infinite, none at all).
    """
    if not path.exists():
        raise VolumeError(f"There is no image at {path}. Check the path; a DICOM series is given by its folder.")
    if path.is_dir():
        image, modality = _read_dicom_folder(path, series)
    else:
        image, modality = _read_file(path), ""
        if image.HasMetaDataKey(_MODALITY_TAG):
            modality = image.GetMetaData(_MODALITY_TAG).strip()
    return _to_volume(image, frame, modality, path)


def write_volume(volume: Volume, path: Path) -> Path:
    """Write a volume; NRRD, NIfTI and MetaImage keep the geometry, PNG takes one slice of uint8.

    Raises:
        OutputError: unknown file type, more than PNG can hold, no permission, or no space.
    """
    suffix = file_suffix(path)
    image = to_sitk(volume)
    if suffix == ".png":
        if volume.shape[0] != 1 or volume.array.dtype not in (np.uint8, np.uint16):
            raise OutputError(
                f"A PNG holds one slice of 8 or 16 bit; this volume has {volume.shape[0]} slices of "
                f"{volume.array.dtype}. Write .nrrd or .nii.gz instead."
            )
        image = image[:, :, 0]
    elif suffix not in VOLUME_SUFFIXES or suffix in (".nhdr", ".mhd"):
        raise OutputError(f"Cannot write {path.name}: use .nrrd, .nii.gz, .nii, .mha or .png.")
    with atomic_path(path, suffix) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), suffix != ".nii")
        except RuntimeError as error:
            raise OutputError(f"Cannot write {path}: {_reason(error)}") from error
    return path


def file_suffix(path: Path) -> str:
    """The file type in lower case, ``.nii.gz`` and ``.seg.nrrd`` as one."""
    name = path.name.lower()
    double = next((ending for ending in (".nii.gz", ".seg.nrrd", ".seg.nhdr") if name.endswith(ending)), None)
    return double or path.suffix.lower()


def to_sitk(volume: Volume) -> sitk.Image:
    """The volume as a SimpleITK image (LPS)."""
    image = sitk.GetImageFromArray(volume.array, isVector=volume.color)
    set_sitk_geometry(image, volume.ijk_to_ras)
    return image


def set_sitk_geometry(image: sitk.Image, ijk_to_ras: NDArray[np.float64]) -> None:
    """Place a 3D SimpleITK image by an IJK-to-RAS matrix."""
    ijk_to_lps = LPS_TO_RAS @ ijk_to_ras
    spacing = np.linalg.norm(ijk_to_lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(ijk_to_lps[:3, 3].tolist())
    image.SetDirection((ijk_to_lps[:3, :3] / spacing).ravel().tolist())


def _read_file(path: Path) -> sitk.Image:
    if path.stat().st_size == 0:
        raise VolumeError(f"{path} is an empty file; export or copy it again.")
    if file_suffix(path) in (".nii", ".nii.gz"):
        _check_nifti_is_whole(path)
    if file_suffix(path) in (".jpg", ".jpeg", ".bmp"):
        _check_picture_is_whole(path)
    try:
        return sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise _unreadable(path, error) from error


def _check_nifti_is_whole(path: Path) -> None:
    """ITK turns what a NIfTI file lacks, and voxels that are not finite, into zeros without a word: look first."""
    bad = 0
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as stream:
            header = stream.read(348)
            needed, voxel = _nifti_bytes(header), _nifti_float(header)
            found = len(header)
            if voxel is not None:
                found += len(stream.read(max(0, _nifti_offset(header) - found)))
            while chunk := stream.read(1 << 22):
                found += len(chunk)
                if voxel is not None:
                    values = np.frombuffer(chunk, voxel, len(chunk) // voxel.itemsize)
                    bad += int(values.size - np.count_nonzero(np.isfinite(values)))
    except (EOFError, OSError, zlib.error, struct.error) as error:
        raise VolumeError(f"{path} is truncated or damaged ({error}); export or copy it again.") from error
    if found < needed:
        raise VolumeError(f"{path} is truncated: {found} of {needed} bytes are there; export or copy it again.")
    if bad:
        raise VolumeError(
            f"{path} holds {bad} voxels that are NaN or infinite; replace them (for example with numpy.nan_to_num) and "
            "load it again."
        )


def _check_picture_is_whole(path: Path) -> None:
    """ITK fills what a truncated JPEG or BMP lacks with gray without a word."""
    try:
        with Image.open(path) as picture:
            picture.load()
    except OSError as error:
        raise VolumeError(f"{path} is truncated or damaged ({error}); export or copy it again.") from error


def _nifti_offset(header: bytes) -> int:
    """Where the voxels of a NIfTI-1 file begin."""
    order = "<" if header[:4] == struct.pack("<i", 348) else ">"
    return int(struct.unpack(f"{order}f", header[108:112])[0])


def _nifti_float(header: bytes) -> np.dtype | None:
    """The type of the voxels of a NIfTI-1 file where they are floating-point numbers, with the order of their bytes."""
    order = "<" if header[:4] == struct.pack("<i", 348) else ">"
    if not _nifti_bytes(header):
        return None
    kind = {16: "f4", 64: "f8"}.get(struct.unpack(f"{order}h", header[70:72])[0])
    return None if kind is None else np.dtype(order + kind)


def _nifti_bytes(header: bytes) -> int:
    """Bytes that a NIfTI-1 header promises (0 for other flavors, which ITK checks or refuses itself)."""
    order = "<" if header[:4] == struct.pack("<i", 348) else ">"
    if struct.unpack(f"{order}i", header[:4])[0] != 348 or header[344:347] != b"n+1":
        return 0
    dimensions = struct.unpack(f"{order}8h", header[40:56])
    bits = struct.unpack(f"{order}h", header[72:74])[0]
    return _nifti_offset(header) + math.prod(max(1, length) for length in dimensions[1 : dimensions[0] + 1]) * bits // 8


def series_files(folder: Path, series: str | None = None) -> tuple[str, ...]:
    """The files of a DICOM series, one a slice, in the order in which :func:`read_volume` stacks them.

    Raises:
        VolumeError: no series, several without ``series``, or not the one that is wanted.
    """
    reader = sitk.ImageSeriesReader()
    found = reader.GetGDCMSeriesIDs(str(folder))
    if not found:
        raise VolumeError(f"The folder {folder} holds no DICOM images. Give the folder that holds the .dcm files.")
    if series is None and len(found) > 1:
        listing = ", ".join(found[:5]) + (" ..." if len(found) > 5 else "")
        raise VolumeError(f"The folder {folder} holds {len(found)} DICOM series: {listing}. Say which with series=UID.")
    if series is not None and series not in found:
        raise VolumeError(f"The folder {folder} holds no DICOM series {series}; it holds {', '.join(found)}.")
    return reader.GetGDCMSeriesFileNames(str(folder), series if series is not None else found[0])


def _read_dicom_folder(folder: Path, series: str | None) -> tuple[sitk.Image, str]:
    names = series_files(folder, series)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(names)
    reader.MetaDataDictionaryArrayUpdateOn()
    try:
        image = reader.Execute()
        _check_slices_are_all_there(reader, len(names), folder)
        first = sitk.ImageFileReader()
        first.SetFileName(names[0])
        first.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(folder, error) from error
    modality = first.GetMetaData(_MODALITY_TAG).strip() if first.HasMetaDataKey(_MODALITY_TAG) else ""
    return image, modality


def _check_slices_are_all_there(reader: sitk.ImageSeriesReader, count: int, folder: Path) -> None:
    """GDCM leaves out files that it cannot read, and ITK then spreads the others evenly over the gap.

    Raises:
        VolumeError: two neighbors lie further apart than 1.5 times the usual distance.
    """
    if count < 3 or not all(reader.HasMetaDataKey(number, _POSITION_TAG) for number in range(count)):
        return
    texts = [reader.GetMetaData(number, _POSITION_TAG) for number in range(count)]
    positions = np.array([[float(part) for part in text.split("\\")] for text in texts])
    gaps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    usual, widest = float(np.median(gaps)), int(np.argmax(gaps))
    if gaps[widest] > 1.5 * usual:
        raise VolumeError(
            f"The series in {folder} has a gap of {gaps[widest]:.4g} mm after slice {widest + 1}, where {usual:.4g} mm "
            "are usual: a file is missing or damaged. Export the series again."
        )


def _to_volume(image: sitk.Image, frame: int | None, modality: str, path: Path) -> Volume:
    image = _one_frame(image, frame, path)
    color = image.GetNumberOfComponentsPerPixel() > 1
    array = sitk.GetArrayFromImage(image)
    if color:
        array = array[..., :3]  # an alpha channel says nothing about the image
    if image.GetDimension() == 2:
        array = array[np.newaxis]
    name = path.name[: -len(file_suffix(path))] if path.is_file() and file_suffix(path) else path.name
    return Volume(np.ascontiguousarray(array), _sitk_matrix(image), modality=modality, name=name, color=color)


def _one_frame(image: sitk.Image, frame: int | None, path: Path) -> sitk.Image:
    """Drop to two or three dimensions; frames are a fourth dimension or (Slicer sequences) pixel components."""
    components = image.GetNumberOfComponentsPerPixel()
    is_color = components in (3, 4) and image.GetPixelID() == sitk.sitkVectorUInt8
    if image.GetDimension() == 4:
        frames = image.GetSize()[3]
    elif components > 1 and not is_color:
        frames = components
    else:
        frames = 1
        if frame not in (None, 0):
            raise VolumeError(f"{path} has no frame {frame}: it is a single 3D image. Leave the frame out.")
    if frames > 1 and frame is None:
        raise VolumeError(
            f"{path} is a 4D image with {frames} frames; MoESeg segments one at a time. Pick one: "
            f"Volume.read(path, frame=0), or --frame 0 on the command line (0 to {frames - 1})."
        )
    if frame is not None and not 0 <= frame < frames:
        raise VolumeError(f"{path} has frames 0 to {frames - 1}; frame {frame} does not exist.")
    if image.GetDimension() == 4:
        return image[:, :, :, frame or 0]
    if components > 1 and not is_color:
        return sitk.VectorIndexSelectionCast(image, frame or 0)
    return image


def _sitk_matrix(image: sitk.Image) -> NDArray[np.float64]:
    dimension = image.GetDimension()
    direction = np.eye(3)
    direction[:dimension, :dimension] = np.array(image.GetDirection()).reshape(dimension, dimension)
    matrix = np.eye(4)
    spacing = np.array([*image.GetSpacing(), 1.0][:3])
    matrix[:3, :3] = direction * spacing
    matrix[:dimension, 3] = image.GetOrigin()
    return LPS_TO_RAS @ matrix


def _unreadable(path: Path, error: RuntimeError) -> VolumeError:
    return VolumeError(
        f"{path} cannot be read as an image ({_reason(error)}). It may be truncated or of another type; "
        "export it again as NRRD, NIfTI, MetaImage, PNG or DICOM."
    )


def _reason(error: RuntimeError) -> str:
    """The one informative line of an ITK exception."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rpartition("Error:")[2].removeprefix("Reason:").strip() if lines else "unknown reason"
