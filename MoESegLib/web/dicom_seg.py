"""Segments as a DICOM Segmentation object, which archives and clinical viewers take beside the images.

Needs highdicom (extra ``web``), and the files of the series: patient, study and frame of reference are theirs.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..core.errors import OutputError, VolumeError
from ..core.files import atomic_path
from ..core.image_io import series_files
from ..core.segmentation_file import SegmentRecord
from ..core.structures import Code
from ..core.terminology import TERMINOLOGY_TAG, structure_of_entry
from ..core.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

_TISSUE = Code("SCT", "85756007", "Tissue")
"""For segments without a code; Slicer writes the same."""
_POSITION_TOLERANCE = 1e-2  # millimeters
_MOST_BYTES = 2 << 30


def why_not(source: Path | None) -> str:
    """Why no DICOM Segmentation can be written for an image from there; "" when one can."""
    if source is None or not is_dicom(source):
        return (
            "DICOM SEG refers to the DICOM images it was drawn on, and there are none for this image. Save as "
            ".seg.nrrd or NIfTI."
        )
    if importlib.util.find_spec("highdicom") is None:
        return "DICOM SEG needs highdicom, which is not installed. Run: pip install 'MoESegLib[web]'"
    return ""


def is_dicom(path: Path) -> bool:
    """Whether an image was read from a folder of DICOM files, or from one."""
    if path.is_dir():
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def write_dicom_seg(path: Path, source: Path, volume: Volume, records: Sequence[SegmentRecord]) -> list[str]:
    """Write a DICOM SEG of binary segments, which may overlap; empty ones are left out.

    Args:
        source: the file or folder that the volume was read from.

    Returns:
        Warnings: which segments are empty.

    Raises:
        OutputError: nothing is segmented, the series is of a kind that is not understood, it does not fit the volume,
            or the file cannot be written.
    """
    import highdicom as hd

    drawn = [record for record in records if record.patch.count]
    if not drawn:
        raise OutputError("There is nothing to save: all segments are empty.")
    if volume.array.size * len(drawn) > _MOST_BYTES:
        raise OutputError("The segments are too large together for a DICOM SEG; delete some, or save as .seg.nrrd.")
    images = _headers(source, volume)
    masks = np.stack([record.patch.to_array(volume.shape) for record in drawn], axis=-1)
    try:
        segmentation = hd.seg.Segmentation(
            source_images=images,
            pixel_array=masks,
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[_description(number, record) for number, record in enumerate(drawn, start=1)],
            series_instance_uid=hd.UID(),
            series_number=_series_number(images[0]),
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer="MoESeg",
            manufacturer_model_name="MoESeg",
            software_versions=__version__,
            device_serial_number="0",
            content_description="Segments drawn with MoESeg",
            series_description="MoESeg segmentation",
        )
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise OutputError(f"The images of this series cannot be referred to ({error}). Save as .seg.nrrd.") from error
    with atomic_path(path) as temporary:
        segmentation.save_as(temporary)
    empty = [record.name for record in records if not record.patch.count]
    return [f"Left out, because nothing is drawn: {', '.join(empty)}."] if empty else []


def _headers(source: Path, volume: Volume) -> Sequence[Dataset]:
    """The headers of the files of a volume, one a slice, in the order of the slices.

    Raises:
        OutputError: there is another number of them (several frames a file), or they lie elsewhere.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        names = series_files(source) if source.is_dir() else [str(source)]
        headers = [pydicom.dcmread(name, stop_before_pixels=True) for name in names]
    except (VolumeError, OSError, InvalidDicomError) as error:
        raise OutputError(f"The DICOM images are not there any more ({error}). Save as .seg.nrrd.") from error
    if len(headers) != volume.size[2] or not all("ImagePositionPatient" in header for header in headers):
        raise OutputError(
            "The DICOM images have several frames in a file, or do not say where they lie; that cannot be saved as "
            "DICOM SEG in this version. Save as .seg.nrrd."
        )
    for index in (0, len(headers) - 1):
        place = np.array([float(number) for number in headers[index].ImagePositionPatient])
        if np.abs(volume.to_ras([0, 0, index]) * [-1, -1, 1] - place).max() > _POSITION_TOLERANCE:
            raise OutputError(
                "The DICOM images have changed since they were opened. Open them again, or save .seg.nrrd."
            )
    return headers


def _description(number: int, record: SegmentRecord) -> Any:
    """Name, codes, color and origin of a segment."""
    import highdicom as hd

    red, green, blue = (round(255 * part) for part in record.color or (0.5, 0.5, 0.5))
    structure = structure_of_entry(record.tags.get(TERMINOLOGY_TAG, ""), (red, green, blue))
    category, kind = (structure.category, structure.type) if structure is not None else (_TISSUE, _TISSUE)
    model = record.tags.get("MoESeg.Model", "")
    described = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=record.name[:64],
        segmented_property_category=_concept(category),
        segmented_property_type=_concept(kind),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=f"MoESeg {model}".strip(),
            family=hd.sr.CodedConcept("123110", "DCM", "Artificial Intelligence"),
            version=record.tags.get("MoESeg.Version", __version__),
        ),
        anatomic_regions=[_concept(structure.region)] if structure is not None and structure.region else None,
        display_color=hd.color.CIELabColor.from_rgb(red, green, blue),
    )
    if structure is not None and structure.modifier is not None:
        described.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
            _concept(structure.modifier)
        ]
    return described


def _concept(code: Code) -> Any:
    import highdicom as hd

    return hd.sr.CodedConcept(code.value, code.scheme, code.meaning[:64])


def _series_number(image: Dataset) -> int:
    """After that of the images, as archives sort them."""
    return int(image.get("SeriesNumber") or 0) + 1000
