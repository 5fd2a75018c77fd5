"""The experts that ship: whole, small, honest about themselves, and without any effect on the base."""

from __future__ import annotations

import numpy as np
import pytest

from MoESegLib import BoxPrompt, PointPrompt, Prompt, TextPrompt
from MoESegLib.core.structures import find_structure
from MoESegLib.core.volume import Volume
from MoESegLib.engines import load_engine
from MoESegLib.engines.protocol import Context
from MoESegLib.engines.slice_engine import SliceEngine
from MoESegLib.evaluation.metrics import dice
from MoESegLib.experts.pack_file import MAX_BYTES, read_pack
from MoESegLib.experts.store import InstalledPack, list_packs
from MoESegLib.resources import resource_path
from MoESegLib.weights.store import weights_id_of

SHIPPED = [pack for pack in list_packs() if pack.shipped]
NAMES = [pack.name for pack in SHIPPED]
EXPECTED = {"click", "abdominal-ct", "tumors", "ultrasound", "spine-mr", "hippocampus-mr", "cell-nuclei", "fetal-head"}
SHARED_ALIKE = "CC-BY-SA-4.0"


def test_they_are_all_there_and_one_is_general() -> None:
    assert set(NAMES) == EXPECTED
    assert [pack.name for pack in SHIPPED if pack.card is not None and pack.card.general] == ["click"]


@pytest.mark.parametrize("pack", SHIPPED, ids=NAMES)
def test_each_is_whole_small_and_says_where_it_comes_from(pack: InstalledPack) -> None:
    assert pack.path.stat().st_size < MAX_BYTES
    card, state = read_pack(pack.path, weights_id_of("lite-medsam"))
    assert card.classes
    assert card.license in ("CC-BY-4.0", SHARED_ALIKE, "CC0-1.0")
    assert all(data.license != "not stated" and data.split == "train" for data in card.training)
    if any("SA" in data.license for data in card.training):
        assert card.license == SHARED_ALIKE
    prompts = {result.prompt for result in card.measured}
    assert {"box", "click"} <= prompts
    assert all(result.command.startswith("moeseg ") for result in card.measured)
    assert ("automatic" in card.prompts) == (card.sizes.queries > 0) == ("auto" in prompts)
    assert card.general or card.sizes.scope_width == len(state["scope.weight"]) > 0
    for entry in card.classes:
        assert bool(entry.codes) == (find_structure(entry.name) is not None)


@pytest.fixture(scope="module")
def demo(lite_engine: SliceEngine) -> tuple[Volume, np.ndarray]:
    """The demo CT, which no expert was taught with, and the labels of its middle slice by TotalSegmentator."""
    from MoESegLib.core.resample import resample_nearest

    volume = Volume.read(resource_path("Demo", "ct"))
    labels = Volume.read(resource_path("Demo", "labels.nii.gz"))
    return volume, resample_nearest(labels.array, labels.ijk_to_ras, volume)[10]


@pytest.fixture(scope="module")
def shipped(lite_engine: SliceEngine) -> SliceEngine:
    return load_engine("segmote-lite", runtime="torch", experts=[pack.path for pack in SHIPPED])


BOX_ON_THE_LIVER = ((105, 194, 10), (271, 376, 10))
CLICK_IN_THE_SPLEEN = (332, 349, 10)


def prompts(volume: Volume) -> dict[str, Prompt]:
    a, b = (tuple(volume.to_ras(corner)) for corner in BOX_ON_THE_LIVER)
    click = tuple(volume.to_ras(CLICK_IN_THE_SPLEEN))
    return {
        "box": BoxPrompt(a, b, plane="axial"),
        "click": PointPrompt(click, plane="axial"),
        "text": TextPrompt("liver", ras=click, plane="axial"),
    }


@pytest.mark.weights
def test_with_all_of_them_the_base_still_answers_to_the_last_bit(shipped, lite_engine, demo) -> None:
    volume, _ = demo
    for kind in ("box", "click"):
        found = shipped.predict(volume, [prompts(volume)[kind]], Context())
        alone = lite_engine.predict(volume, [prompts(volume)[kind]], Context())
        patches = {found.expert: found.patch, **{other.expert: other.patch for other in found.alternatives}}
        assert "base" in patches
        assert (patches["base"].to_array(volume.shape) == alone.patch.to_array(volume.shape)).all()


@pytest.mark.weights
def test_an_organ_on_a_ct_from_elsewhere_is_found_from_one_click(shipped, demo) -> None:
    volume, labels = demo
    answer = shipped.predict(volume, [prompts(volume)["click"]], Context())
    spleen = labels == labels[CLICK_IN_THE_SPLEEN[1], CLICK_IN_THE_SPLEEN[0]]
    assert dice(answer.patch.to_array(volume.shape)[10], spleen) > 0.9


@pytest.mark.weights
def test_a_phrase_finds_the_organ_without_a_click(shipped, demo) -> None:
    volume, labels = demo
    answer = shipped.predict(volume, [prompts(volume)["text"]], Context())
    values, counts = np.unique(labels[labels > 0], return_counts=True)
    liver = labels == values[counts.argmax()]
    assert answer.expert.startswith("abdominal-ct/")
    assert dice(answer.patch.to_array(volume.shape)[10], liver) > 0.5
