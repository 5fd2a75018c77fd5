"""A small scripted module for the harness's own tests: thresholds a volume into segments."""

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *  # noqa: F403 - as every scripted module does
from slicer.util import VTKObservationMixin


class PanelDemo(ScriptedLoadableModule):  # noqa: F405
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)  # noqa: F405
        self.parent.title = _("Panel demo")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.started = False
        slicer.app.connect("startupCompleted()", self.onStartupCompleted)

    def onStartupCompleted(self):  # noqa: N802
        self.started = True


class PanelDemoWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):  # noqa: F405
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)  # noqa: F405
        VTKObservationMixin.__init__(self)
        self.fired = 0
        self.undone = 0
        self.places = []

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)  # noqa: F405
        widget = slicer.util.loadUI(self.resourcePath("UI/PanelDemo.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.logic = PanelDemoLogic()
        self.points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Points")
        self.addObserver(self.points, self.points.PointPositionDefinedEvent, self.onPoint)
        self.ui.placeWidget.setCurrentNode(self.points)
        self.ui.volumeSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onVolume)
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.ui.nameEdit.connect("returnPressed()", self.onApply)
        self.ui.autoCheck.toggled.connect(self.ui.thresholdSlider.setEnabled)

    def enter(self):
        self.shortcut = qt.QShortcut(qt.QKeySequence("Ctrl+Shift+A"), slicer.util.mainWindow())
        self.shortcut.connect("activated()", self.onUndo)
        qt.QTimer.singleShot(5, self.onTimer)

    def exit(self):
        self.shortcut.setParent(None)
        self.shortcut.deleteLater()

    def cleanup(self):
        self.removeObservers()

    def onTimer(self):  # noqa: N802
        self.fired += 1

    def onUndo(self):  # noqa: N802
        self.undone += 1

    def onVolume(self, node):  # noqa: N802
        self.ui.applyButton.enabled = node is not None

    def onPoint(self, caller, event):  # noqa: N802
        position = [0.0, 0.0, 0.0]
        caller.GetNthControlPointPositionWorld(caller.GetNumberOfControlPoints() - 1, position)
        self.places.append(position)

    def onApply(self):  # noqa: N802
        segmentation, segment = self.logic.threshold(
            self.ui.volumeSelector.currentNode(), self.ui.thresholdSlider.value, self.ui.nameEdit.text
        )
        self.ui.segmentsTable.setSegmentationNode(segmentation)
        self.ui.segmentsTable.setSelectedSegmentIDs([segment])
        self.ui.resultLabel.text = _("{count} segments").format(count=self.ui.segmentsTable.segmentCount)
        slicer.util.showStatusMessage("done")


class PanelDemoLogic(ScriptedLoadableModuleLogic):  # noqa: F405
    def threshold(self, volume, level, name):
        if not name:
            raise ValueError("a segment needs a name")
        parameters = self.getParameterNode()
        segmentation = parameters.GetNodeReference("segmentation")
        if segmentation is None:
            segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Segmentation")
            segmentation.CreateDefaultDisplayNodes()
            parameters.SetNodeReferenceID("segmentation", segmentation.GetID())
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        segment = segmentation.GetSegmentation().AddEmptySegment("", name)
        inside = slicer.util.arrayFromVolume(volume) > level
        slicer.util.updateSegmentBinaryLabelmapFromArray(inside.astype("uint8"), segmentation, segment, volume)
        assert isinstance(volume, vtk.vtkObject)
        return segmentation, segment
