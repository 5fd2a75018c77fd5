"""The harness: one application, one scene, a module under test, and a user with mouse and keyboard."""

from __future__ import annotations

import atexit
import importlib.util
import os
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shiboken6
from PySide6 import QtCore, QtWidgets

from . import dialogs, user
from .class_proxy import CtkModule, QtModule, stand_in_proxy
from .errors import HarnessError, PanelError
from .object_proxy import forget_connections, forget_deleted, keep
from .pointer import Point, Pointer
from .python_services import Packaging, make_i18n, make_packaging, make_pytorch_utils, packaging
from .scene import boot_scene, clear_scene, shut_down_scene
from .source_check import is_slicer_name
from .stand_ins import stand_in_class
from .theme import set_theme
from .thread_watch import watch_scene
from .values import unwrap, wrap


@dataclass
class LoadedModule:
    """A scripted module as Slicer holds it: Python module, module instance, widget and logic."""

    module: types.ModuleType
    instance: Any
    widget: Any
    logic: Any
    representation: Any

    @property
    def ui(self) -> Any:
        return self.widget.ui


class Modules:
    """``slicer.modules``: one attribute for every module, in lower case."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"Slicer has no module {name} here")


class Harness:
    """Boots once per process with ``Harness.start()``."""

    _only: Harness | None = None

    @classmethod
    def start(cls) -> Harness:
        """The harness of this process, booted on the first call."""
        if cls._only is None:
            cls._only = cls()
        return cls._only

    def __init__(self) -> None:
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
        self.errors: list[BaseException] = []
        self.longest_block = 0.0  # seconds the user interface was deaf, at worst; a test may set it to 0
        self.loaded: list[LoadedModule] = []
        self._entered: LoadedModule | None = None
        self._tolerant = False
        _install_qt()
        existing = QtWidgets.QApplication.instance()
        if existing is not None:
            raise HarnessError("there is a QApplication already; the harness must make its own")
        self.qt_app = keep(stand_in_class("qSlicerApplication")(["Slicer"]))
        set_theme("light")
        self._booted = boot_scene()
        watch_scene(self._booted.scene, self.errors.append)
        self.pointer = Pointer(self._booted)
        self._window = keep(stand_in_class("qSlicerMainWindow")())
        self._dock = _add_dock(self._window)
        self.attach()
        dialogs.install()
        self._window.show()
        atexit.register(self._stop)
        sys.excepthook = self._record
        threading.excepthook = lambda args: self._record(args.exc_type, args.exc_value, args.exc_traceback)
        self.pump()

    def _stop(self) -> None:
        """Take widgets and scene down in order, before Python takes them down in any order."""
        for raw in self.qt_app.topLevelWidgets():
            if shiboken6.isValid(raw):
                shiboken6.delete(raw)
        shut_down_scene(self._booted)

    def attach(self) -> None:
        """Make this harness's scene, application and modules those of the ``slicer`` package."""
        import slicer

        _install_slicer_python()
        slicer.mrmlScene = self._booted.scene
        slicer.app = wrap(self.qt_app)
        slicer.modules = Modules()
        self.qt_app._logic = self._booted.application_logic
        for name, logic in self._booted.logics.items():
            self._add_module("qSlicerLoadableModule", name, "", logic)
        slices = self.qt_app._layout_manager
        slices._slices.clear()
        for logic in self._booted.slice_logics.values():
            slices._add_slice(logic)

    def _add_module(self, class_name: str, name: str, path: str, logic: Any) -> Any:
        import slicer

        module = keep(stand_in_class(class_name)())
        module._values.update(name=name, path=path)
        module._logic = logic
        self.qt_app._modules._by_name[name] = module
        setattr(slicer.modules, name.lower(), wrap(module))
        return module

    # state
    @property
    def scene(self) -> Any:
        return self._booted.scene

    @property
    def dialogs(self) -> dialogs.DialogRecorder:
        return dialogs.recorder

    @property
    def packaging(self) -> Packaging:
        return packaging

    @property
    def main_window(self) -> Any:
        return wrap(self._window)

    @property
    def selection_node(self) -> Any:
        return self._booted.application_logic.GetSelectionNode()

    @property
    def interaction_node(self) -> Any:
        return self._booted.application_logic.GetInteractionNode()

    @property
    def slice_logics(self) -> dict[str, Any]:
        return self._booted.slice_logics

    def reset(self) -> None:
        """Unload modules, empty the scene, forget dialogs, installations and errors."""
        self._tolerant = True
        for loaded in list(self.loaded):
            self.unload(loaded)
        self.attach()
        self.restart_scene()
        self._tolerant = False
        self.qt_app._settings.clear()
        dialogs.recorder.reset()
        packaging.reset()
        set_theme("light")
        self.longest_block = 0.0
        self.errors.clear()

    def restart_scene(self) -> None:
        """Close the scene as the user does."""
        clear_scene(self._booted)
        self.pump()

    def save_scene(self, path: str | Path) -> Path:
        """Save the scene as ``.mrb``."""
        if not self.scene.WriteToMRB(str(path)):
            raise HarnessError(f"the scene could not be saved as {path}")
        return Path(path)

    def open_scene(self, path: str | Path) -> None:
        """Close the scene and load a ``.mrb``."""
        if not self.scene.ReadFromMRB(str(path), True):
            raise HarnessError(f"{path} could not be loaded")
        self.pump()

    # module
    def load_module(self, path: str | Path) -> LoadedModule:
        """Import a scripted module, make its classes and set its panel up, as Slicer does on first use."""
        import slicer

        path = Path(path)
        name = path.stem
        module = _import_file(name, path)
        parent = self._add_module("qSlicerScriptedLoadableModule", name, str(path), None)
        instance = getattr(module, name)(wrap(parent))
        setattr(slicer.modules, name + "Instance", instance)
        self.qt_app.send("startupCompleted()")
        representation = keep(stand_in_class("qSlicerScriptedLoadableModuleWidget")())
        representation.setLayout(QtWidgets.QVBoxLayout())
        representation.setMRMLScene(self.scene)
        representation._values["moduleName"] = name
        widget = getattr(module, name + "Widget")(wrap(representation))
        representation._python = widget
        parent._widget = representation
        setattr(slicer.modules, name + "Widget", widget)
        widget.setup()
        loaded = LoadedModule(module, instance, widget, getattr(widget, "logic", None), wrap(representation))
        self.loaded.append(loaded)
        self.check()
        return loaded

    def unload(self, loaded: LoadedModule) -> None:
        """Leave and destroy a module's panel, as Slicer does when it closes."""
        import slicer

        if self._entered is loaded:
            self.exit(loaded)
        loaded.widget.cleanup()
        name = loaded.module.__name__
        for attribute in (name.lower(), name + "Instance", name + "Widget"):
            vars(slicer.modules).pop(attribute, None)
        self.qt_app._modules._by_name.pop(name, None)
        self._dock.takeWidget()
        unwrap(loaded.representation).deleteLater()
        self.loaded.remove(loaded)
        forget_connections(self.qt_app)
        self.pump()
        forget_deleted()
        self.check()

    def enter(self, loaded: LoadedModule | None = None) -> None:
        """Switch to the module (the one loaded last): its panel is shown, then ``enter()`` is called."""
        loaded = loaded or self.loaded[-1]
        if self._entered is not None and self._entered is not loaded:
            self.exit(self._entered)
        self._entered = loaded
        representation = unwrap(loaded.representation)
        representation._entered = True
        self._dock.setWidget(representation)
        representation.show()
        user.activate(self._window)
        if hasattr(loaded.widget, "enter"):
            loaded.widget.enter()
        self.pump()

    def exit(self, loaded: LoadedModule | None = None) -> None:
        """Switch to another module: ``exit()`` is called, then the panel is hidden."""
        loaded = loaded or self._entered or self.loaded[-1]
        if hasattr(loaded.widget, "exit"):
            loaded.widget.exit()
        representation = unwrap(loaded.representation)
        representation._entered = False
        representation.hide()
        self._entered = None
        self.pump()

    # time and errors
    def pump(self, seconds: float = 0, until: Callable[[], Any] | None = None) -> None:
        """Let Qt work: for some seconds, or until a condition holds (10 seconds at most, or ``seconds``).

        Raises:
            PanelError: The panel raised meanwhile.
            TimeoutError: The condition did not come true.
        """
        deadline = time.monotonic() + (seconds or (10.0 if until else 0.0))
        while True:
            with self._timed():
                QtCore.QCoreApplication.processEvents()
                QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete.value)
            self.check()
            if until is not None and until():
                return
            if time.monotonic() >= deadline:
                break
            time.sleep(0.001)
        if until is not None:
            raise TimeoutError(f"not within {seconds or 10.0:g} s: {getattr(until, '__qualname__', until)}")

    @contextmanager
    def _timed(self) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.longest_block = max(self.longest_block, time.perf_counter() - started)

    def _record(self, kind: type[BaseException], error: BaseException | None, traceback: Any) -> None:
        self.errors.append(error if error is not None else kind())
        sys.__excepthook__(kind, self.errors[-1], traceback)

    def check(self) -> None:
        """Raise the first error that a slot, timer, observer or thread of the panel left behind."""
        if self.errors and not self._tolerant:
            error = self.errors[0]
            self.errors.clear()
            raise PanelError(f"the panel raised {type(error).__name__}: {error}") from error

    @contextmanager
    def errors_allowed(self) -> Iterator[list[BaseException]]:
        """Collect the panel's errors instead of raising them."""
        self._tolerant = True
        seen: list[BaseException] = []
        try:
            yield seen
        finally:
            seen += self.errors
            self.errors.clear()
            self._tolerant = False

    # the user at the panel
    @contextmanager
    def _acting(self, over_panel: bool = True) -> Iterator[None]:
        if over_panel:
            self.pointer.leave_views()
        with self._timed():
            yield
        self.pump()

    def click(self, widget: Any) -> None:
        """Left click. Raises HarnessError when the widget is disabled, hidden or folded away."""
        with self._acting():
            user.click(unwrap(widget))

    def type(self, line_edit: Any, text: str, enter: bool = False) -> None:
        """Replace the text of a line edit, spin box or editable combo box by typing; then Enter if wanted."""
        with self._acting():
            user.type_text(unwrap(line_edit), text, enter)

    def choose(self, combo_box: Any, text: str) -> None:
        """Choose an entry of a combo box (of Qt, of nodes or of segments) by its text."""
        with self._acting():
            user.choose(unwrap(combo_box), text)

    def slide(self, slider: Any, value: float) -> None:
        """Type a value into a slider's spin box, or drag a slider without one."""
        with self._acting():
            user.slide(unwrap(slider), value)

    def select_segment(self, table: Any, segment_id: str, column: int | None = None) -> None:
        """Click the row of a segment: on its name, or in another column (0 eye, 1 color, 2 status)."""
        with self._acting():
            user.click_segment(unwrap(table), segment_id, column)

    def select_row(self, view: Any, row: int, column: int = 0) -> None:
        """Click an item of a list, table or flat tree of Qt."""
        with self._acting():
            user.click_row(unwrap(view), row, column)

    def press(self, keys: str, on: Any = None) -> None:
        """Press a key sequence in the main window (or on one widget), so that shortcuts fire."""
        with self._acting(over_panel=False):
            user.press(self._window, keys, unwrap(on))

    def grab(self, widget: Any, path: str | Path) -> Path:
        """Save a picture of a widget as PNG."""
        return user.grab(unwrap(widget), Path(path))

    def set_theme(self, name: str) -> None:
        """``"light"`` or ``"dark"``."""
        with self._acting():
            set_theme(name)

    # the user in the views
    def hover(self, ras: Point, view: str = "Red") -> None:
        """Move the mouse over a slice view in place mode; a preview point follows it."""
        with self._acting(over_panel=False):
            self.pointer.hover(ras, view)

    def place_point(self, ras: Point, view: str = "Red") -> Any:
        """A left click in place mode; returns the markups node that got the point."""
        with self._acting(over_panel=False):
            return self.pointer.place_point(ras, view)

    def place_box(self, corner_a: Point, corner_b: Point, view: str = "Red") -> Any:
        """Two clicks that place a ROI by opposite corners; returns the ROI node."""
        self.pointer.require_class("vtkMRMLMarkupsROINode")
        self.place_point(corner_a, view)
        return self.place_point(corner_b, view)

    def place_curve(self, points: Sequence[Point], view: str = "Red") -> Any:
        """Clicks along a curve, then the right click that ends it; returns the curve node."""
        node = None
        for point in points:
            node = self.place_point(point, view)
        with self._acting(over_panel=False):
            self.pointer.finish_placing()
        return node

    def drag_point(self, node: Any, index: int, ras: Point) -> None:
        """Drag a control point to another place."""
        with self._acting(over_panel=False):
            self.pointer.drag_point(node, index, ras)

    def drag_box(self, node: Any, center: Point, size: Point) -> None:
        """Drag the handles of a ROI until it has this center and size in millimeters."""
        with self._acting(over_panel=False):
            self.pointer.drag_box(node, center, size)


