"""The panel's logic, driven by a script: choosing, prompting, phrases, lesions, models that come and go."""

from __future__ import annotations

import hashlib
import http.server
import threading
from pathlib import Path

import numpy as np
import pytest
from fakes import SIDE, ThresholdModel, blob_volume
from mrml_tools import MOVED, OBLIQUE, box, linear_transform, point, vtk_matrix

from MoESegLib import Session
from MoESegLib.core.errors import MoESegError, PromptError, UnknownModelError
from MoESegLib.core.structures import find_structure
from MoESegLib.core.volume import Volume
from MoESegLib.engines.protocol import ExpertLogits
from MoESegLib.engines.slice_engine import SliceEngine
from MoESegLib.mrml.model_library import ModelLibrary
from MoESegLib.mrml.segmentations import create_segmentation, get_tag, segment_ids, segment_mask, segment_of
from MoESegLib.mrml.terminology import structure_of
from MoESegLib.mrml.volumes import volume_from_node
from MoESegLib.mrml.workbench import TOOLS, Workbench
from MoESegLib.weights import cards, model_cards
from MoESegLib.weights import store as weights_store
from MoESegLib.weights.providers import url as url_provider

CONTENT = bytes(range(256)) * 8


class TextModel(ThresholdModel):
    """Also takes a phrase for everything bright."""

    def decode(self, embedding, prompt) -> tuple[ExpertLogits, ...]:
        answers = super().decode(embedding, prompt)
        if prompt.text is None:
            return answers
        image = embedding["image"][0, 0].float().numpy()
        assert image.shape == (SIDE, SIDE)
        return (ExpertLogits("text", np.where(image > 0.5, 4.0, -4.0).astype(np.float32), 0.7, 1.0),)


class Download(http.server.BaseHTTPRequestHandler):
    """Serves half of the file and waits for ``release`` before the rest."""

    started, release = threading.Event(), threading.Event()

    def do_GET(self) -> None:
        type(self).started.set()
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:1000])
        self.wfile.flush()
        type(self).release.wait(10)
        self.wfile.write(CONTENT[1000:])

    def log_message(self, format: str, *args) -> None:
        """Quiet."""


