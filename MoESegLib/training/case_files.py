"""Finding cases: a folder of images with label maps, or a ``manifest.json``.

A folder is searched by these rules, also in its subfolders:

* **pairs side by side**: the labels are named as the image with ``.seg``, ``_seg``, ``_label``, ``_labels``,
  ``_lab``, ``_mask`` or ``_segmentation`` (or a dash instead of ``_``) at the end: ``a.nrrd`` and ``a.seg.nrrd``,
  ``b_img.nii.gz`` and ``b_lab.nii.gz``; ``_img``, ``_image`` and ``_0000`` at the end of the image's name do not count.
* **two folders**: images in ``images`` (or ``imagesTr``), labels of the same name in ``labels``, ``labelsTr``,
  ``masks`` or ``segmentations``.
* **saved scenes**: every segmentation in a ``.mrb`` with the volume it was drawn on; segments with the status
  "completed", or all of them where nobody used the status.
* **patients**: files in a subfolder are of one patient, named as the subfolder; any other pair is a patient of its
  own.
* **class names**: from ``.seg.nrrd``, else from a ``labels.json`` ``{"1": "liver"}`` in the folder, else "label 1".
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import TrainingError
from ..core.image_io import PICTURE_SUFFIXES, VOLUME_SUFFIXES, file_suffix
from ..core.modality import modality_code
from .cases import Case
from .scene_files import SUFFIX as SCENE_SUFFIX
from .scene_files import cases_of_bundle

_LABEL_END = re.compile(r"([._-]seg|[_-](label|labels|lab|mask|segmentation))$", re.IGNORECASE)
_IMAGE_END = re.compile(r"([_-](img|image)|_0000)$", re.IGNORECASE)
_IMAGE_FOLDERS = {"images", "imagestr"}
_LABEL_FOLDERS = {"labels", "labelstr", "masks", "segmentations"}
_SUFFIXES = {*VOLUME_SUFFIXES, *PICTURE_SUFFIXES, ".seg.nrrd"}


def find_cases(
    data: Path, datasets: Collection[str] = (), classes: Collection[str] = (), modality: str = ""
) -> list[Case]:
    """The cases of a folder or manifest, in a fixed order; images are not read yet.

    Args:
        data: a ``manifest.json``, a folder that holds one, or a folder of images and labels.
        datasets: only these sets of a manifest; its ``val`` and ``test`` splits are never used.
        classes: only these classes.
        modality: of all images of a folder.

    Raises:
        TrainingError: nothing there, an image without labels or labels without image, or a manifest that is damaged.
    """
    if not data.exists():
        raise TrainingError(f"There is no folder or manifest {data}. Check the path.")
    manifest = data / "manifest.json" if data.is_dir() else data
    wanted = frozenset(_without_remark(name) for name in classes) or None
    if manifest.exists():
        return _from_manifest(manifest, datasets, wanted)
    if datasets:
        raise TrainingError(f"{data} has no manifest.json, so no sets can be chosen from it. Leave --set out.")
    return _from_folder(data, wanted, modality)


def _from_manifest(path: Path, datasets: Collection[str], wanted: frozenset[str] | None) -> list[Case]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        entries = content["sets"]
        sets = entries if isinstance(entries, dict) else {entry["name"]: entry for entry in entries}
        unknown = [name for name in datasets if name not in sets]
        if unknown:
            raise TrainingError(f"{path} holds no set {unknown[0]!r}; it holds {', '.join(sets)}.")
        chosen = [
            _manifest_case(path.parent, sets[case["set"]], case, wanted)
            for case in content["cases"]
            if case["split"] == "train" and (not datasets or case["set"] in datasets)
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingError(f"{path} is not a manifest of sets and cases ({error!r}). Write it again.") from error
    if not chosen:
        raise TrainingError(f"{path} holds no case to train on (split 'train') in what was chosen.")
    return chosen


def _manifest_case(folder: Path, entry: dict[str, Any], case: dict[str, Any], wanted: frozenset[str] | None) -> Case:
    names = entry["labels"] if isinstance(entry["labels"], dict) else {}
    classes = {int(number): _without_remark(str(name)) for number, name in names.items() if int(number) != 0}
    modality = modality_code(str(entry.get("modality", "")))
    # A set that names one class and has higher numbers counts the objects of that class (cells).
    instances = len(classes) == 1 and max(case.get("label_values") or [1]) > max(classes)
    return Case(
        f"{case['set']}/{case['case']}",
        str(case["group"]),
        folder / case["image"],
        folder / case["label"],
        classes,
        modality,
        wanted,
        instances,
        case["set"],
        str(entry.get("licence", entry.get("license", ""))),
    )


def _without_remark(name: str) -> str:
    """A class name without what a manifest remarks in parentheses: "fetal head (filled ellipse)" is "fetal head"."""
    return re.sub(r"\s*\([^()]*\)$", "", name) or name


def _from_folder(folder: Path, wanted: frozenset[str] | None, modality: str) -> list[Case]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and file_suffix(path) in _SUFFIXES)
    images = {_key(path): path for path in files if not _is_label(path)}
    labels = {_key(path): path for path in files if _is_label(path)}
    scenes = [
        case
        for path in sorted(folder.rglob(f"*{SCENE_SUFFIX}"))
        for case in cases_of_bundle(path, _patient(folder, path.with_suffix("")), wanted, modality)
    ]
    if not labels and not scenes:
        raise TrainingError(
            f"{folder} holds no labels. Name them as the image with .seg.nrrd or _seg, _label or _mask at the end, or "
            "put them into a folder 'labels' beside a folder 'images'; or save scenes as .mrb."
        )
    for key, path in [*images.items(), *labels.items()]:
        if key not in images or key not in labels:
            missing = "labels" if key in images else "image"
            raise TrainingError(f"{path} has no {missing} of the name {key.name!r} beside it. Add or remove a file.")
    classes = _class_names(folder / "labels.json")
    pairs = [
        Case(path.name, _patient(folder, key), path, labels[key], classes, modality, wanted)
        for key, path in images.items()
    ]
    return [dataclasses.replace(case, dataset=folder.name) for case in [*pairs, *scenes]]


def _stem(path: Path) -> str:
    return path.name[: -len(file_suffix(path))]


def _is_label(path: Path) -> bool:
    if path.parent.name.lower() in _LABEL_FOLDERS or file_suffix(path) == ".seg.nrrd":
        return True
    return path.parent.name.lower() not in _IMAGE_FOLDERS and bool(_LABEL_END.search(_stem(path)))


def _key(path: Path) -> Path:
    """What an image and its labels have in common."""
    parent = path.parent
    if parent.name.lower() in _IMAGE_FOLDERS | _LABEL_FOLDERS:
        parent = parent.parent
    stem = _LABEL_END.sub("", _stem(path)) if _is_label(path) else _stem(path)
    return parent / _IMAGE_END.sub("", stem)


def _patient(folder: Path, key: Path) -> str:
    inside: Sequence[str] = key.relative_to(folder).parts
    return inside[0] if len(inside) > 1 else key.name


def _class_names(path: Path) -> dict[int, str]:
    if not path.exists():
        return {}
    try:
        return {int(number): str(name) for number, name in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError) as error:
        raise TrainingError(f'{path} does not name labels as {{"1": "liver"}} ({error}). Correct it.') from error
