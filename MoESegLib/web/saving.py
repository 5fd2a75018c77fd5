"""Saving what was segmented: which format is written by whom, and without making other clicks wait."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ..core.errors import OutputError
from ..core.files import atomic_path
from ..core.image_io import file_suffix
from ..mrml.scene_files import scene_xml, write_bundle
from ..mrml.segmentation_files import segment_records
from . import dicom_seg
from .desk import Case
from .files import plain_name

FORMATS = {
    "seg.nrrd": ".seg.nrrd",
    "nii.gz": ".nii.gz",
    "mrb": ".mrb",
    "dcm": ".seg.dcm",
    "jsonl": ".prompts.jsonl",
}
"""What the page offers, and how those files are called after the image."""
COMPLETE = (".seg.nrrd", ".mrb")
"""Formats that keep everything the user did."""


async def save(case: Case, path: Path) -> list[str]:
    """Write all segments, or for ``.jsonl`` the prompt log; the file's type says how.

    Returns:
        Warnings: what the chosen format could not keep.

    Raises:
        OutputError: unknown file type, not possible for this image, no permission, no space; nothing was written.
    """
    suffix = file_suffix(path)
    if suffix == ".jsonl":
        with atomic_path(path) as temporary:
            temporary.write_text(case.log.text(), encoding="utf-8")
        return []
    if suffix == ".mrb":
        name = plain_name(case.volume.name) or "image"
        records = segment_records(case.segmentation, case.patch)
        xml = scene_xml(case.volume, records, name)
        await asyncio.to_thread(write_bundle, path, xml, case.volume, records, name)
        return []
    if suffix == ".dcm":
        source, records = case.source, segment_records(case.segmentation, case.patch)
        if source is None or dicom_seg.why_not(source):
            raise OutputError(dicom_seg.why_not(source))
        return await asyncio.to_thread(dicom_seg.write_dicom_seg, path, source, case.volume, records)
    return case.save(path)
