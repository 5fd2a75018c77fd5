"""The extension packages every file, and its catalog entry is one that the Extensions Index takes."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from MoESegLib.weights import model_cards

ROOT = Path(__file__).parent.parent
MODULE = ROOT / "MoESeg"
ICONS = MODULE / "Resources" / "Icons"
DEMO = ROOT / "Resources" / "Demo"
CATALOG = ROOT / "Resources" / "ExtensionsIndex" / "MoESeg.json"
RAW = "https://raw.githubusercontent.com/MoESeg/SlicerMoESeg/main/"
TOOLS = [
    "PointPositive",
    "PointNegative",
    "Box",
    "Scribble",
    "Lasso",
    "Text",
    "FromSegment",
    "Undo",
    "Redo",
    "Run",
    "Cancel",
    "Accept",
]

# The catalog entry of the Extensions Index, schema 1.0.2, in own words: what each key holds; no others are allowed.
ENTRY_TYPES: dict[str, type] = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "dicom_support_rule": str,
    "enabled": bool,
    "tier": int,
}
ENTRY_NEEDS = {"$schema", "category", "scm_url"}


def entry_faults(entry: dict) -> list[str]:
    """What the Extensions Index would say against a catalog entry."""
    faults = [f"{key} is missing" for key in ENTRY_NEEDS - set(entry)]
    faults += [f"{key} is not allowed" for key in set(entry) - set(ENTRY_TYPES)]
    faults += [f"{key} has the wrong type" for key in entry if type(entry[key]) is not ENTRY_TYPES.get(key)]
    if entry.get("scm_type", "git") not in ("git", "local"):
        faults.append("scm_type is neither git nor local")
    if entry.get("tier", 1) not in range(1, 6):
        faults.append("tier is not 1 to 5")
    if not all(isinstance(name, str) for name in entry.get("build_dependencies", [])):
        faults.append("build_dependencies holds something that is no name")
    return faults


def cmake_text(path: Path) -> str:
    """A CMake file without its comments."""
    return re.sub(r"#.*", "", path.read_text(encoding="utf-8"))


def cmake_value(name: str) -> str:
    found = re.search(rf'set\({name}\s+"([^"]*)"\)', cmake_text(ROOT / "CMakeLists.txt"))
    assert found, f"CMakeLists.txt does not set {name}"
    return found[1]


def cmake_list(name: str) -> list[str]:
    found = re.search(rf"set\({name}([^)]*)\)", cmake_text(MODULE / "CMakeLists.txt"))
    assert found, f"MoESeg/CMakeLists.txt does not set {name}"
    return found[1].replace("${MODULE_NAME}", "MoESeg").split()


def tracked_files() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listing.split("\0") if name]


def test_the_catalog_entry_is_valid() -> None:
    assert entry_faults(json.loads(CATALOG.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "change",
    [
        {"category": None},
        {"scmurl": "https://example.org"},
        {"tier": 6},
        {"tier": True},
        {"scm_type": "svn"},
        {"build_dependencies": "PyTorch"},
        {"build_dependencies": [1]},
    ],
)
def test_a_wrong_catalog_entry_is_noticed(change: dict) -> None:
    entry = json.loads(CATALOG.read_text(encoding="utf-8"))
    assert entry_faults({**entry, **change})
    del entry["scm_url"]
    assert entry_faults(entry) == ["scm_url is missing"]


def test_the_catalog_entry_is_written_as_the_index_wants_it() -> None:
    text = CATALOG.read_bytes()
    assert b"\r" not in text
    assert text.endswith(b"}\n")
    assert json.loads(text)["$schema"].endswith("/slicer-extension-catalog-entry-schema-v1.0.2.json#")


def test_the_catalog_entry_says_what_cmake_says() -> None:
    entry = json.loads(CATALOG.read_text(encoding="utf-8"))
    assert f"project({CATALOG.stem})" in cmake_text(ROOT / "CMakeLists.txt")
    assert entry["category"] == cmake_value("EXTENSION_CATEGORY")
    assert entry["build_dependencies"] == cmake_value("EXTENSION_DEPENDS").split()
    assert entry["scm_url"] == cmake_value("EXTENSION_HOMEPAGE")


def test_icon_and_screenshots_of_the_catalog_are_files_of_the_repository() -> None:
    addresses = [cmake_value("EXTENSION_ICONURL"), *cmake_value("EXTENSION_SCREENSHOTURLS").split()]
    assert len(addresses) >= 2
    for address in addresses:
        assert address.startswith(RAW)
        assert (ROOT / address.removeprefix(RAW)).is_file(), address


def test_every_file_of_the_module_is_packaged_and_every_packaged_file_is_there() -> None:
    listed = cmake_list("MODULE_PYTHON_SCRIPTS") + cmake_list("MODULE_PYTHON_RESOURCES")
    there = {
        path.relative_to(MODULE).as_posix()
        for path in MODULE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name not in ("CMakeLists.txt", "README.md")
    }
    assert len(listed) == len(set(listed))
    assert set(listed) == there


def test_the_module_is_built_by_slicers_macro_with_its_generic_tests() -> None:
    text = cmake_text(MODULE / "CMakeLists.txt")
    call = re.search(r"slicerMacroBuildScriptedModule\(([^)]*)\)", text)
    assert call
    words = call[1].replace("${MODULE_NAME}", "MoESeg").split()
    assert words[words.index("NAME") + 1] == "MoESeg"
    assert words[words.index("SCRIPTS") + 1] == "${MODULE_PYTHON_SCRIPTS}"
    assert words[words.index("RESOURCES") + 1] == "${MODULE_PYTHON_RESOURCES}"
    assert "WITH_GENERIC_TESTS" in words
    assert re.search(r"^add_subdirectory\(MoESeg\)", cmake_text(ROOT / "CMakeLists.txt"), re.MULTILINE)


def install_rules() -> dict[str, tuple[str, list[str]]]:
    """Of each folder that is installed: where to, and the patterns that are left out."""
    rules = {}
    for body in re.findall(r"^install\(([^)]*)\)", cmake_text(ROOT / "CMakeLists.txt"), re.MULTILINE):
        words = body.split()
        left_out = [words[n + 1].strip('"') for n, word in enumerate(words) if word == "PATTERN"]
        assert "FILES_MATCHING" not in words
        assert words.count("EXCLUDE") == len(left_out)
        rules[words[words.index("DIRECTORY") + 1]] = (words[words.index("DESTINATION") + 1], left_out)
    return rules


def test_the_library_and_its_resources_are_installed_whole_beside_the_module() -> None:
    scripted = "${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}"
    # A folder without a trailing slash is installed under its own name.
    assert install_rules() == {
        "MoESegLib": (scripted, ["__pycache__"]),
        "Resources": (f"{scripted}/MoESegLib", []),
    }


def test_the_module_icon_and_the_tool_icons_have_their_sizes_and_see_through_corners() -> None:
    for name, side in (("MoESeg", 128), *((tool, 48) for tool in TOOLS)):
        with Image.open(ICONS / f"{name}.png") as icon:
            assert (icon.format, icon.size, icon.mode) == ("PNG", (side, side), "RGBA"), name
            alpha = np.asarray(icon)[..., 3]
        assert alpha[0, 0] == alpha[-1, -1] == 0
        assert (alpha == 255).mean() > 0.1, name


def luminance(gamma: np.ndarray) -> np.ndarray:
    """Relative luminance of sRGB values 0 to 255 (..., 3), as WCAG 2 defines it."""
    share = gamma / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


@pytest.mark.parametrize("background", [255, 239, 49, 20])
def test_tool_icons_stand_out_in_light_and_dark_themes(background: int) -> None:
    behind = luminance(np.full(3, background))
    for name in TOOLS:
        with Image.open(ICONS / f"{name}.png") as icon:
            pixels = np.asarray(icon).astype(float)
        opaque = luminance(pixels[pixels[..., 3] > 200][:, :3])
        ratio = (np.maximum(opaque, behind) + 0.05) / (np.minimum(opaque, behind) + 0.05)
        # WCAG 2.1 asks of graphics a contrast of 3; of these pixels there must be enough to draw the shape.
        assert np.count_nonzero(ratio >= 3) > 100, name


def test_positive_and_negative_point_differ_in_shape_not_only_in_color() -> None:
    shapes = []
    for name in ("PointPositive", "PointNegative"):
        with Image.open(ICONS / f"{name}.png") as icon:
            pixels = np.asarray(icon)
        shapes.append((pixels[..., 3] > 128) & (pixels[..., :3].min(axis=-1) > 200))  # the white glyph and its rim
    assert (shapes[0] != shapes[1]).mean() > 0.1


def test_every_drawing_has_its_picture() -> None:
    drawings = {path.stem for path in (ROOT / "Resources" / "Icons").glob("*.svg")}
    assert drawings == {path.stem for path in ICONS.glob("*.png")} - {"MoESegDemo"}


def test_requirements_are_read_by_slicer_and_ask_for_nothing_that_slicer_or_pytorch_brings() -> None:
    lines = (MODULE / "Resources" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lines if line.strip() and not line.startswith("#")]
    assert wanted
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    known = [*project["dependencies"], *project["optional-dependencies"]["openvino"]]
    for line in wanted:
        assert re.fullmatch(r"[A-Za-z0-9-]+>=[0-9.]+", line), "no exact pin, no comment behind it"
        assert line in known, "the same minimum as in pyproject.toml"
        assert re.split(">=", line)[0].lower() not in ("torch", "numpy", "scipy", "simpleitk", "pillow", "vtk")


def test_the_repository_stays_small() -> None:
    assert sum(path.stat().st_size for path in tracked_files() if path.is_file()) < 100e6


def test_the_thumbnail_of_the_sample_has_the_size_of_slicers_buttons() -> None:
    with Image.open(ICONS / "MoESegDemo.png") as thumbnail:
        assert thumbnail.size == (260, 280)


def test_the_offline_page_names_every_download_with_its_size_and_checksum() -> None:
    page = (ROOT / "docs" / "offline.md").read_text(encoding="utf-8")
    for card in model_cards().values():
        if card.provider["kind"] in ("local", "best", "shipped"):
            continue
        if card.architecture.startswith("sam_med3d"):  # a page of its own
            continue
        row = next(line for line in page.splitlines() if line.startswith("|") and f"`{card.name}`" in line)
        assert card.size_bytes is None or str(card.size_bytes) in row
        assert card.sha256 is None or card.sha256 in row
        assert card.provider.get("url", "") in row
        assert card.provider.get("requirement", "") in row
        assert card.provider.get("repository", "") in row
