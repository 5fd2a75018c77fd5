"""Where checks are made: the application, the open panel, and what a user does with them.

:class:`Site` is the Slicer application. A test replaces the few methods that talk to it directly.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from . import mouse
from .runner import require

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "MoESeg" / "MoESeg.py"
PROMPT_SECONDS = 30.0
WINDOW_SECONDS = 20  # a progress dialog may stay as long


class Site:
    """The running application.

    Attributes:
        is_application: False on a stand-in, where checks that need the application are skipped.
        moments: how often nodes are deleted under a running prediction.
        rest: seconds the panel's timer gets before and after an answer; it ticks every 30 ms.
        folder: for pictures and temporary scenes, beside the report.
        longest_block: seconds the event loop stood still at worst since it was set to 0.
    """

    is_application = True
    moments = 20
    rest = 0.1

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.longest_block = 0.0
        self._errors: list[str] = []
        self._watch: Any = None
        self._excepthook = sys.excepthook
        sys.excepthook = self._note
        self.watch_windows()

    def watch_windows(self) -> None:
        """Close menus and dialogs that wait for a person, so that the checks go on; that is an error of the check."""
        import qt

        self._waiting: tuple[Any, int] = (None, 0)
        self._watch = qt.QTimer()
        self._watch.setInterval(1000)
        self._watch.connect("timeout()", self._close_waiting)
        self._watch.start()

    def _close_waiting(self) -> None:
        import qt

        window = qt.QApplication.activePopupWidget() or qt.QApplication.activeModalWidget()
        before, seconds = self._waiting
        self._waiting = (window, seconds + 1 if window is not None and window == before else 0)
        if self._waiting[1] >= WINDOW_SECONDS:
            self._errors.append(f"a {window.className()} waited for a person: {window.windowTitle!r}")
            window.close()

    def close(self) -> None:
        """Empty the scene and give the module its own models back."""
        if self._watch is not None:
            self._watch.stop()
        sys.excepthook = self._excepthook
        if hasattr(slicer.modules, "moeseg"):
            self.logic.close()
            self.logic._models = None
        slicer.mrmlScene.Clear(0)

    # Errors that Qt and VTK swallow

    def _note(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        self._errors.append(f"{kind.__name__}: {error}")
        self._excepthook(kind, error, trace)

    def take_errors(self) -> list[str]:
        """What slots, timers and observers raised since the last call; PythonQt and VTK only print it."""
        errors, self._errors = self._errors, []
        return errors

    # The panel

    @property
    def widget(self) -> Any:
        """The module's widget class."""
        return slicer.modules.moeseg.widgetRepresentation().self()

    @property
    def ui(self) -> Any:
        """The controls by name."""
        return self.widget.ui

    @property
    def panel(self) -> Any:
        """The panel."""
        return self.widget.panel

    @property
    def logic(self) -> Any:
        """The logic the panel uses."""
        return self.widget.logic

    @property
    def workbench(self) -> Any:
        """The workbench the panel shows."""
        return self.panel.workbench

    def load_module(self) -> None:
        """Register the checkout's module unless the extension is installed."""
        if hasattr(slicer.modules, "moeseg"):
            return
        import qt

        for folder in (ROOT, MODULE.parent):
            if str(folder) not in sys.path:
                sys.path.append(str(folder))
        manager = slicer.app.moduleManager().factoryManager()
        manager.registerModule(qt.QFileInfo(str(MODULE)))
        require(manager.isRegistered("MoESeg"), f"Slicer does not take {MODULE} for a module")
        manager.loadModules(["MoESeg"])
        require(hasattr(slicer.modules, "moeseg"), "the module was registered, but did not load; see Slicer's log")

    def enter(self) -> None:
        """Open the module."""
        slicer.util.selectModule("MoESeg")
        self.wait(lambda: self.panel.entered, "the module opens")

    def leave(self) -> None:
        """Open another module."""
        slicer.util.selectModule("Data")
        self.wait(lambda: not self.panel.entered, "the module is left")

    # Time

    def pump(self) -> None:
        """Let Qt and VTK work once."""
        started = time.perf_counter()
        slicer.app.processEvents()
        self.longest_block = max(self.longest_block, time.perf_counter() - started)
        time.sleep(0.002)

    def pause(self, seconds: float) -> None:
        """Let Qt and VTK work for a while."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.pump()

    def wait(self, until: Callable[[], Any], what: str, seconds: float = PROMPT_SECONDS) -> None:
        """Let Qt and VTK work until something holds; fails when it does not in time."""
        deadline = time.monotonic() + seconds
        while not until():
            require(time.monotonic() < deadline, f"not within {seconds:g} s: {what}")
            self.pump()

    def settle(self) -> None:
        """Until every prompt is answered and shown."""
        self.pause(self.rest)
        self.wait(lambda: not self.workbench.is_busy, "the prediction ends")
        self.pause(self.rest)

    # Data

    def close_scene(self) -> None:
        """File, Close scene."""
        slicer.mrmlScene.Clear(0)
        self.pause(self.rest)

    def save_scene(self, path: Path) -> None:
        """File, Save, as .mrb."""
        require(slicer.util.saveScene(str(path)), f"the scene could not be saved as {path}")

    def load_scene(self, path: Path) -> None:
        """Open a saved scene."""
        require(slicer.util.loadScene(str(path)), f"{path} could not be opened")
        self.pause(0.2)

    def add_volume(self, volume: Any, name: str = "CT") -> Any:
        """A volume node, shown in the slice views."""
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        image = vtk.vtkImageData()
        image.SetDimensions(*volume.size)
        image.GetPointData().SetScalars(numpy_to_vtk(volume.array.ravel(), deep=True))
        node.SetAndObserveImageData(image)
        matrix = vtk.vtkMatrix4x4()
        matrix.DeepCopy([float(value) for value in volume.ijk_to_ras.ravel()])
        node.SetIJKToRASMatrix(matrix)
        node.CreateDefaultDisplayNodes()
        self.show_volume(node)
        return node

    def show_volume(self, node: Any) -> None:
        """Show the four views, put a volume into the slice views and fit them to it."""
        slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        slicer.util.setSliceViewerLayers(background=node, fit=True)
        self.pause(0.1)

    def start(self, volume: Any = None, engine: Any = None) -> Any:
        """An empty scene with a ball, the fake engine, the panel open and ready; returns the volume node."""
        from .fake_engine import BrightEngine, FakeLibrary, ball

        self.close_scene()
        self.logic.close()
        self.logic._models = FakeLibrary(engine if engine is not None else BrightEngine())
        self.enter()
        node = self.add_volume(volume if volume is not None else ball())
        self.workbench.select(volume=node, extent="slice")
        self.wait(lambda: self.workbench.why_not() == "", "the model is ready")
        self.panel.refresh()
        return node

    # The user

    def add_segment(self, name: str) -> str:
        """Type a name, press Add segment; returns the ID."""
        self.ui.segmentNameEdit.setText(name)
        self.ui.addSegmentButton.click()
        self.pause(0.05)
        return self.workbench.parameters.segment

    def tool(self, name: str) -> None:
        """Press a tool's button."""
        self.panel.prompts.tools[name].click()
        self.pause(0.05)

    def point_at(self, segment: str, ijk: Sequence[float], **named: Any) -> None:
        """A point prompt from Python, waited for."""
        from MoESegLib.core.prompts import PointPrompt

        self.workbench.add(PointPrompt(ras=self.ras(ijk), segment=segment, **{"plane": "axial", **named}))
        self.settle()

    # The mouse in the views

    def move_to(self, view: str, ras: Sequence[float]) -> None:
        """Hold the mouse over a point of a slice view."""
        mouse.move(view, ras)

    def click_at(self, view: str, ras: Sequence[float]) -> None:
        """A left click in a slice view."""
        mouse.click(view, ras)

    def end_curve(self, view: str, ras: Sequence[float]) -> None:
        """The right click that ends a curve."""
        mouse.click(view, ras, mouse.RIGHT)

    def drag_point(self, view: str, node: Any, index: int, ras: Sequence[float]) -> None:
        """Take a control point with the mouse and let it go elsewhere."""
        start = [0.0, 0.0, 0.0]
        node.GetNthControlPointPositionWorld(index, start)
        mouse.drag(view, start, ras)

    # Looking

    def ras(self, ijk: Sequence[float]) -> tuple[float, float, float]:
        """World position of a voxel of the chosen volume."""
        return tuple(float(value) for value in self.workbench.session.volume.to_ras(ijk))  # type: ignore[return-value]

    def mask(self, segment: str) -> Any:
        """The voxels of a segment as an array [k, j, i] on the chosen volume."""
        from MoESegLib.mrml.segmentations import segment_mask

        parameters = self.workbench.parameters
        return segment_mask(parameters.segmentation, segment, parameters.volume)

    def prompts(self, segment: str) -> tuple:
        """The prompts of a segment."""
        return self.workbench.session.prompts(segment)

    def state(self) -> dict[str, tuple]:
        """Voxels and prompts of every segment, to compare."""
        from MoESegLib.mrml.segmentations import get_tag, segment_ids, segment_of

        segmentation = self.workbench.parameters.segmentation
        return {
            key: (self.mask(key).tobytes(), get_tag(segment_of(segmentation, key), "MoESeg.Prompts"))
            for key in segment_ids(segmentation)
        }
