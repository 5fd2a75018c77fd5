"""Organs of Slicer segmentations as anatomical prompts, on Slicer's own classes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import slicer
from fakes import blob_volume
from mrml_tools import MOVED, OBLIQUE, linear_transform, vtk_matrix

from MoESegLib.core.errors import GeometryError
from MoESegLib.core.prompts import MaskPrompt
from MoESegLib.core.results import MaskPatch
from MoESegLib.core.structures import find_structure
from MoESegLib.core.tumor_records import TumorRecord, tumor_records
from MoESegLib.core.volume import Volume
from MoESegLib.engines.anatomy3d import anatomy_on_grid
from MoESegLib.engines.grid3d import ModelGrid
from MoESegLib.mrml.anatomy_sources import anatomy_prompts
from MoESegLib.mrml.segmentations import add_segment, create_segmentation, segment_of
from MoESegLib.mrml.terminology import set_structure
from MoESegLib.mrml.volumes import volume_from_node

SHAPE = (9, 40, 48)


def record_of(tumor: str) -> TumorRecord:
    return next(record for record in tumor_records() if record.id == tumor)


def block(number: int) -> np.ndarray:
    """Voxels of the n-th organ, apart from the others."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[1 + number : 5 + number, 3 + 6 * number : 8 + 6 * number, 4 + 7 * number : 10 + 7 * number] = 1
    return mask


@pytest.fixture
def organs(scene, add_volume, writer) -> Callable:
    """A segmentation with a block for each (name, structure), on a volume of its own."""

    def make(segments: list[tuple[str, str]], matrix=None, transform=None):
        node = add_volume(blob_volume(ijk_to_ras=matrix), transform, "Other CT")
        segmentation = create_segmentation(scene, node, "Organs")
        writer.attach(segmentation, node)
        for number, (name, structure) in enumerate(segments):
            segment_id = add_segment(segmentation, name)
            writer.write(segment_id, MaskPatch(), MaskPatch.of(block(number)))
            coded = find_structure(structure)
            if coded is not None:
                set_structure(segment_of(segmentation, segment_id), coded)
        return segmentation, volume_from_node(node)

    return make


def points_of(prompt: MaskPrompt) -> np.ndarray:
    """RAS points of the voxels of a prompt, sorted."""
    assert prompt.ijk_to_ras is not None
    ijk = np.argwhere(prompt.mask)[:, ::-1]
    points = ijk @ prompt.ijk_to_ras[:3, :3].T + prompt.ijk_to_ras[:3, 3]
    return points[np.lexsort(points.round(3).T)]


def painted(volume: Volume, number: int) -> np.ndarray:
    points = volume.to_ras(np.argwhere(block(number))[:, ::-1])
    return points[np.lexsort(points.round(3).T)]


def test_segments_are_known_by_their_codes_and_else_by_their_names(organs) -> None:
    segments = [("Segment_1", "left kidney"), ("kidney_right", ""), ("Kidney, left", "tissue"), ("nothing", "")]
    segmentation, volume = organs(segments)
    prompts, notes = anatomy_prompts(segmentation)
    assert [prompt.structure for prompt in prompts] == ["left kidney", "kidney_right", "Kidney, left"]
    assert notes == ()
    for number, prompt in enumerate(prompts):
        assert prompt.role == "anatomy"
        np.testing.assert_allclose(points_of(prompt), painted(volume, number), atol=1e-4)


def test_a_lesion_is_never_taken_for_its_organ(organs) -> None:
    segmentation, _ = organs([("liver", "liver tumor"), ("liver_tumor", ""), ("liver", "liver")])
    prompts, _ = anatomy_prompts(segmentation)
    assert [prompt.structure for prompt in prompts] == ["liver"]


