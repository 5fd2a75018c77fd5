"""The demo CT in Slicer's Sample Data module."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from panel_harness import Harness
from panel_helpers import MODULE

from MoESegLib import Volume
from MoESegLib.mrml.volumes import volume_from_node
from MoESegLib.resources import resource_path


def test_sample_data_loads_the_demo_ct_as_a_ct_and_shows_it(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    offered: list[dict[str, Any]] = []
    module = ModuleType("SampleData")
    logic = SimpleNamespace(registerCustomSampleDataSource=lambda **source: offered.append(source))
    monkeypatch.setattr(module, "SampleDataLogic", logic, raising=False)
    monkeypatch.setitem(sys.modules, "SampleData", module)
    harness.load_module(MODULE)
    (source,) = offered
    assert (source["category"], source["sampleName"]) == ("MoESeg", "MoESegDemoCT")

    (node,) = source["customDownloader"](SimpleNamespace(**source))
    ct = Volume.read(resource_path("Demo", "ct"))
    shown = volume_from_node(node)
    assert node.GetName() == "MoESegDemoCT" and shown.modality == "CT" and node.GetDisplayNode() is not None
    np.testing.assert_array_equal(shown.array, ct.array)
    np.testing.assert_allclose(shown.ijk_to_ras, ct.ijk_to_ras, atol=1e-9)
    composite = harness.slice_logics["Red"].GetSliceCompositeNode()
    assert composite.GetBackgroundVolumeID() == node.GetID()
