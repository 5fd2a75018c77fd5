"""From a click on the page to a prompt in patient space, and what the page is shown."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator

import numpy as np
import pytest
from fakes import blob_volume
from web_tools import FakeModels, need, settle

need("slicer")

from MoESegLib.core.errors import MoESegError, PromptError  # noqa: E402
from MoESegLib.core.geometry import PLANES  # noqa: E402
from MoESegLib.core.prompts import BoxPrompt, PointPrompt  # noqa: E402
from MoESegLib.core.volume import Volume  # noqa: E402
from MoESegLib.web import commands  # noqa: E402
from MoESegLib.web.desk import Desk  # noqa: E402
from MoESegLib.web.pictures import Scale, describe_volume, layer_bytes, slice_bytes  # noqa: E402
from MoESegLib.web.snapshot import alternative_picture, snapshot  # noqa: E402

OBLIQUE = np.array([[-0.8, 0.2, 0.1, 30], [0.1, -0.9, 0.3, 12], [0.1, 0.2, 2.4, -5], [0, 0, 0, 1]])


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk(FakeModels())
    desk.show(blob_volume())
    settle(desk)
    yield desk
    desk.close()


def click(desk: Desk, xy=(24, 20), plane="axial", index=4, **more) -> None:
    commands.run(
        desk, {"do": "prompt", "kind": "point", "plane": plane, "index": index, "xy": [xy], "positive": True, **more}
    )


def only_segment(desk: Desk) -> str:
    (segment,) = snapshot(desk)["segments"]
    return segment["id"]


@pytest.mark.parametrize("matrix", [None, OBLIQUE, np.diag([0.7, 0.7, -3.0, 1.0])])
@pytest.mark.parametrize("plane", PLANES)
def test_a_click_becomes_the_point_under_the_mouse(plane, matrix) -> None:
    volume = blob_volume(ijk_to_ras=matrix)
    view = volume.view(volume.axis_of(plane))
    points, found = commands.points_of(volume, {"plane": plane, "index": 3, "xy": [[5.25, 6.5]]})
    ijk = volume.ras_to_ijk(points[0])
    assert found == plane
    assert ijk[view.axis] == pytest.approx(3)
    assert view.to_pixels(ijk) == pytest.approx([5.25, 6.5])
    shown = view.extract(volume.array, 3)[round(6.5), round(5.25)]
    assert shown == volume.array[tuple(np.rint(ijk[::-1]).astype(int))]


def test_what_is_drawn_becomes_the_prompt_of_that_kind() -> None:
    volume = blob_volume()
    message = {"plane": "axial", "index": 4, "xy": [[5, 5], [20, 22]]}
    box = commands.prompt_of(volume, {**message, "kind": "box"}, "a")
    assert isinstance(box, BoxPrompt)
    assert volume.ras_to_ijk(box.corner_b) == pytest.approx([20, 22, 4])
    point = commands.prompt_of(volume, {**message, "kind": "point", "positive": False}, "a")
    assert isinstance(point, PointPrompt) and not point.positive and point.plane == "axial"
    with pytest.raises(PromptError):
        commands.prompt_of(volume, {**message, "kind": "polygon"}, "a")


@pytest.mark.parametrize(
    "message",
    [
        {"do": "prompt"},
        {"do": "prompt", "kind": "point", "plane": "axial", "index": 99, "xy": [[1, 1]]},
        {"do": "prompt", "kind": "point", "plane": "axial", "index": 1, "xy": []},
        {"do": "prompt", "kind": "point", "plane": "axial", "index": 1, "xy": [["a", 2]]},
        {"do": "prompt", "kind": "point", "plane": "axial", "index": 1, "xy": [[float("nan"), 2]]},
        {"do": "prompt", "kind": "laser", "plane": "axial", "index": 1, "xy": [[1, 1]]},
        {"do": "prompt", "kind": "point", "plane": "upside down", "index": 1, "xy": [[1, 1]]},
        {"do": "prompt", "kind": "point", "plane": "axial", "index": 1, "xy": [[900, 900]]},
        {"do": "select_segment", "id": "none"},
        {"do": "remove_segment", "id": "none"},
        {"do": "move_prompt", "id": "none", "plane": "axial", "index": 1, "xy": [[1, 1]]},
        {"do": "extent", "value": "everything"},
        {"do": "overlap", "value": "nonsense"},
        {"do": "model", "name": "../../etc/passwd"},
        {"do": "__init__"},
        {"do": None},
        {},
    ],
)
def test_a_message_that_makes_no_sense_is_refused_and_changes_nothing(desk: Desk, message: dict) -> None:
    before = snapshot(desk)
    with pytest.raises(MoESegError):
        commands.run(desk, message)
    settle(desk)
    assert snapshot(desk) == before


def test_a_click_makes_a_segment_and_its_mask_lies_in_all_three_planes(desk: Desk) -> None:
    click(desk)
    settle(desk)
    case, state = desk.ready(), snapshot(desk)
    assert [segment["name"] for segment in state["segments"]]
    assert state["segments"][0]["milliliters"] > 0
    assert state["answer"]["expert"] == "expert0"
    for plane, index in (("axial", 4), ("coronal", 20), ("sagittal", 24)):
        (layer,) = case.layers(plane, index)
        assert layer.voxels.any() and layer.selected
    assert case.layers("axial", 0) == []


def test_a_layer_lies_where_the_mask_does_in_the_displayed_slice() -> None:
    volume = blob_volume(ijk_to_ras=np.diag([1.0, 1.0, -2.0, 1.0]), center=(4, 12, 30))
    desk = Desk(FakeModels())
    case = desk.show(volume)
    settle(desk)
    view = volume.view(volume.axis_of("axial"))
    x, y = view.to_pixels([30, 12, 4])
    click(desk, (float(x), float(y)))
    settle(desk)
    (layer,) = case.layers("axial", 4)
    left, top, width, height = layer.rect
    whole = np.zeros(view.shape, np.uint8)
    whole[top : top + height, left : left + width] = layer.voxels
    expected = view.extract(case.patch(layer.segment).to_array(volume.shape), 4)
    assert expected.any()
    assert np.array_equal(whole, expected)
    desk.close()


def test_undo_and_redo_go_over_prompts_and_deleted_segments(desk: Desk) -> None:
    click(desk)
    settle(desk)
    segment = only_segment(desk)
    volume = snapshot(desk)["segments"][0]["milliliters"]
    commands.run(desk, {"do": "undo"})
    settle(desk)
    assert snapshot(desk)["segments"][0]["milliliters"] == 0 and snapshot(desk)["canRedo"]
    commands.run(desk, {"do": "redo"})
    settle(desk)
    assert snapshot(desk)["segments"][0]["milliliters"] == volume
    commands.run(desk, {"do": "remove_segment", "id": segment})
    assert snapshot(desk)["segments"] == []
    commands.run(desk, {"do": "undo"})
    settle(desk)
    assert snapshot(desk)["segments"][0]["milliliters"] == volume


def test_an_accepted_segment_takes_no_prompt_no_name_and_is_not_deleted(desk: Desk) -> None:
    click(desk)
    settle(desk)
    segment = only_segment(desk)
    commands.run(desk, {"do": "accept"})
    assert snapshot(desk)["segments"][0]["locked"]
    for message in ({"do": "remove_segment", "id": segment}, {"do": "rename_segment", "id": segment, "name": "x"}):
        with pytest.raises(MoESegError):
            commands.run(desk, message)
    with pytest.raises(MoESegError):
        click(desk, (20, 20))
    commands.run(desk, {"do": "accept"})
    click(desk, (20, 20))


def test_prompts_can_be_moved_flipped_and_removed(desk: Desk) -> None:
    click(desk)
    settle(desk)
    prompt = snapshot(desk)["prompts"][0]
    commands.run(desk, {"do": "move_prompt", "id": prompt["id"], "plane": "axial", "index": 4, "xy": [[22, 21]]})
    settle(desk)
    assert snapshot(desk)["prompts"][0]["places"]["axial"]["path"] == [[22, 21]]
    commands.run(desk, {"do": "flip_prompt", "id": prompt["id"]})
    settle(desk)
    assert not snapshot(desk)["prompts"][0]["positive"]
    commands.run(desk, {"do": "remove_prompt", "id": prompt["id"]})
    settle(desk)
    assert snapshot(desk)["prompts"] == []


def test_a_phrase_is_about_the_slice_that_the_page_shows(desk: Desk) -> None:
    commands.run(desk, {"do": "look", "plane": "axial", "index": 3, "active": True})
    commands.run(desk, {"do": "text", "text": "liver"})
    settle(desk)
    state = snapshot(desk)
    assert state["segments"][0]["name"].lower() == "liver"
    assert desk.ready().patch(state["selected"]).extent[4:] == (3, 3)


def test_the_overlay_shows_what_the_last_answer_added_and_removed(desk: Desk) -> None:
    click(desk)
    settle(desk)
    commands.run(desk, {"do": "overlays", "changes": True, "confidence": False})
    assert [layer.kind for layer in desk.ready().layers("axial", 4)] == ["segment", "added"]
    click(desk, (26, 21), positive=False)
    settle(desk)
    assert "removed" in [layer.kind for layer in desk.ready().layers("axial", 4)]


def test_other_experts_are_shown_and_can_be_chosen(desk: Desk) -> None:
    click(desk)
    settle(desk)
    (other,) = snapshot(desk)["answer"]["alternatives"]
    picture = alternative_picture(desk.ready(), only_segment(desk), other["expert"])
    assert picture.startswith(b"\x89PNG")
    assert alternative_picture(desk.ready(), only_segment(desk), "nobody") == b""
    commands.run(desk, {"do": "expert", "name": other["expert"]})
    settle(desk)
    assert snapshot(desk)["answer"]["expert"] == other["expert"] == snapshot(desk)["expert"]


def test_hidden_segments_are_not_drawn(desk: Desk) -> None:
    click(desk)
    settle(desk)
    commands.run(desk, {"do": "show_segment", "id": only_segment(desk), "on": False})
    assert desk.ready().layers("axial", 4) == []
    assert not snapshot(desk)["segments"][0]["visible"]


@pytest.mark.parametrize("ending", [".seg.nrrd", ".nii.gz"])
def test_a_saved_segmentation_can_be_opened_again(desk: Desk, tmp_path, ending: str) -> None:
    click(desk)
    settle(desk)
    commands.run(desk, {"do": "rename_segment", "id": only_segment(desk), "name": "spleen"})
    before = desk.ready().patch(only_segment(desk))
    desk.ready().save(tmp_path / f"out{ending}")
    case = desk.show(blob_volume())
    settle(desk)
    case.open_segmentation(tmp_path / f"out{ending}")
    settle(desk)
    after = case.patch(only_segment(desk))
    assert after.extent == before.extent and np.array_equal(after.voxels, before.voxels)
    if ending == ".seg.nrrd":
        assert snapshot(desk)["segments"][0]["name"] == "spleen"
        assert len(snapshot(desk)["prompts"]) == 1


def test_a_segmentation_of_another_image_is_refused_and_the_present_one_stays(desk: Desk, tmp_path) -> None:
    click(desk)
    settle(desk)
    desk.ready().save(tmp_path / "out.nii.gz")
    other = blob_volume((7, 30, 30))
    case = desk.show(other)
    settle(desk)
    before = case.segmentation
    with pytest.raises(MoESegError, match="grid"):
        case.open_segmentation(tmp_path / "out.nii.gz")
    assert case.segmentation is before


def test_the_state_is_plain_data(desk: Desk) -> None:
    click(desk)
    settle(desk)
    assert json.loads(json.dumps(snapshot(desk), allow_nan=False))["selected"]
    volume = desk.ready().volume
    assert json.dumps(describe_volume(volume, Scale.of(volume)), allow_nan=False)


@pytest.mark.parametrize(
    ("kind", "values"),
    [(np.int16, (-1024, 3071)), (np.uint8, (0, 255)), (np.float32, (-0.5, 2.5)), (np.int32, (-100000, 100000))],
)
def test_intensities_survive_the_way_to_the_page(kind, values) -> None:
    rng = np.random.default_rng(3)
    array = (rng.random((3, 7, 5)) * (values[1] - values[0]) + values[0]).astype(kind)
    volume = Volume(array, np.diag([-1.0, -1.0, 2.0, 1.0]))
    scale = Scale.of(volume)
    numbers = np.frombuffer(slice_bytes(volume, volume.view(2), 1, scale), "<u2").reshape(7, 5)
    expected = volume.view(2).extract(array, 1).astype(float)
    assert np.abs(scale.low + scale.step * numbers - expected).max() <= scale.step / 2 * (scale.step != 1.0) + 1e-9


def test_the_voxels_of_layers_follow_their_header(desk: Desk) -> None:
    click(desk)
    settle(desk)
    layers = desk.ready().layers("axial", 4)
    data = layer_bytes(layers, 7)
    (length,) = struct.unpack("<I", data[:4])
    header = json.loads(data[4 : 4 + length])
    assert header["revision"] == 7
    assert data[4 + length :] == layers[0].voxels.tobytes()
    assert header["layers"][0]["rect"] == list(layers[0].rect)
