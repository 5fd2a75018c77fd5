"""The slice the user looks at is encoded before the first click."""

from __future__ import annotations

import time

import pytest
from fakes import blob_volume
from mrml_tools import MOVED, OBLIQUE, OneModel

from MoESegLib.engines.slice_engine import SliceEngine
from MoESegLib.mrml.views import slice_in_view
from MoESegLib.mrml.volumes import volume_from_node
from MoESegLib.mrml.workbench import Workbench


@pytest.fixture
def slice_node(scene):
    node = scene.AddNewNodeByClass("vtkMRMLSliceNode")
    node.SetOrientationToAxial()
    return node


@pytest.mark.parametrize(("matrix", "parent"), [(None, None), (OBLIQUE, None), (OBLIQUE, MOVED)])
def test_the_slice_in_the_view_is_found_on_any_grid(scene, slice_node, add_volume, matrix, parent):
    volume = volume_from_node(add_volume(blob_volume(ijk_to_ras=matrix), parent))
    for index in (0, 3, 8):
        slice_node.JumpSliceByOffsetting(*volume.to_ras((23.5, 19.5, index)))
        seen = slice_in_view(scene, volume)
        assert seen is not None
        axis = volume.axis_of(seen[1])
        assert volume.contains(seen[0])
        if matrix is None:
            assert axis == 2 and volume.ras_to_ijk(seen[0])[2] == pytest.approx(index)


def test_a_view_beside_the_volume_or_no_view_shows_nothing(scene, add_volume):
    volume = volume_from_node(add_volume(blob_volume()))
    assert slice_in_view(scene, volume) is None
    node = scene.AddNewNodeByClass("vtkMRMLSliceNode")
    node.SetOrientationToAxial()
    node.JumpSliceByOffsetting(0, 0, 9999)
    assert slice_in_view(scene, volume) is None


def test_it_is_encoded_in_the_background_whenever_the_user_scrolls(scene, slice_node, volume_node, model):
    bench = Workbench(scene, models=OneModel(lambda name: SliceEngine(model)))
    bench.select(volume_node)
    bench.finish()
    session = bench.ready()
    for index in (2, 7):
        target = tuple(session.volume.to_ras((20, 20, index)))
        slice_node.JumpSliceByOffsetting(*target)
        bench.pump()
        deadline = time.monotonic() + 10
        while not session._session.is_prefetched(target, "axial"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    bench.close()
