"""Behavior of ``slicer.app``, the main window, the module manager and the modules."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from .stand_ins import Behavior, behavior, stand_in_class

# ruff: noqa: N802 - Slicer's names


@behavior("qSlicerCoreApplication", kept=("extensionsInstallPath", "defaultScenePath"))
class CoreApplication(Behavior):
    """The part of the application that knows scene, logics, settings and versions."""

    def build(self: Any) -> None:
        folder = Path(tempfile.mkdtemp(prefix="slicer-panel-harness-"))
        self._values.update(temporaryPath=str(folder), cachePath=str(folder / "cache"))
        # Never the settings of the person who runs the tests.
        ini = QtCore.QSettings.Format.IniFormat
        QtCore.QSettings.setDefaultFormat(ini)
        QtCore.QSettings.setPath(ini, QtCore.QSettings.Scope.UserScope, str(folder))
        self.setOrganizationName("NA-MIC")
        self.setApplicationName("Slicer")
        self._settings = QtCore.QSettings()
        self._logic: Any = None
        self._modules = stand_in_class("qSlicerModuleManager")(self)
        self._paused = 0

    def testingEnabled(self: Any) -> bool:
        return True

    def processEvents(self: Any) -> None:
        QtCore.QCoreApplication.processEvents()

    def mrmlScene(self: Any) -> Any:
        import slicer

        return slicer.mrmlScene

    def applicationLogic(self: Any) -> Any:
        return self._logic

    def moduleManager(self: Any) -> Any:
        return self._modules

    def moduleLogic(self: Any, name: str) -> Any:
        module = self._modules.module(name)
        return None if module is None else module.logic()

    def moduleDocumentationUrl(self: Any, name: str) -> str:
        return f"{self.get_documentationBaseUrl()}user_guide/modules/{name.lower()}.html"

    def settings(self: Any) -> QtCore.QSettings:
        return self._settings

    def userSettings(self: Any) -> QtCore.QSettings:
        return self._settings

    def revisionUserSettings(self: Any) -> QtCore.QSettings:
        return self._settings

    def openUrl(self: Any, url: str) -> None:
        from .dialogs import recorder

        recorder.status.append(f"opened {url}")

    def pauseRender(self: Any) -> None:
        self.setRenderPaused(True)

    def resumeRender(self: Any) -> None:
        self.setRenderPaused(False)

    def setRenderPaused(self: Any, paused: bool) -> None:
        self._paused += 1 if paused else -1
        if self._paused < 0:
            raise AssertionError("resumeRender without pauseRender")

    def get_temporaryPath(self: Any) -> str:
        return self._values["temporaryPath"]

    def set_temporaryPath(self: Any, path: str) -> None:
        self._values["temporaryPath"] = path

    def get_cachePath(self: Any) -> str:
        return self._values["cachePath"]

    def set_cachePath(self: Any, path: str) -> None:
        self._values["cachePath"] = path

    def get_slicerHome(self: Any) -> str:
        return self._values["temporaryPath"]

    def get_majorVersion(self: Any) -> int:
        return 5

    def get_minorVersion(self: Any) -> int:
        return 13

    def get_mainApplicationName(self: Any) -> str:
        return "Slicer"

    def get_documentationBaseUrl(self: Any) -> str:
        return "https://slicer.readthedocs.io/en/latest/"

    def get_isInstalled(self: Any) -> bool:
        return True


@behavior("qSlicerApplication")
class Application(Behavior):
    """The application with windows."""

    def build(self: Any) -> None:
        self._layout_manager = stand_in_class("qSlicerLayoutManager")(self)

    def layoutManager(self: Any) -> Any:
        return self._layout_manager


@behavior("qSlicerMainWindow")
class MainWindow(Behavior):
    """The window that shortcuts belong to; the panel under test is docked in it."""

    def build(self: Any) -> None:
        self.setObjectName("qSlicerMainWindow")
        self.setWindowTitle("3D Slicer (panel harness)")
        self.setCentralWidget(QtWidgets.QLabel("views"))
        self._selector = stand_in_class("qSlicerModuleSelectorToolBar")(self)
        self._selector.hide()
        self.statusBar()
        self.resize(1000, 1100)

    def moduleSelector(self: Any) -> Any:
        return self._selector


@behavior("qSlicerModuleSelectorToolBar")
class ModuleSelector(Behavior):
    """Remembers which module was chosen."""

    def get_selectedModule(self: Any) -> str:
        return self._values.get("selectedModule", "")

    def set_selectedModule(self: Any, name: str) -> None:
        self._values["selectedModule"] = name

    def selectModule(self: Any, name: str) -> None:
        self.set_selectedModule(name)
        self.send("moduleSelected(QString)", name)


@behavior("qSlicerModuleManager")
class ModuleManager(Behavior):
    """All modules by name."""

    def build(self: Any) -> None:
        self._by_name: dict[str, Any] = {}

    def module(self: Any, name: str) -> Any:
        return self._by_name.get(name)

    def modulesNames(self: Any) -> list[str]:
        return list(self._by_name)


@behavior("qSlicerAbstractCoreModule")
class CoreModule(Behavior):
    """A module: its name, file and logic."""

    def build(self: Any) -> None:
        self._logic: Any = None
        self._values.update(name="", path="")

    def logic(self: Any) -> Any:
        return self._logic

    def get_name(self: Any) -> str:
        return self._values["name"]

    def get_path(self: Any) -> str:
        return self._values["path"]

    def get_title(self: Any) -> str:
        return self._values.get("title") or self._values["name"]


@behavior("qSlicerAbstractModule")
class AbstractModule(Behavior):
    """A module that may have a widget."""

    _widget: Any = None

    def widgetRepresentation(self: Any) -> Any:
        return self._widget

    def get_icon(self: Any) -> QtGui.QIcon:
        return self._values.get("icon", QtGui.QIcon())


@behavior(
    "qSlicerScriptedLoadableModule",
    kept=(
        "categories",
        "contributors",
        "associatedNodeTypes",
        "helpText",
        "acknowledgementText",
        "extensions",
        "hidden",
        "dependencies",
        "index",
    ),
)
class ScriptedModule(Behavior):
    """What a module's Python class gets as ``parent``."""

    def set_title(self: Any, title: str) -> None:
        self._values["title"] = title

    def set_icon(self: Any, icon: QtGui.QIcon) -> None:
        self._values["icon"] = icon


@behavior("qSlicerScriptedLoadableModuleWidget")
class ScriptedModuleWidget(Behavior):
    """What a module's widget class gets as ``parent``."""

    _python: Any = None

    def self(self: Any) -> Any:
        return self._python


@behavior("qSlicerAbstractModuleWidget")
class AbstractModuleWidget(Behavior):
    """Knows whether the user is in the module."""

    _entered = False

    def get_isEntered(self: Any) -> bool:
        return self._entered
