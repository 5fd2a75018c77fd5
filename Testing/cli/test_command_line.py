"""The command line as a user drives it: good runs, and every bad input with its message, status and nothing written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fakes import ThresholdModel, blob_volume

from MoESegLib.cli import main
from MoESegLib.core.errors import PromptError
from MoESegLib.core.segmentation_file import read_segmentation
from MoESegLib.core.volume import Volume
from MoESegLib.engines.protocol import ExpertLogits
from MoESegLib.engines.slice_engine import SliceEngine


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return blob_volume().write(tmp_path / "ball.nrrd")


@pytest.fixture
def fake_model(monkeypatch: pytest.MonkeyPatch, home: Path) -> ThresholdModel:
    """load_engine gives a model without weights, whatever its name."""
    from MoESegLib.weights import model_card

    model = ThresholdModel()

    def load(name: str, **options) -> SliceEngine:
        model_card(name)
        return SliceEngine(model, options.get("window"))

    monkeypatch.setattr("MoESegLib.engines.load_engine", load)
    return model


def box(volume: Volume, low: float = 6, high: float = 36, k: float = 4) -> str:
    return ",".join(f"{value:.3f}" for value in volume.to_ras([[low, low, k], [high, high, k]]).ravel())


def listing(folder: Path) -> list[str]:
    """Files of a folder, without MOESEG_HOME."""
    return sorted(path.name for path in folder.iterdir() if path.name != "home")


def test_segment_writes_a_segmentation_and_prints_one_json_object(
    image: Path, tmp_path: Path, fake_model, capsys
) -> None:
    volume, out = Volume.read(image), tmp_path / "out.seg.nrrd"
    status = main(["segment", str(image), "--segment", "liver", "--box", box(volume), "-o", str(out), "--json"])
    printed = capsys.readouterr()
    assert status == 0
    data = json.loads(printed.out)
    assert {"voxels", "extent", "expert", "confidence", "seconds", "out"} <= set(data)
    grid, (record,) = read_segmentation(out)
    mask = record.patch.to_array(grid.shape)
    assert record.name == "liver"
    assert data["voxels"] == mask.sum() > 100
    assert data["extent"] == list(record.patch.extent)
    assert data["out"] == str(out)
    assert record.tags["MoESeg.Engine"] == "threshold"
    assert json.loads(record.tags["MoESeg.Prompts"])[0]["kind"] == "box"


def test_several_segments_and_a_click_with_negative_coordinates(
    image: Path, tmp_path: Path, fake_model, capsys
) -> None:
    volume, out = Volume.read(image), tmp_path / "out.seg.nrrd"
    center = ",".join(f"{value:.2f}" for value in volume.to_ras([23.5, 19.5, 4]))
    assert center.startswith("-")
    words = ["segment", str(image), "--point", center, "--segment", "two", "--box", box(volume, k=5)]
    assert main([*words, "-o", str(out)]) == 0
    assert "turned into a box" in capsys.readouterr().out
    _, records = read_segmentation(out)
    assert [record.id for record in records] == ["Segment_1", "two"]


def test_prompts_come_from_files_too(image: Path, tmp_path: Path, fake_model) -> None:
    volume = Volume.read(image)
    path = [volume.to_ras([i, 20, 4]).tolist() for i in range(20, 28)]
    (tmp_path / "stroke.json").write_text(json.dumps(path))
    (tmp_path / "stroke.txt").write_text("\n".join(" ".join(map(str, point)) for point in path))
    control = [{"position": [-x, -y, z]} for x, y, z in path]
    (tmp_path / "stroke.mrk.json").write_text(json.dumps({"markups": [{"controlPoints": control}]}))
    volume.like((volume.array > 200).astype(np.uint8)).write(tmp_path / "mask.nrrd")
    found = []
    for number, words in enumerate(
        (["--scribble", "stroke.json"], ["--scribble", "stroke.txt"], ["--scribble", "stroke.mrk.json"])
    ):
        out = tmp_path / f"out{number}.nrrd"
        assert main(["segment", str(image), words[0], str(tmp_path / words[1]), "-o", str(out)]) == 0
        found.append(Volume.read(out).array)
    assert found[0].sum() > 0
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])
    assert main(["segment", str(image), "--mask", str(tmp_path / "mask.nrrd"), "-o", str(tmp_path / "m.nrrd")]) == 0


def test_a_log_replays_to_the_same_voxels(image: Path, tmp_path: Path, fake_model, capsys) -> None:
    volume = Volume.read(image)
    first, second, log = (tmp_path / name for name in ("a.nrrd", "b.nrrd", "log.json"))
    words = ["segment", str(image), "--box", box(volume), "-o", str(first), "--log", str(log)]
    assert main(words) == 0
    data = json.loads(log.read_text())
    data["engine"] = "lite-medsam"
    log.write_text(json.dumps(data))
    assert main(["replay", str(log), "-o", str(second)]) == 0
    assert np.array_equal(Volume.read(first).array, Volume.read(second).array)
    other = blob_volume(radius=7).write(tmp_path / "other.nrrd")
    capsys.readouterr()
    assert main(["replay", str(log), "--image", str(other), "-o", str(tmp_path / "c.nrrd")]) == 2
    assert "not the image" in capsys.readouterr().err
    assert main(["replay", str(log), "--image", str(other), "-o", str(tmp_path / "c.nrrd"), "--force"]) == 0


def replayed(log: Path, out: Path, **changes) -> int:
    """Replay a log under the name of a model that there is."""
    log.write_text(json.dumps({**json.loads(log.read_text()), "engine": "lite-medsam", **changes}))
    return main(["replay", str(log), "-o", str(out)])


def test_a_replay_uses_the_window_of_the_log_and_finds_the_image_from_anywhere(
    image: Path, tmp_path: Path, fake_model, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, log = (tmp_path / name for name in ("a.nrrd", "b.nrrd", "log.json"))
    words = ["--box", box(Volume.read(image)), "--window", "-600,1500", "-o", str(first), "--log", str(log)]
    monkeypatch.chdir(tmp_path)
    assert main(["segment", image.name, *words]) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert replayed(log, second) == 0
    masks = [Volume.read(path).array for path in (first, second)]
    assert np.array_equal(*masks)
    assert masks[0].sum() == 31 * 31  # everything is bright in this window; without it only the ball is


def test_one_expert_is_asked_by_name_for_every_segment_and_in_a_replay(
    image: Path, tmp_path: Path, fake_model, capsys
) -> None:
    fake_model.experts = 3
    where, log = box(Volume.read(image)), tmp_path / "log.json"
    words = ["segment", str(image), "--box", where, "--segment", "two", "--box", where, "--json"]
    assert main([*words, "-o", str(tmp_path / "a.nrrd"), "--expert", "expert2", "--log", str(log)]) == 0
    first = json.loads(capsys.readouterr().out)
    assert [entry["expert"] for entry in first["segments"]] == ["expert2", "expert2"]
    assert json.loads(log.read_text())["experts"] == {"Segment_1": "expert2", "two": "expert2"}
    assert replayed(log, tmp_path / "b.nrrd") == 0
    assert capsys.readouterr().out.count("by expert2") == 2
    before = listing(tmp_path)
    assert main([*words, "-o", str(tmp_path / "c.nrrd"), "--expert", "expert9"]) == 2
    assert "no expert 'expert9'; it has expert0, expert1, expert2." in capsys.readouterr().err
    assert listing(tmp_path) == before


def test_a_replay_with_other_weights_says_so(image: Path, tmp_path: Path, fake_model, capsys) -> None:
    log = tmp_path / "log.json"
    words = ["--box", box(Volume.read(image)), "-o", str(tmp_path / "a.nrrd"), "--log", str(log)]
    assert main(["segment", str(image), *words]) == 0
    assert replayed(log, tmp_path / "b.nrrd") == 0
    assert "may differ" not in capsys.readouterr().err
    assert replayed(log, tmp_path / "c.nrrd", arithmetic=["other", "other"]) == 0
    assert "may differ" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes",
    [
        {"image": [1]},
        {"path": None},
        {"path": ""},
        {"extent": "universe"},
        {"engine": 3},
        {"prompts": None},
        {"prompts": []},
        {"prompts": ["box"]},
        {"prompts": [{"kind": [1]}]},
        {"prompts": [{"kind": "point", "ras": None}]},
        {"experts": [1]},
        {"experts": {"Segment_1": 3}},
        {"locked": 5},
        {"window": [5, 5]},
        {"format": "other"},
    ],
    ids=str,
)
def test_a_damaged_log_is_refused(changes: dict, image: Path, tmp_path: Path, fake_model, capsys) -> None:
    log = tmp_path / "log.json"
    words = ["--box", box(Volume.read(image)), "-o", str(tmp_path / "a.nrrd"), "--log", str(log)]
    assert main(["segment", str(image), *words]) == 0
    before = listing(tmp_path)
    log.write_text(json.dumps({**json.loads(log.read_text()), "engine": "lite-medsam", **changes}))
    assert main(["replay", str(log), "-o", str(tmp_path / "b.nrrd")]) == 2
    assert capsys.readouterr().err.startswith("moeseg: ")
    assert listing(tmp_path) == before


def test_inputs_are_never_replaced_even_with_overwrite(image: Path, tmp_path: Path, fake_model, capsys) -> None:
    content, where = image.read_bytes(), box(Volume.read(image))
    points = tmp_path / "stroke.json"
    points.write_text(json.dumps([Volume.read(image).to_ras([23, 19, 4]).tolist()]))
    for words in (
        ["--box", where, "-o", str(image)],
        ["--mask", str(image), "-o", str(tmp_path / "." / image.name)],
        ["--scribble", f"{points},pos", "-o", str(tmp_path / "a.nrrd"), "--log", str(points)],
    ):
        assert main(["segment", str(image), *words, "--overwrite"]) == 2
        assert "itself" in capsys.readouterr().err
    assert image.read_bytes() == content
    assert listing(tmp_path) == ["ball.nrrd", "stroke.json"]


def test_neither_file_appears_when_the_segmentation_cannot_be_written(
    image: Path, tmp_path: Path, fake_model, capsys
) -> None:
    words = ["--box", box(Volume.read(image)), "-o", str(tmp_path / "stack.png"), "--log", str(tmp_path / "log.json")]
    assert main(["segment", str(image), *words]) == 2
    assert "one slice" in capsys.readouterr().err
    assert listing(tmp_path) == ["ball.nrrd"]


def test_ctrl_c_ends_with_130_and_nothing_written(image: Path, tmp_path: Path, fake_model, capsys) -> None:
    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1.0)  # the main thread hears of it while the prediction still runs

    fake_model.before_decode = interrupt
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell starts us with it ignored
    try:
        status = main(["segment", str(image), "--box", box(Volume.read(image)), "-o", str(tmp_path / "a.nrrd")])
    finally:
        signal.signal(signal.SIGINT, before)
    assert status == 130
    assert "Cancelled" in capsys.readouterr().err
    assert listing(tmp_path) == ["ball.nrrd"]


@pytest.mark.parametrize("place", ["while reading", "while predicting"])
def test_running_out_of_memory_is_told_without_a_traceback(
    place: str, image: Path, tmp_path: Path, fake_model, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    where = box(Volume.read(image))

    def fail(*args, **kwargs) -> None:
        raise MemoryError

    if place == "while reading":
        monkeypatch.setattr("MoESegLib.core.image_io.read_volume", fail)
    else:
        fake_model.before_decode = fail
    assert main(["segment", str(image), "--box", where, "-o", str(tmp_path / "a.nrrd")]) == 2
    assert "memory" in capsys.readouterr().err.lower()
    assert listing(tmp_path) == ["ball.nrrd"]


def test_debug_shows_the_traceback_before_or_after_the_command(image: Path, tmp_path: Path, fake_model) -> None:
    words = ["segment", str(image), "--point", "900,0,0", "-o", str(tmp_path / "a.nrrd")]
    for command in (["--debug", *words], [*words, "--debug"]):
        with pytest.raises(PromptError):
            main(command)


def test_a_number_may_begin_with_minus_and_a_point(image: Path, tmp_path: Path, fake_model) -> None:
    assert main(["segment", str(image), "--point", "-.5,-20,8", "-o", str(tmp_path / "a.nrrd")]) == 0


def _damage(path: Path) -> str:
    path.write_bytes(path.read_bytes()[:200])
    return str(path)


def _nan(path: Path) -> str:
    array = np.full((3, 8, 8), 1.0)
    array[1, 2, 3] = np.nan
    import SimpleITK as sitk

    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    return str(path)


@pytest.fixture
def clever_model(fake_model: ThresholdModel) -> ThresholdModel:
    fake_model.native = frozenset({"box", "point", "mask", "text", "automatic"})
    fake_model.refines = True
    return fake_model


@pytest.mark.parametrize("words", [["--automatic"], ["--text", "ball"]], ids=["automatic", "text"])
def test_without_a_place_the_whole_volume_is_searched_and_with_one_its_slice(
    words: list[str], image: Path, tmp_path: Path, clever_model, capsys
) -> None:
    volume, log = Volume.read(image), tmp_path / "log.json"
    place = ",".join(f"{value:.3f}" for value in volume.to_ras([0, 0, 3]))
    runs = {"all": ["--extent", "volume", *words], "one": ["--at", place, *words, "--log", str(log)]}
    masks = {}
    for name, options in runs.items():
        out = tmp_path / f"{name}.nrrd"
        assert main(["segment", str(image), *options, "-o", str(out)]) == 0
        masks[name] = Volume.read(out).array
    assert np.array_equal(masks["all"] > 0, masks["all"] * (volume.array > 150) > 0) and masks["all"].any()
    assert np.flatnonzero(masks["one"].any(axis=(1, 2))).tolist() == [3]
    assert np.array_equal(masks["one"][3], masks["all"][3])
    assert replayed(log, tmp_path / "again.nrrd") == 0
    assert np.array_equal(Volume.read(tmp_path / "again.nrrd").array, masks["one"])


def test_nothing_found_is_written_as_nothing_and_said(image: Path, tmp_path: Path, clever_model, capsys) -> None:
    place = ",".join(f"{value:.3f}" for value in Volume.read(image).to_ras([20, 1, 3]))
    words = ["--at", place, "--automatic", "--plane", "coronal", "-o", str(tmp_path / "out.nrrd"), "--json"]
    assert main(["segment", str(image), *words]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["voxels"] == 0 and data["segments"][0]["notes"] == ["Nothing was found on the slice."]
    assert not Volume.read(tmp_path / "out.nrrd").array.any()


BAD = {
    "missing image": (lambda f, i: [str(f / "none.nrrd"), "--point", "0,0,0"], "no image at"),
    "truncated image": (lambda f, i: [_damage(i), "--point", "0,0,0"], "truncated"),
    "image with NaN": (lambda f, i: [_nan(f / "nan.nrrd"), "--point", "0,0,0"], "NaN"),
    "empty volume": (
        lambda f, i: [str(Volume(np.zeros((2, 9, 9), np.int16), np.eye(4)).write(f / "zero.nrrd")), "--point", "1,1,1"],
        "empty",
    ),
    "prompt outside": (lambda f, i: [str(i), "--point", "900,0,0"], "outside the volume"),
    "box of zero size": (lambda f, i: [str(i), "--box", "-5,-5,4,-5,-5,4"], "no size"),
    "contradictory points": (
        lambda f, i: [str(i), "--point", "-20,-20,8", "--point", "-20,-20,8,neg"],
        "Contradictory",
    ),
    "no prompt": (lambda f, i: [str(i)], "at least one prompt"),
    "half a point": (lambda f, i: [str(i), "--point", "1,2"], "R,A,S"),
    "letters for numbers": (lambda f, i: [str(i), "--box", "a,b,c,d,e,f"], "not a number"),
    "unknown model": (lambda f, i: [str(i), "--point", "-20,-20,8", "--model", "unet"], "no model 'unet'"),
    "text for a model that cannot read": (lambda f, i: [str(i), "--text", "liver"], "does not understand text"),
    "automatic for a model that was not taught it": (
        lambda f, i: [str(i), "--automatic", "--extent", "volume"],
        "no expert that segments without a prompt",
    ),
    "a slice for nothing": (lambda f, i: [str(i), "--point", "-20,-20,8", "--at", "0,0,4"], "No --text or --automatic"),
    "half a slice": (lambda f, i: [str(i), "--at", "0,0", "--automatic"], "3 expected"),
    "segment without a prompt": (lambda f, i: [str(i), "--point", "-20,-20,8", "--segment", "b"], "No prompt follows"),
    "window of no width": (lambda f, i: [str(i), "--point", "-20,-20,8", "--window", "40,0"], "shows nothing"),
    "window that is no number": (lambda f, i: [str(i), "--point", "-20,-20,8", "--window", "nan,1"], "shows nothing"),
    "missing scribble": (lambda f, i: [str(i), "--scribble", str(f / "none.json")], "cannot be read"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_with_a_message_and_nothing_is_written(
    case: str, image: Path, tmp_path: Path, fake_model, capsys
) -> None:
    make, message = BAD[case]
    words = make(tmp_path, image)
    before = listing(tmp_path)
    assert main(["segment", *words, "-o", str(tmp_path / "out.seg.nrrd")]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""
    assert "Traceback" not in printed.err
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [("missing/out.nrrd", "does not exist"), ("ball.nrrd/out.nrrd", "not a folder"), ("out.stl", "Cannot write")],
)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    name: str, message: str, image: Path, tmp_path: Path, fake_model: ThresholdModel, capsys
) -> None:
    assert main(["segment", str(image), "--point", "-20,-20,8", "-o", str(tmp_path / name)]) == 2
    assert message in capsys.readouterr().err
    assert fake_model.decoded == 0


def test_an_existing_output_is_kept_unless_asked(image: Path, tmp_path: Path, fake_model, capsys) -> None:
    out = tmp_path / "out.nrrd"
    out.write_text("precious")
    words = ["segment", str(image), "--box", box(Volume.read(image)), "-o", str(out)]
    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert out.read_text() == "precious"
    assert main([*words, "--overwrite"]) == 0
    assert Volume.read(out).array.any()


def test_missing_weights_say_how_to_get_them(image: Path, tmp_path: Path, home: Path, capsys) -> None:
    assert (
        main(["segment", str(image), "--point", "-20,-20,8", "--model", "sam-vit-b", "-o", str(tmp_path / "o.nrrd")])
        == 2
    )
    message = capsys.readouterr().err
    for words in ("moeseg models get sam-vit-b", "375 MB", "Apache-2.0"):
        assert words in message


def test_a_full_disk_while_writing_leaves_nothing(
    image: Path, tmp_path: Path, fake_model, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    import errno
    import gzip

    def full(*args, **kwargs) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(gzip, "compress", full)
    before = listing(tmp_path)
    assert main(["segment", str(image), "--box", box(Volume.read(image)), "-o", str(tmp_path / "o.seg.nrrd")]) == 2
    assert "no space" in capsys.readouterr().err
    assert listing(tmp_path) == before


def test_models_can_be_listed_shown_and_refused(home: Path, capsys) -> None:
    assert main(["models", "list", "--json"]) == 0
    listed = {card["name"]: card for card in json.loads(capsys.readouterr().out)}
    assert listed["sam-vit-h"]["state"] == "missing"
    assert main(["models", "info", "lite-medsam"]) == 0
    assert "Apache-2.0" in capsys.readouterr().out
    assert main(["models", "get", "imis-net-b"]) == 2
    assert "Nothing was downloaded" in capsys.readouterr().err
    assert main(["models", "get", "imis-net-b", "--yes"]) == 2
    assert "moeseg models import FILE --name imis-net-b" in capsys.readouterr().err
    assert main(["models", "remove", "lite-medsam", "--yes"]) == 2
    assert main(["models", "verify"]) == 0


@pytest.mark.weights
def test_the_demo_segments_a_real_ct_from_a_box_and_two_clicks(tmp_path: Path, lite_medsam_path: Path) -> None:
    command = [sys.executable, "-m", "MoESegLib", "demo", "--json", "--headless", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    dice = {entry["segment"]: entry["dice"] for entry in data["segments"]}
    assert dice["liver"] > 0.93
    assert dice["spleen"] > 0.9
    assert dice["aorta"] > 0.85
    _, records = read_segmentation(tmp_path / "demo.seg.nrrd")
    assert [record.name for record in records] == ["liver", "spleen", "aorta"]
    assert (tmp_path / "demo.png").read_bytes()[:4] == b"\x89PNG"
    assert sum(data["steps"].values()) < data["seconds"] * 1.01


def test_an_empty_answer_scores_nothing_in_the_demo(
    home: Path, fake_model, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr("MoESegLib.cli.demo_command._get_weights", lambda name, quiet: None)
    fake_model.decode = lambda embedding, prompt: (ExpertLogits("expert0", np.full((64, 64), -4.0, np.float32)),)
    assert main(["demo", "--json", "--out", str(tmp_path / "out")]) == 0
    assert [entry["dice"] for entry in json.loads(capsys.readouterr().out)["segments"]] == [0, 0, 0]


def test_without_the_packages_of_the_page_the_demo_says_so_and_goes_on(
    home: Path, fake_model, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr("MoESegLib.cli.app_command._NEEDED", {"no_such_module_anywhere": "aiohttp"})
    monkeypatch.setattr("MoESegLib.cli.demo_command._get_weights", lambda name, quiet: None)
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    assert "pip install 'MoESegLib[web]'" in capsys.readouterr().err
    assert listing(tmp_path / "moeseg-demo") == ["demo.png", "demo.seg.nrrd"]
    assert main(["demo", "--loop"]) == 2
    assert "needs aiohttp" in capsys.readouterr().err


def test_the_demo_refuses_a_place_it_cannot_write_before_the_work(
    home: Path, fake_model, tmp_path: Path, capsys
) -> None:
    (tmp_path / "file").write_text("precious")
    assert main(["demo", "--out", str(tmp_path / "file" / "out")]) == 2
    assert "not a folder" in capsys.readouterr().err
    assert listing(tmp_path) == ["file"]


@pytest.mark.weights
def test_the_command_and_python_give_the_same_mask(tmp_path: Path, lite_medsam_path: Path, demo_volume) -> None:
    from MoESegLib import BoxPrompt, Session, load_engine
    from MoESegLib.resources import resource_path

    corners = demo_volume.to_ras([[105, 194, 10], [271, 376, 10]])
    with Session(demo_volume, load_engine("segmote-lite", runtime="torch"), prefetch=False) as session:
        session.add(BoxPrompt(tuple(corners[0]), tuple(corners[1]), segment="liver"))
        expected = session.mask("liver")
        result = session.result("liver")
    answering = {result.expert, *(other.expert for other in result.alternatives)}
    assert answering >= {"base", "abdominal-ct/0", "abdominal-ct/1"}
    out = tmp_path / "out.seg.nrrd"
    words = [sys.executable, "-m", "MoESegLib", "segment", str(resource_path("Demo", "ct")), "--segment", "liver"]
    words += ["--box", ",".join(map(str, corners.ravel())), "-o", str(out), "--runtime", "torch"]
    words += ["--model", "segmote-lite"]
    subprocess.run(words, check=True, capture_output=True, timeout=300, env={**os.environ})
    _, (record,) = read_segmentation(out)
    assert np.array_equal(record.patch.to_array(expected.shape), expected)