def _install_qt() -> None:
    sys.modules["qt"] = QtModule("qt")
    sys.modules["ctk"] = CtkModule("ctk")


def _install_slicer_python() -> None:
    """Give ``slicer`` what only the application has, and take what only slicer-core leaks into it."""
    import slicer

    from . import scripted_module

    modules = {"ScriptedLoadableModule": scripted_module, "i18n": make_i18n(), "packaging": make_packaging()}
    for name, module in modules.items():
        sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)
    sys.modules["PyTorchUtils"] = make_pytorch_utils()
    slicer.__dict__["__getattr__"] = _missing_slicer_name
    for name in [name for name in vars(slicer) if not name.startswith("_") and not is_slicer_name(name)]:
        delattr(slicer, name)


def _missing_slicer_name(name: str) -> Any:
    if not name.startswith("_"):
        try:
            return stand_in_proxy(name)
        except AttributeError:
            pass
    raise AttributeError(f"module 'slicer' has no attribute '{name}'")


def _add_dock(window: QtWidgets.QMainWindow) -> QtWidgets.QScrollArea:
    dock = QtWidgets.QDockWidget("Modules", window)
    dock.setObjectName("PanelDockWidget")
    scroll = QtWidgets.QScrollArea()
    scroll.setWidgetResizable(True)
    scroll.setMinimumWidth(480)
    dock.setWidget(scroll)
    window.addDockWidget(QtCore.Qt.DockWidgetArea.LeftDockWidgetArea, dock)
    keep(dock)
    return keep(scroll)


def _import_file(name: str, path: Path) -> types.ModuleType:
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise HarnessError(f"{path} is not a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
