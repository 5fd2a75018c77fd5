"""Cases in saved Slicer scenes (``.mrb``), read without Slicer: a zip of one ``.mrml`` and its data files."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote
from xml.etree import ElementTree

from ..core.errors import TrainingError
from ..core.segmentation_file import STATUS_TAG, SegmentRecord, read_segmentation
from ..core.volume import Volume
from .cases import Case, LabeledImage, Structure
from .label_grid import onto_image

SUFFIX = ".mrb"
_COMPLETED = "completed"
_GEOMETRY = "referenceImageGeometryRef"


@dataclass(frozen=True, eq=False)
class BundledCase(Case):
    """A segmentation in a bundle and the volume it was drawn on; ``image`` and ``labels`` are the bundle.

    Segments with the status "completed" are learned from; all of them, where nobody used the status.

    Attributes:
        image_member, labels_member: files in the bundle.
    """

    image_member: str = ""
    labels_member: str = ""

    def load(self) -> LabeledImage:
        """See :meth:`Case.load`."""
        with tempfile.TemporaryDirectory(prefix="moeseg-") as folder:
            image, labels = (self._extract(member, Path(folder)) for member in (self.image_member, self.labels_member))
            volume = Volume.read(image)
            grid, records = read_segmentation(labels)
        structures = tuple(
            Structure(record.name, onto_image(record.patch, grid, volume, self.name)) for record in _finished(records)
        )
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(Case)}
        return Case(**{**plain, "image": volume, "labels": structures}).load()

    def _extract(self, member: str, folder: Path) -> Path:
        """A member as a file of its own name; the path in the bundle is not trusted."""
        target = folder / PurePosixPath(member).name
        try:
            with zipfile.ZipFile(self.image) as archive, archive.open(member) as source, target.open("wb") as copy:  # type: ignore[arg-type]
                shutil.copyfileobj(source, copy)
        except (OSError, KeyError, EOFError, zipfile.BadZipFile, RuntimeError) as error:
            raise TrainingError(
                f"{self.image} is damaged: {member} cannot be read ({error}). Save the scene again."
            ) from error
        return target


def cases_of_bundle(bundle: Path, patient: str, wanted: frozenset[str] | None = None, modality: str = "") -> list[Case]:
    """One case for every segmentation in a bundle, as far as it lies on a volume of the same bundle.

    Raises:
        TrainingError: the bundle is damaged, or a segmentation has no volume or lies under another transform than it.
    """
    root, folder = _scene(bundle)
    nodes = {node.get("id", ""): node for node in root}
    volumes = [node for node in root if node.tag in ("Volume", "VectorVolume")]
    cases = []
    for node in root:
        if node.tag != "Segmentation" or not _file_of(node, nodes):
            continue
        name = f"{bundle.name}/{node.get('name', '')}"
        volume = nodes.get(_references(node).get(_GEOMETRY, ""))
        if volume is None and len(volumes) == 1:
            volume = volumes[0]
        if volume is None or not _file_of(volume, nodes):
            raise TrainingError(f"{name} has no image in the scene. Save the scene together with its volumes.")
        if _references(node).get("transform") != _references(volume).get("transform"):
            raise TrainingError(
                f"{name} and its image are under different transforms. Put both under the same one, and save again."
            )
        members = (str(folder / unquote(_file_of(entry, nodes))) for entry in (volume, node))
        cases.append(BundledCase(name, patient, bundle, bundle, {}, modality, wanted, False, "", "", *members))
    return cases


def _scene(bundle: Path) -> tuple[ElementTree.Element, PurePosixPath]:
    """The scene's XML, and the folder in the bundle that its file names start from."""
    try:
        with zipfile.ZipFile(bundle) as archive:
            member = next(name for name in archive.namelist() if name.endswith(".mrml"))
            return ElementTree.fromstring(archive.read(member)), PurePosixPath(member).parent
    except (OSError, StopIteration, EOFError, RuntimeError, zipfile.BadZipFile, ElementTree.ParseError) as error:
        raise TrainingError(f"{bundle} is not a scene saved by Slicer ({error!r}). Save it again.") from error


def _references(node: ElementTree.Element) -> dict[str, str]:
    """The first node of every role."""
    entries = (entry.partition(":") for entry in node.get("references", "").split(";") if ":" in entry)
    return {role.strip(): ids.split()[0] for role, _, ids in entries if ids.split()}


def _file_of(node: ElementTree.Element, nodes: dict[str, ElementTree.Element]) -> str:
    storage = nodes.get(_references(node).get("storage", node.get("storageNodeRef", "")))
    return "" if storage is None else storage.get("fileName", "")


def _finished(records: list[SegmentRecord]) -> Iterator[SegmentRecord]:
    used = any(record.tags.get(STATUS_TAG) == _COMPLETED for record in records)
    return (record for record in records if not used or record.tags.get(STATUS_TAG) == _COMPLETED)
