"""A pack as a MONAI bundle, checked by MONAI itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from expert_tools import card_for, random_pack

from MoESegLib.core.errors import OutputError, WeightsError
from MoESegLib.core.segmentation_file import read_segmentation
from MoESegLib.core.volume import Volume
from MoESegLib.experts.monai_bundle import bundle_metadata, export_bundle
from MoESegLib.experts.pack_file import read_pack, write_pack
from MoESegLib.experts.store import install_pack, packs_home

TEXT, NUMBERS = {"type": "string"}, {"type": "array", "items": {"type": "number"}}
TENSOR = {
    "type": "object",
    "properties": {
        "type": TEXT,
        "format": TEXT,
        "modality": TEXT,
        "num_channels": {"type": "integer", "minimum": 1},
        "spatial_shape": {"type": "array", "items": {"type": ["integer", "string"]}},
        "dtype": TEXT,
        "value_range": NUMBERS,
        "is_patch_data": {"type": "boolean"},
        "channel_def": {"type": "object", "additionalProperties": TEXT},
    },
    "required": ["num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data", "channel_def"],
}
TEXTS = ("version", "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors", "copyright")
SCHEMA = {
    "type": "object",
    "properties": {
        **dict.fromkeys(TEXTS, TEXT),
        "changelog": {"type": "object", "additionalProperties": TEXT},
        "required_packages_version": {"type": "object", "additionalProperties": TEXT},
        "network_data_format": {
            "type": "object",
            "properties": dict.fromkeys(
                ("inputs", "outputs"), {"type": "object", "minProperties": 1, "additionalProperties": TENSOR}
            ),
            "required": ["inputs", "outputs"],
        },
    },
    "required": ["schema", *TEXTS, "changelog", "required_packages_version", "network_data_format"],
}
"""What MONAI's bundle specification asks of metadata, in own words, since its schema file lies on the network."""


@pytest.fixture
def bundle(home: Path, tmp_path: Path) -> Path:
    pack = random_pack(width=256, early=160, rank=4)
    install_pack(pack, card_for(pack))
    return export_bundle("liver", tmp_path / "bundle")


def test_the_folders_and_files_are_those_of_a_bundle(bundle: Path) -> None:
    files = {str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file()}
    assert files == {
        "LICENSE",
        "configs/inference.json",
        "configs/metadata.json",
        "docs/README.md",
        "docs/data_license.txt",
        "models/liver.json",
        "models/liver.safetensors",
    }
    assert (bundle / "models" / "liver.safetensors").read_bytes() == (packs_home() / "liver.safetensors").read_bytes()
    readme = (bundle / "docs" / "README.md").read_text()
    assert "0.800" in readme
    assert "moeseg evaluate --protocol click" in readme
    assert "BTCV (train, 20 cases): CC BY 4.0" in (bundle / "docs" / "data_license.txt").read_text()


def test_monai_finds_the_metadata_in_order(bundle: Path, tmp_path: Path) -> None:
    scripts = pytest.importorskip("monai.bundle.scripts")
    pytest.importorskip("jsonschema")
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    metadata = bundle / "configs" / "metadata.json"
    scripts.verify_metadata(meta_file=str(metadata), filepath=str(tmp_path / "schema.json"))
    data = json.loads(metadata.read_text())
    del data["task"]
    metadata.write_text(json.dumps(data))
    with pytest.raises(ValueError, match="task"):
        scripts.verify_metadata(meta_file=str(metadata), filepath=str(tmp_path / "schema.json"))


def test_the_configuration_has_the_properties_of_an_inference_workflow(bundle: Path) -> None:
    properties = pytest.importorskip("monai.bundle.properties").InferProperties
    config = json.loads((bundle / "configs" / "inference.json").read_text())
    needed = {entry["id"] for entry in properties.values() if entry["required"]}
    assert "network_def" in needed
    assert needed <= set(config)


@pytest.mark.weights
def test_monai_runs_the_network_and_the_bundle(
    tmp_path: Path, lite_medsam_path: Path, demo_volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = pytest.importorskip("monai.bundle.scripts")
    from MoESegLib.experts import monai_bundle, store

    pack, path = random_pack(width=256, early=160, rank=4), tmp_path / "liver.safetensors"
    write_pack(path, pack, card_for(pack))
    monkeypatch.setattr(store, "packs_home", lambda: tmp_path)
    bundle = monai_bundle.export_bundle("liver", tmp_path / "bundle")
    config, meta = (str(bundle / "configs" / f"{name}.json") for name in ("inference", "metadata"))
    scripts.verify_net_in_out("network_def", meta, config, device="cpu", bundle_root=str(bundle))

    image = demo_volume.like(demo_volume.array.copy()).write(tmp_path / "ct.nrrd")
    corners = demo_volume.to_ras([[292, 243, 10], [394, 379, 10]]).tolist()
    options = {"bundle_root": str(bundle), "image": str(image), "corner_a": corners[0], "corner_b": corners[1]}
    scripts.run(config_file=config, meta_file=meta, logging_file=False, **options)
    _, (record,) = read_segmentation(bundle / "eval" / "segmentation.seg.nrrd")
    assert record.tags["MoESeg.Engine"] == "segmote-lite"
    assert "MoESeg.Expert" in record.tags


def test_nothing_in_a_card_is_run_by_who_reads_the_bundle() -> None:
    """In a MONAI configuration a text that begins with a dollar sign is Python."""
    parser = pytest.importorskip("monai.bundle").ConfigParser
    evil = "$__import__('builtins').exec('raise SystemExit')"
    pack = random_pack()
    card = card_for(pack, title=evil, description=f" {evil}", modalities=(evil,), license=evil)
    metadata = bundle_metadata(card)
    assert parser({"_meta_": metadata}).get_parsed_content("_meta_")["name"] == evil[1:]


def test_a_folder_that_is_in_use_is_left_alone(bundle: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OutputError, match="not an empty folder"):
        export_bundle("liver", bundle)
    with pytest.raises(OutputError, match="cannot be written"):
        export_bundle("liver", tmp_path / "none" / "bundle")
    (packs_home() / "liver.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="whole"):
        export_bundle("liver", tmp_path / "new")
    assert sorted(tmp_path.iterdir()) == before


def test_an_empty_folder_may_become_the_bundle(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert export_bundle("liver", tmp_path / "empty") == tmp_path / "empty"
    _, state = read_pack(tmp_path / "empty" / "models" / "liver.safetensors")
    assert torch.equal(state["expert_tokens"], read_pack(packs_home() / "liver.safetensors")[1]["expert_tokens"])