def test_only_the_organs_of_the_tumor_and_its_cysts_are_taken(organs) -> None:
    segments = [("liver", ""), ("kidney_left", ""), ("a", "left kidney cyst"), ("b", "spleen")]
    segmentation, _ = organs(segments)
    prompts, _ = anatomy_prompts(segmentation, record_of("kidney_tumor"), segment="lesion")
    assert [prompt.structure for prompt in prompts] == ["kidney_left", "left kidney cyst"]
    assert {prompt.segment for prompt in prompts} == {"lesion"}


@pytest.mark.parametrize("transform", [None, MOVED], ids=["in place", "moved"])
def test_an_oblique_segmentation_keeps_its_place_under_its_transforms(organs, transform) -> None:
    segmentation, volume = organs([("liver", ""), ("spleen", "")], OBLIQUE, transform)
    prompts, _ = anatomy_prompts(segmentation)
    for number, prompt in enumerate(prompts):
        np.testing.assert_allclose(points_of(prompt), painted(volume, number), atol=1e-3)


def test_a_segmentation_that_was_cropped_and_shifted_keeps_its_place(scene) -> None:
    """As importers leave it: a label map on a grid of its own, with an extent that begins anywhere."""
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Organs")
    image = slicer.vtkOrientedImageData()
    image.SetExtent(5, 9, -3, 0, 2, 3)
    image.AllocateScalars(3, 1)
    image.GetPointData().GetScalars().Fill(1)
    image.SetImageToWorldMatrix(vtk_matrix(OBLIQUE))
    segmentation.AddSegmentFromBinaryLabelmapRepresentation(image, "liver", [1.0, 0.0, 0.0])
    (prompt,), _ = anatomy_prompts(segmentation)
    corner = OBLIQUE @ (5, -3, 2, 1)
    assert prompt.mask.shape == (2, 4, 5)
    assert prompt.ijk_to_ras is not None
    np.testing.assert_allclose(prompt.ijk_to_ras[:, 3], corner, atol=1e-4)
    np.testing.assert_allclose(prompt.ijk_to_ras[:3, :3], OBLIQUE[:3, :3], atol=1e-4)


def test_an_empty_organ_is_told(organs) -> None:
    segmentation, _ = organs([("liver", "")])
    add_segment(segmentation, "spleen")
    prompts, notes = anatomy_prompts(segmentation)
    assert len(prompts) == 1
    assert notes == ("The segment spleen has no voxels, or is stored as a surface alone, so it is not used.",)


def test_a_transform_that_is_not_linear_is_refused(scene, organs) -> None:
    segmentation, _ = organs([("liver", "")])
    warp = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "Warp")
    segmentation.SetAndObserveTransformNodeID(warp.GetID())
    with pytest.raises(GeometryError, match="not linear"):
        anatomy_prompts(segmentation)


def test_organs_of_another_scan_guide_the_search_in_the_image(scene, organs, add_volume) -> None:
    segmentation, source = organs([("kidney_left", ""), ("kidney_right", "")], OBLIQUE)
    segmentation.SetAndObserveTransformNodeID(linear_transform(scene, MOVED).GetID())
    center = MOVED @ np.append(painted(source, 0).mean(axis=0), 1)
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0])
    matrix[:3, 3] = center[:3] + (40, 40, -40)
    image = volume_from_node(add_volume(Volume(np.zeros((80, 80, 80), np.int16), matrix), name="CT"))
    record = record_of("kidney_tumor")
    prompts, _ = anatomy_prompts(segmentation, record)
    grid = ModelGrid.of(image, 1.0)
    anatomy = anatomy_on_grid(image, grid, prompts, record, "left")
    inside = np.argwhere(anatomy.target) @ grid.to_ras[:3, :3].T + grid.to_ras[:3, 3]
    np.testing.assert_allclose(inside.mean(axis=0), center[:3], atol=0.7)
    voxel = abs(np.linalg.det(MOVED[:3, :3])) * source.voxel_volume
    assert len(inside) == pytest.approx(block(0).sum() * voxel, rel=0.05)
