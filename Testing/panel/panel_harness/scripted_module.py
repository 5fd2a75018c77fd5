"""Stand-in for ``slicer.ScriptedLoadableModule``: the four base classes of a scripted module."""

from __future__ import annotations

import unittest
from pathlib import Path
from typing import Any

# ruff: noqa: N802 - Slicer's names

__all__ = [
    "ScriptedLoadableModule",
    "ScriptedLoadableModuleLogic",
    "ScriptedLoadableModuleTest",
    "ScriptedLoadableModuleWidget",
]


def _resource(module_name: str, filename: str) -> str:
    import slicer

    folder = Path(slicer.util.modulePath(module_name)).parent
    return str(folder / "Resources" / filename)


class ScriptedLoadableModule:
    """Describes the module through ``parent``, a qSlicerScriptedLoadableModule."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = self.__class__.__name__
        parent.title = ""
        parent.categories = []
        parent.dependencies = []
        parent.contributors = []
        parent.helpText = ""
        parent.acknowledgementText = ""

    def resourcePath(self, filename: str) -> str:
        return _resource(self.moduleName, filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        import slicer

        return f'<p>See <a href="{slicer.app.moduleDocumentationUrl(docPage or self.moduleName)}">the docs</a>.</p>'

    def runTest(self, msec: int = 100, **kwargs: Any) -> None:
        raise NotImplementedError("run the module's own tests inside Slicer")


class ScriptedLoadableModuleWidget:
    """The panel; ``parent`` is the widget to fill and ``layout`` its layout."""

    def __init__(self, parent: Any = None) -> None:
        import qt
        import slicer

        self.moduleName = self.__class__.__name__.removesuffix("Widget")
        self.developerMode = False
        if parent is None:
            parent = slicer.qMRMLWidget()
            parent.setLayout(qt.QVBoxLayout())
            parent.setMRMLScene(slicer.mrmlScene)
        self.parent = parent
        self.layout = parent.layout()

    def resourcePath(self, filename: str) -> str:
        return _resource(self.moduleName, filename)

    def setup(self) -> None:
        self.setupDeveloperSection()

    def setupDeveloperSection(self) -> None:
        """Only in developer mode, which is off here."""

    def cleanup(self) -> None:
        """Called when the module is destroyed."""

    def onReload(self) -> None:
        raise NotImplementedError("reloading needs Slicer")

    def onTest(self, **kwargs: Any) -> None:
        raise NotImplementedError("run the module's own tests inside Slicer")

    def onReloadAndTest(self, **kwargs: Any) -> None:
        raise NotImplementedError("reloading needs Slicer")

    def onEditSource(self) -> None:
        raise NotImplementedError("editing needs Slicer")


class ScriptedLoadableModuleLogic:
    """Keeps its parameters in a vtkMRMLScriptedModuleNode."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = self.__class__.__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        import slicer

        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        else:
            node = next(iter(self.getAllParameterNodes()), None)
        return self.createParameterNode() if node is None else node

    def getAllParameterNodes(self) -> list[Any]:
        import slicer

        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> Any:
        import slicer

        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)  # the creation's own reference; Python holds one
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return slicer.mrmlScene.AddNode(node)


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Base of a module's self test."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.enableScreenshots = False
        self.screenshotScaleFactor = 1.0

    def setUp(self) -> None:
        import slicer

        slicer.mrmlScene.Clear(0)

    def tearDown(self) -> None:
        """Nothing to undo."""

    def runTest(self) -> None:
        """Overridden by the module."""

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        import slicer

        slicer.util.delayDisplay(message, 0)

    def takeScreenshot(self, name: str, description: str, type: int = -1) -> None:
        """No views, no screenshot."""