@pytest.fixture
def catalog(home: Path, monkeypatch: pytest.MonkeyPatch):
    """Two small models, "first" and "second", that a local server has and this machine not yet."""
    Download.started, Download.release = threading.Event(), threading.Event()
    daemon = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Download)
    daemon.daemon_threads = True
    threading.Thread(target=daemon.serve_forever, args=(0.01,), daemon=True).start()
    known = dict(model_cards())
    for name in ("first", "second"):
        known[name] = cards.ModelCard(
            **{
                **known["sam-vit-b"].to_dict(),
                "name": name,
                "title": name.title(),
                "file_name": f"{name}.pth",
                "size_bytes": len(CONTENT),
                "sha256": hashlib.sha256(CONTENT).hexdigest(),
                "provider": {"kind": "url", "url": f"http://127.0.0.1:{daemon.server_port}/{name}"},
            }
        )
    for module in (cards, weights_store):
        monkeypatch.setattr(module, "model_cards", lambda: known)
    monkeypatch.setattr(url_provider, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield home
    Download.release.set()
    daemon.shutdown()
    daemon.server_close()


@pytest.fixture
def engines() -> dict:
    return {
        "first": ThresholdModel(native=frozenset({"box", "point"}), experts=3),
        "second": TextModel(native=frozenset({"box", "point", "text"})),
    }


@pytest.fixture
def bench(scene, catalog, engines, tmp_path):
    """A workbench with both models on this machine."""
    models = ModelLibrary(load=lambda name: SliceEngine(engines[name]))
    file = tmp_path / "weights.pth"
    file.write_bytes(CONTENT)
    for name in engines:
        models.import_file(name, file)
    workbench = Workbench(scene, models=models)
    yield workbench
    workbench.close()


@pytest.fixture
def ready(bench, volume_node):
    bench.select(volume_node, model="first")
    bench.finish(10)
    return bench


def python_mask(node, model, prompts) -> np.ndarray:
    with Session(volume_from_node(node), SliceEngine(model), prefetch=False) as session:
        for prompt in prompts:
            session.add(prompt)
        return session.mask(prompts[0].segment)


# A session from start to end -------------------------------------------------------------------------------------


def test_the_script_of_the_docstring_runs(bench, add_volume, engines) -> None:
    node = add_volume(blob_volume(ijk_to_ras=OBLIQUE), MOVED)
    bench.select(node, model="first")
    liver = bench.add_segment("liver")
    bench.finish(10)
    prompt = box(bench.ready().volume, (10, 8), (38, 32), liver)
    bench.add(prompt)
    update = bench.finish(10)
    mask = segment_mask(bench.parameters.segmentation, liver, node)
    assert np.array_equal(mask, python_mask(node, engines["first"], [prompt])) and mask.sum() > 50
    assert update.answers[liver].added == mask.sum()
    assert bench.result(liver).expert == "expert0" and bench.result("other") is None
    assert bench.parameters.segmentation.GetTransformNodeID() == node.GetTransformNodeID()


def test_a_segment_is_coded_and_colored_when_its_name_is_known(ready) -> None:
    segmentation = ready.parameters.segmentation
    liver, thing = ready.add_segment("Liver"), ready.add_segment("thing 17")
    known = find_structure("liver")
    segment = segment_of(segmentation, liver)
    assert structure_of(segment) is known and segment.GetName() == "Liver"
    assert [round(255 * value) for value in segment.GetColor()] == list(known.color)
    assert segment_of(segmentation, thing).GetName() == "thing 17"
    assert structure_of(segment_of(segmentation, thing)) is find_structure("tissue")
    assert ready.parameters.segment == thing == ready.selected_segment()
    ready.set_structure(thing, find_structure("left kidney"))
    assert segment_of(segmentation, thing).GetName() == "left kidney"


def test_without_an_image_everything_says_what_is_missing(bench) -> None:
    assert bench.why_not() == "Choose an image first."
    with pytest.raises(MoESegError, match="Choose an image"):
        bench.ready()
    with pytest.raises(MoESegError, match="Choose an image"):
        bench.add_segment("liver")
    with pytest.raises(UnknownModelError):
        bench.select(model="gpt")
    assert bench.lesion_table() == [] and bench.pump().messages == []


def test_nothing_runs_until_asked_when_auto_run_is_off(ready, volume_node, engines) -> None:
    ready.parameters.auto_run = False
    liver = ready.add_segment("liver")
    session = ready.ready()
    first, second = point(session.volume, (20, 20, 4), liver), point(session.volume, (28, 20, 4), liver)
    ready.add(first)
    ready.add(second)
    assert ready.finish(5).answers == {}
    assert engines["first"].decoded == 0 and session.has_unanswered()
    session.retry()
    assert list(ready.finish(10).answers) == [liver]
    expected = python_mask(volume_node, engines["first"], [first, second])
    assert np.array_equal(segment_mask(ready.parameters.segmentation, liver, volume_node), expected)
    session.undo()
    ready.finish(5)
    assert session.prompts(liver) == (first,)


def test_finish_gives_up_in_time_and_cancel_stops_what_runs(ready, engines) -> None:
    release = threading.Event()
    engines["first"].before_decode = release.wait
    liver = ready.add_segment("liver")
    ready.add(point(ready.ready().volume, (20, 20, 4), liver))
    with pytest.raises(TimeoutError, match="Still running"):
        ready.finish(0.1)
    assert ready.is_busy and ready.progress is not None
    ready.cancel()
    release.set()
    assert ready.finish(10).answers == {}
    assert ready.progress is None
    ready.ready().retry()
    assert liver in ready.finish(10).answers


# Phrases ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def speaking(bench, volume_node):
    bench.select(volume_node, model="second", extent="volume")
    bench.finish(10)
    return bench


def test_a_known_phrase_names_codes_and_segments(speaking, volume_node) -> None:
    speaking.add_text("liver")
    speaking.finish(10)
    segmentation = speaking.parameters.segmentation
    (segment_id,) = segment_ids(segmentation)
    segment = segment_of(segmentation, segment_id)
    assert structure_of(segment) is find_structure("liver") and segment.GetName() == "liver"
    bright = blob_volume().array > 200
    assert (segment_mask(segmentation, segment_id, volume_node) != bright).mean() < 0.02
    assert get_tag(segment, "MoESeg.Model") == "threshold" and get_tag(segment, "MoESeg.Extent") == "volume"
    speaking.ready().undo()
    speaking.finish(10)
    assert segment_mask(segmentation, segment_id, volume_node).sum() == 0


def test_an_unknown_phrase_becomes_the_name_of_the_new_segment(speaking) -> None:
    speaking.add_text("the bright thing")
    speaking.finish(10)
    segmentation = speaking.parameters.segmentation
    assert [segment_of(segmentation, key).GetName() for key in segment_ids(segmentation)] == ["the bright thing"]


def test_a_model_without_text_says_so(ready) -> None:
    with pytest.raises(PromptError, match="First does not understand text"):
        ready.add_text("liver")
    assert segment_ids(ready.parameters.segmentation) == ()


# Lesions ---------------------------------------------------------------------------------------------------------


def test_lesion_clicks_make_a_table(ready, volume_node) -> None:
    ready.parameters.lesions = True
    ready.start_tool("positive")
    assert ready.is_placing()
    (node,) = ready.ready().nodes.nodes("*")
    for ijk in ((20, 20, 4), (28, 20, 4)):
        node.AddControlPointWorld(*ready.ready().volume.to_ras(ijk))
        ready.finish(10)
    rows = ready.lesion_table()
    assert [name for name, _ in rows] == ["Lesion 1", "Lesion 2"]
    segmentation = ready.parameters.segmentation
    for (_, measures), key in zip(rows, segment_ids(segmentation), strict=True):
        assert measures.volume_ml == pytest.approx(segment_mask(segmentation, key, volume_node).sum() * 2 / 1000)
    lines = ready.lesion_csv().splitlines()
    assert len(lines) == 3 and lines[1].startswith("Lesion 1,")
    ready.stop_tool()
    assert not ready.is_placing() and ready.ready().nodes.nodes("*") == []


def test_the_table_follows_undo_the_brush_and_a_scaled_transform(bench, scene, add_volume) -> None:
    node = add_volume(blob_volume(), np.eye(4))
    bench.select(node, model="first")
    bench.finish(10)
    liver = bench.add_segment("liver")
    bench.add(point(bench.ready().volume, (20, 20, 4), liver))
    bench.finish(10)
    ((_, before),) = bench.lesion_table()
    node.GetParentTransformNode().SetMatrixTransformToParent(vtk_matrix(np.diag([2.0, 1, 1, 1])))
    bench.finish(10)
    ((_, scaled),) = bench.lesion_table()
    assert scaled.volume_ml == pytest.approx(2 * before.volume_ml)
    bench.ready().undo()
    bench.finish(10)
    assert bench.lesion_table() == []


# Tools and views -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_places_into_markups_of_the_selected_segment(scene, ready, tool: str) -> None:
    liver = ready.add_segment("liver")
    ready.start_tool(tool)
    (node,) = ready.ready().nodes.nodes(liver)
    assert node.GetAttribute("MoESeg.Kind") == TOOLS[tool]
    selection = scene.GetFirstNodeByClass("vtkMRMLSelectionNode")
    assert ready.is_placing() and selection.GetActivePlaceNodeID() == node.GetID()
    ready.stop_tool()
    assert ready.ready().nodes.nodes(liver) == []


def test_the_views_jump_to_a_prompt(scene, ready) -> None:
    view = scene.AddNewNodeByClass("vtkMRMLSliceNode", "Red")
    view.SetOrientationToAxial()
    liver = ready.add_segment("liver")
    prompt = box(ready.ready().volume, (10, 8), (38, 32), liver, k=6)
    ready.jump_to(prompt)
    assert view.GetSliceOffset() == pytest.approx(12.0)


def test_the_overwrite_mode_is_the_editors(ready) -> None:
    node = ready.writer.editor_node()
    assert ready.overwrite_mode == "visible"
    for mode, value in (
        ("all", node.OverwriteAllSegments),
        ("visible", node.OverwriteVisibleSegments),
        ("none", node.OverwriteNone),
    ):
        ready.overwrite_mode = mode
        assert node.GetOverwriteMode() == value and ready.overwrite_mode == mode


def test_alternatives_have_pictures(ready) -> None:
    liver = ready.add_segment("liver")
    ready.add(point(ready.ready().volume, (20, 20, 4), liver))
    answer = ready.finish(10).answers[liver]
    assert [alternative.expert for alternative in answer.result.alternatives] == ["expert1", "expert2"]
    picture = ready.thumbnail(answer, answer.result.alternatives[0])
    assert picture.startswith(b"\x89PNG")
    ready.close()
    assert ready.thumbnail(answer, answer.result.alternatives[0]) == b""


# Changing one's mind ---------------------------------------------------------------------------------------------


def test_another_model_or_extent_in_the_middle_keeps_prompts_and_voxels(ready, volume_node, engines) -> None:
    liver = ready.add_segment("liver")
    first = point(ready.ready().volume, (20, 20, 4), liver)
    ready.add(first)
    ready.finish(10)
    segmentation = ready.parameters.segmentation
    mask = segment_mask(segmentation, liver, volume_node)
    for change in ({"model": "second"}, {"extent": "volume"}, {"model": "first"}):
        old = ready.session
        ready.select(**change)
        ready.finish(10)
        assert old.closed and ready.session is not old and not ready.session.closed
        assert np.array_equal(segment_mask(segmentation, liver, volume_node), mask)
        assert [prompt.id for prompt in ready.ready().prompts(liver)] == [first.id]
        assert len(ready.ready().nodes.nodes(liver)) == 1
    ready.add(point(ready.ready().volume, (28, 20, 4), liver))
    ready.finish(10)
    assert get_tag(segment_of(segmentation, liver), "MoESeg.Extent") == "volume"
    assert segment_mask(segmentation, liver, volume_node)[[2, 6]].any()


def test_another_model_while_one_predicts_loses_nothing(ready, volume_node, engines) -> None:
    release = threading.Event()
    engines["first"].before_decode = release.wait
    liver = ready.add_segment("liver")
    ready.add(point(ready.ready().volume, (20, 20, 4), liver))
    ready.pump()
    ready.select(model="second")
    release.set()
    ready.finish(10)
    session = ready.ready()
    assert len(session.prompts(liver)) == 1 and session.has_unanswered()
    session.retry()
    assert liver in ready.finish(10).answers


@pytest.mark.parametrize("gone", ["volume", "segmentation", "scene"])
def test_nodes_may_go_at_any_time(scene, ready, volume_node, gone: str) -> None:
    liver = ready.add_segment("liver")
    ready.add(point(ready.ready().volume, (20, 20, 4), liver))
    if gone == "scene":
        scene.Clear(0)
    else:
        scene.RemoveNode(volume_node if gone == "volume" else ready.parameters.segmentation)
    assert ready.finish(10).messages == []
    assert ready.session is None and not ready.is_busy


def test_what_was_refused_is_tried_again_when_the_user_follows_the_advice(scene, bench, add_volume) -> None:
    node = add_volume(blob_volume())
    segmentation = create_segmentation(scene, node)
    bench.select(node, segmentation, model="first")
    bench.finish(10)
    bench.add(point(bench.ready().volume, (20, 20, 4), bench.add_segment("liver")))
    bench.finish(10)
    parent = linear_transform(scene, MOVED)
    node.SetAndObserveTransformNodeID(parent.GetID())
    bench.select(segmentation=create_segmentation(scene, node))
    bench.select(segmentation=segmentation)
    bench.finish(10)
    assert bench.session is None and "different transforms" in bench.why_not()
    segmentation.SetAndObserveTransformNodeID(parent.GetID())
    bench.finish(10)
    assert bench.why_not() == "" and bench.session is not None


def test_an_image_without_contrast_is_refused_in_words(bench, add_volume) -> None:
    bench.select(add_volume(Volume(np.zeros((3, 5, 5), np.uint8), np.eye(4))), model="first")
    bench.finish(10)
    assert "empty" in bench.why_not()
    with pytest.raises(MoESegError, match="empty"):
        bench.ready()


# Models ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def bare(scene, catalog, engines, volume_node):
    """A workbench on a machine without models."""
    workbench = Workbench(scene, models=ModelLibrary(load=lambda name: SliceEngine(engines[name])))
    workbench.select(volume_node, model="first")
    yield workbench
    workbench.close()


def test_a_missing_model_is_got_and_then_used(bare) -> None:
    assert "First is not on this machine yet" in bare.why_not()
    bare.models.get("first")
    assert bare.is_busy and "Getting First" in bare.why_not()
    Download.release.set()
    assert "First is ready to use." in bare.finish(10).messages
    assert bare.why_not() == "" and bare.models.state("first") == "installed"


def test_a_cancelled_download_leaves_nothing(bare, catalog: Path) -> None:
    bare.models.get("first")
    assert Download.started.wait(5)
    bare.cancel()
    Download.release.set()
    messages = bare.finish(10).messages
    assert len(messages) == 1 and "ancel" in messages[0]
    assert bare.models.getting is None and bare.models.state("first") == "missing"
    assert [path for path in catalog.rglob("*") if path.is_file() and path.suffix == ".pth"] == []
    assert "Press 'Get'" in bare.why_not()


@pytest.mark.parametrize("error", [MoESegError("wrong keys"), ImportError("no torch"), RuntimeError("bad"), OSError()])
def test_a_model_that_cannot_be_loaded_is_told_once(scene, bench, volume_node, error) -> None:
    def load(name: str):
        raise error

    bench.models._load = load
    bench.select(volume_node, model="first")
    messages = bench.finish(10).messages
    assert len(messages) == 1 and "First cannot be loaded" in messages[0]
    assert bench.finish(10).messages == [] and bench.why_not() == messages[0]
    bench.select(model="second")
    assert "cannot be loaded" in bench.finish(10).messages[0]


def test_a_removed_model_ends_the_session_and_keeps_the_work(ready, volume_node) -> None:
    liver = ready.add_segment("liver")
    ready.add(point(ready.ready().volume, (20, 20, 4), liver))
    ready.finish(10)
    mask = segment_mask(ready.parameters.segmentation, liver, volume_node)
    assert ready.models.remove("first") > 0
    ready.drop_engine()
    ready.finish(10)
    assert ready.session is None and "not on this machine" in ready.why_not()
    assert np.array_equal(segment_mask(ready.parameters.segmentation, liver, volume_node), mask)


def test_packages_that_are_missing_are_named_before_anything_is_loaded(scene, bench, volume_node) -> None:
    missing = ["torch"]
    bench.models.missing = lambda: missing
    bench.select(volume_node, model="first")
    assert bench.finish(5).messages == [] and bench.session is None
    assert "First needs torch" in bench.why_not()
    missing.clear()
    bench.finish(10)
    assert bench.why_not() == "" and bench.session is not None


def test_the_library_lists_models_that_have_an_engine() -> None:
    library = ModelLibrary()
    assert {"lite-medsam", "sam-vit-b", "segmote-lite"} <= set(library.names())
    assert all(library.card(name).title for name in library.names())
