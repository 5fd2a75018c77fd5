"""An expert pack as a MONAI bundle: configuration, model and documents in the folders of MONAI's specification 1.x.

The bundle runs with ``python -m monai.bundle run`` where MONAI, MoESegLib and the base's weights are installed. Nothing
here imports MONAI.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from .. import __version__
from ..core.errors import OutputError
from .card import ExpertCard
from .pack_file import read_pack, write_state
from .sealed_file import SUFFIX
from .store import find_pack

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
_MONAI_VERSION = "1.4.0"


def export_bundle(name: str, folder: Path) -> Path:
    """Write a pack as a MONAI bundle, whole or not at all; returns the folder.

    Raises:
        UnknownModelError: no such pack.
        WeightsError: it is damaged.
        OutputError: the folder exists and is not empty, or cannot be written; nothing was.
    """
    card, state = read_pack(find_pack(name).path)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} exists and is not an empty folder. Give a new one for the bundle.")
    try:
        temporary = Path(tempfile.mkdtemp(prefix=".moeseg-", dir=folder.parent))
        try:
            _write_documents(card, temporary)
            write_state(temporary / "models" / f"{name}{SUFFIX}", state, card)
            temporary.chmod(0o755)  # mkdtemp makes folders private
            if folder.exists():
                folder.rmdir()
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"The bundle {folder} cannot be written: {error}. Nothing was written.") from error
    return folder


def bundle_metadata(card: ExpertCard) -> dict[str, Any]:
    """The bundle's ``configs/metadata.json``."""
    image = _tensor("image", ", ".join(card.modalities) or "any", 3, [0, 1], {"0": "red", "1": "green", "2": "blue"})
    metadata = {
        "schema": SCHEMA,
        "version": __version__.partition(".dev")[0],
        "changelog": {__version__.partition(".dev")[0]: f"exported from the expert pack of {card.created}"},
        "monai_version": _MONAI_VERSION,
        "pytorch_version": _installed("torch"),
        "numpy_version": _installed("numpy"),
        "required_packages_version": {"MoESegLib": card.moeseg_version, "safetensors": _installed("safetensors")},
        "name": card.title,
        "task": "Interactive segmentation: a box, and clicks where the expert was taught them, to a mask",
        "description": card.description or card.title,
        "authors": "the author of the expert pack",
        "copyright": f"License of the expert: {card.license}",
        "data_source": "; ".join(data.name for data in card.training) or "not stated",
        "data_type": "images of one plane",
        "image_classes": "three channels in [0, 1], the longest side 256 pixels, padded with 0",
        "label_classes": ", ".join(entry.name for entry in card.classes) or "any",
        "pred_classes": "one channel of logits; above 0 is inside",
        "eval_metrics": {f"mean Dice, {result.prompt}, {result.data}": result.dice for result in card.measured},
        "intended_use": "Research. Not a medical device.",
        "references": ["Lu et al., SegMoTE, CVPR 2026, arXiv 2602.19213", "Ma et al., Nature Communications 15, 2024"],
        "network_data_format": {
            "inputs": {"image": image},
            "outputs": {"pred": _tensor("segmentation", "n/a", 1, [], {"0": "logits"})},
        },
    }
    return _harmless(metadata)


