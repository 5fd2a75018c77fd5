"""Whole scenes as ``.mrb`` without the Slicer application: an image and its segments.

A bundle is a zip of one folder with the scene (``.mrml``, XML) and a folder ``Data`` with a file for every node that
has voxels, as ``vtkMRMLScene::WriteToMRB`` makes it. The XML is Slicer's; the files are written here, because Slicer's
writers would keep Python from doing anything else meanwhile.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import OutputError
from ..core.files import atomic_path
from ..core.segmentation_file import SegmentRecord, write_segmentation
from ..core.volume import Volume
from .headless import HeadlessScene
from .segmentations import create_segmentation


def scene_xml(volume: Volume, records: Sequence[SegmentRecord], name: str) -> str:
    """The scene of an image and segments whose voxels lie in ``Data/NAME.nrrd`` and ``Data/NAME.seg.nrrd``.

    Belongs to the main thread.

    Raises:
        OutputError: Slicer refused to write it.
    """
    headless = HeadlessScene()
    try:
        node = headless.add_volume(volume)
        node.SetName(name)
        segmentation = create_segmentation(headless.scene, node, f"{name} segmentation")
        for record in records:
            segmentation.GetSegmentation().AddEmptySegment(record.id, record.name, record.color)
        for item, suffix in ((node, "nrrd"), (segmentation, "seg.nrrd")):
            item.AddDefaultStorageNode()
            item.GetStorageNode().SetFileName(f"Data/{name}.{suffix}")
        with tempfile.TemporaryDirectory() as folder:
            headless.scene.SetRootDirectory(folder)
            path = Path(folder) / "scene.mrml"
            if not headless.scene.Commit(str(path)):
                raise OutputError("Slicer's writer refused the scene. Nothing was written.")
            return path.read_text(encoding="utf-8")
    finally:
        headless.close()


def write_bundle(path: Path, xml: str, volume: Volume, records: Sequence[SegmentRecord], name: str) -> None:
    """Write a ``.mrb`` that Slicer opens; any thread.

    Args:
        xml: of :func:`scene_xml`, with the same volume, records and name.

    Raises:
        OutputError: no permission or no space; nothing was written.
    """
    with atomic_path(path) as temporary, tempfile.TemporaryDirectory(dir=path.parent, prefix=".moeseg-") as folder:
        image, segments = Path(folder) / f"{name}.nrrd", Path(folder) / f"{name}.seg.nrrd"
        volume.write(image)
        write_segmentation(segments, volume, records)
        with zipfile.ZipFile(temporary, "w") as bundle:
            bundle.writestr(f"{name}/{name}.mrml", xml, zipfile.ZIP_DEFLATED)
            for file in (image, segments):
                bundle.write(file, f"{name}/Data/{file.name}", zipfile.ZIP_STORED)  # compressed already
