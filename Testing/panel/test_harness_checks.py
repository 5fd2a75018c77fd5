"""Sources and ``.ui`` files that would fail in Slicer are refused before they run."""

from __future__ import annotations

from pathlib import Path

import pytest
from panel_harness import Harness, check_source, check_ui


def spoil(path: Path, old: str, new: str) -> Path:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")
    return path


@pytest.fixture
def ui(demo_module: Path) -> Path:
    return demo_module.parent / "Resources" / "UI" / "PanelDemo.ui"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("import slicer\n", "import slicer\nimport SimpleITK\n", "SimpleITK is imported at file scope"),
        ("import slicer\n", "import slicer\ntry:\n    import torch.nn\nexcept ImportError:\n    pass\n", "torch.nn is"),
        ("import slicer\n", "import slicer\nfrom scipy import ndimage\n", "scipy is imported at file scope"),
        ("slicer.util.arrayFromVolume", "slicer.arrayFromVolume", "Slicer has no slicer.arrayFromVolume"),
        ("slicer.util.arrayFromVolume", "slicer.util.arrayOfVolume", "no slicer.util.arrayOfVolume"),
        (
            "from slicer.util import VTKObservationMixin",
            "from slicer import VTKObservationMixin",
            "VTKObservationMixin",
        ),
        ("from slicer.i18n import translate", "from slicer.i18n import translated", "slicer.i18n.translated"),
        ("import slicer\n", "import slicer.packages\n", "no module slicer.packages"),
        ("self.ui.resultLabel.text", "self.ui.resultText.text", "no .ui file has a widget resultText"),
        ("self.ui.resultLabel.text", "self.ui.resultLabel.txt", r"resultLabel \(QLabel\) has no txt"),
        ("self.ui.thresholdSlider.value", "self.ui.thresholdSlider.setMinimum", "has no setMinimum"),
        ('"clicked(bool)", self.onApply', '"click(bool)", self.onApply', r"no signal click\(bool\)"),
    ],
)
def test_a_spoiled_source_is_refused(demo_module: Path, old: str, new: str, problem: str) -> None:
    assert check_source(demo_module) == []
    found = check_source(spoil(demo_module, old, new))
    assert len(found) == 1
    with pytest.raises(AssertionError, match=problem):
        raise AssertionError(found[0])


def test_imports_where_they_are_used_and_for_type_checking_are_fine(demo_module: Path) -> None:
    spoil(
        demo_module,
        "import slicer\n",
        "import slicer\nimport numpy\nfrom typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import torch\nfrom MoESegLib.core import volume\n"
        "def late():\n    import SimpleITK\n",
    )
    assert check_source(demo_module) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("ctkSliderWidget", "ctkSlidingWidget", "there is no class ctkSlidingWidget"),
        ('name="noneEnabled"', 'name="nonesEnabled"', "qMRMLNodeComboBox has no property nonesEnabled"),
        ('name="enabled"', 'name="enable"', "QPushButton has no property enable"),
        ("ForcePlaceMultipleMarkups", "ForcePlaceManyMarkups", "has no value ForcePlaceManyMarkups"),
        ("mrmlSceneChanged(vtkMRMLScene*)", "mrmlSceneChanged()", "has no signal mrmlSceneChanged()"),
        ("<slot>setMRMLScene(vtkMRMLScene*)", "<slot>setScene(vtkMRMLScene*)", "has no slot setScene"),
        ("<receiver>volumeSelector", "<receiver>volumesSelector", "there is no volumesSelector"),
        ('name="nameEdit"', 'name="autoCheck"', "the name autoCheck is used twice"),
    ],
)
def test_a_spoiled_ui_file_is_refused(ui: Path, old: str, new: str, problem: str) -> None:
    assert check_ui(ui) == []
    found = check_ui(spoil(ui, old, new))
    assert any(problem in line for line in found), found


def test_the_harness_does_not_load_a_ui_file_with_a_typo(harness: Harness, demo_module: Path, ui: Path) -> None:
    spoil(ui, 'name="noneEnabled"', 'name="nonesEnabled"')
    with pytest.raises(ValueError, match="nonesEnabled"):
        harness.load_module(demo_module)


def test_a_leaked_slicer_name_fails_at_run_time_too(harness: Harness, demo_module: Path) -> None:
    spoil(demo_module, "from slicer.util import VTKObservationMixin", "from slicer import VTKObservationMixin")
    with pytest.raises(ImportError, match="VTKObservationMixin"):
        harness.load_module(demo_module)