def inference_config(name: str) -> dict[str, Any]:
    """The bundle's ``configs/inference.json``: an image file and a box in, a segmentation out."""
    return {
        "imports": ["$import torch", "$from pathlib import Path", "$import MoESegLib"],
        "bundle_root": ".",
        "pack": f"$@bundle_root + '/models/{name}{SUFFIX}'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "dataset_dir": "$@bundle_root + '/data'",
        "image": "$@dataset_dir + '/image.nii.gz'",
        "corner_a": [0.0, 0.0, 0.0],
        "corner_b": [1.0, 1.0, 0.0],
        "extent": "slice",
        "output": "$@bundle_root + '/eval/segmentation.seg.nrrd'",
        "dataset": {"_target_": "monai.data.Dataset", "data": "$[{'image': @image}]"},
        "network_def": {"_target_": "MoESegLib.engines.bundle_network.ExpertNetwork", "pack": "@pack"},
        "inferer": {"_target_": "monai.inferers.SimpleInferer"},
        "volume": "$MoESegLib.Volume.read(@image)",
        "engine": "$MoESegLib.load_engine('segmote-lite', experts=[Path(@pack)])",
        "evaluator": "$MoESegLib.Session(@volume, @engine, @extent, prefetch=False)",
        "run": [
            "$Path(@output).parent.mkdir(parents=True, exist_ok=True)",
            "$@evaluator.add(MoESegLib.BoxPrompt(tuple(@corner_a), tuple(@corner_b)))",
            "$@evaluator.wait()",
            "$@evaluator.write(@output)",
        ],
    }


def _write_documents(card: ExpertCard, folder: Path) -> None:
    for part in ("configs", "models", "docs"):
        (folder / part).mkdir()
    for name, data in (("metadata", bundle_metadata(card)), ("inference", inference_config(card.name))):
        text = json.dumps(data, indent=4, ensure_ascii=False) + "\n"
        (folder / "configs" / f"{name}.json").write_text(text, encoding="utf-8")
    (folder / "docs" / "README.md").write_text(_readme(card), encoding="utf-8")
    licenses = [f"{data.name} ({data.split}, {data.cases} cases): {data.license}\n" for data in card.training]
    (folder / "docs" / "data_license.txt").write_text("".join(licenses) or "not stated\n", encoding="utf-8")
    (folder / "LICENSE").write_text(f"The expert in models/: {card.license}\n", encoding="utf-8")


def _readme(card: ExpertCard) -> str:
    rows = [
        f"| {result.data} | {result.prompt} | {result.dice:.3f} | "
        f"{'' if result.base_dice is None else f'{result.base_dice:.3f}'} | `{result.command}` |"
        for result in card.measured
    ]
    table = ["| data | prompt | Dice | base | command |", "|---|---|---|---|---|", *rows] if rows else ["Not measured."]
    return "\n".join(
        [
            f"# {card.title}",
            "",
            card.description,
            "",
            f"A pack of {card.sizes.num_experts} SegMoTE experts for {card.base.name}, taught "
            f"{', '.join(entry.name for entry in card.classes) or 'anything'}; understands {', '.join(card.prompts)}.",
            "",
            "## Results",
            "",
            *table,
            "",
            "## Run",
            "",
            f"Install MONAI and MoESegLib, get the base (`moeseg models get {card.base.name}`), and in this folder run",
            "",
            "```",
            "python -m monai.bundle run --config_file configs/inference.json --image IMAGE --corner_a '[R, A, S]' \\",
            "    --corner_b '[R, A, S]' --output out.seg.nrrd",
            "```",
            "",
            "Corners are RAS millimeters. For clicks, or in 3D Slicer, import the expert:",
            f"`moeseg experts import models/{card.name}{SUFFIX}`.",
            "",
        ]
    )


def _tensor(kind: str, modality: str, channels: int, values: list[int], meaning: dict[str, str]) -> dict[str, Any]:
    return {
        "type": "image",
        "format": kind if kind == "segmentation" else "magnitude",
        "modality": modality,
        "num_channels": channels,
        "spatial_shape": [256, 256],
        "dtype": "float32",
        "value_range": values,
        "is_patch_data": False,
        "channel_def": meaning,
    }


def _installed(package: str) -> str:
    return importlib.metadata.version(package).partition("+")[0]


def _harmless(data: Any) -> Any:
    """What a card says as mere text.

    MONAI runs a text that begins with ``$`` as Python, follows one that begins with ``@`` or ``%``, and makes an object
    of a mapping with ``_target_``; a card is somebody else's.
    """
    if isinstance(data, dict):
        return {key.replace("#", " ").replace(":", " "): _harmless(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_harmless(value) for value in data]
    return data.lstrip("$@% \n\t") if isinstance(data, str) else data
