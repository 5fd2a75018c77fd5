"""MoESeg: interactive segmentation with mixtures of experts. The Slicer module; what it does is in MoESegLib."""

import importlib.util
import logging
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

PUMP_MILLISECONDS = 30


class MoESeg(ScriptedLoadableModule):
    """What the module selector and the Sample Data module know of MoESeg."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MoESeg")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Segmentations", "Markups", "SegmentEditor"]
        self.parent.contributors = ["MoESeg maintainers"]
        self.parent.helpText = _(
            "Segment images with clicks, boxes, scribbles, outlines or words. Runs on this computer, also without a "
            "graphics card. Research software, not a medical device."
        )
        self.parent.acknowledgementText = _(
            "Built on Segment Anything, MedSAM, SegMoTE, SAM-Med3D-MoE and MAST-Pro; see the model cards for authors "
            "and licenses."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


class MoESegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: shows the workbench's state and hands it what the user does."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.panel = None

    def setup(self):
        """Build the panel; nothing is loaded or installed yet."""
        ScriptedLoadableModuleWidget.setup(self)
        widget = slicer.util.loadUI(self.resourcePath("UI/MoESeg.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        from MoESegPanel import Panel, WidgetHistory

        self.logic = MoESegLogic(WidgetHistory(self.ui.segmentEditor))
        self.panel = Panel(self.ui, self.logic, self.resourcePath("Icons"))
        self.timer = qt.QTimer()
        self.timer.setInterval(PUMP_MILLISECONDS)
        self.timer.connect("timeout()", self.panel.pump)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndClose)
        self.panel.refresh()

    def enter(self):
        """The user opened the module: shortcuts, timer, and the masking that the Segment Editor was set to."""
        self.logic.open()
        self.panel.enter()
        self.timer.start()

    def exit(self):
        """The user left: nothing of ours stays live in other modules."""
        self.timer.stop()
        self.panel.exit()

    def cleanup(self):
        """The application ends or the module is reloaded."""
        self.timer.stop()
        self.panel.exit()
        self.panel.close()
        self.logic.close()
        self.removeObservers()

    def onSceneStartClose(self, caller, event):
        self.logic.close()  # the panel is shown anew when the scene is empty; now a refresh would add nodes to it

    def onSceneEndClose(self, caller, event):
        if self.panel.entered:
            self.logic.open()
        self.panel.refresh()


class MoESegLogic(ScriptedLoadableModuleLogic):
    """The workbench (:class:`MoESegLib.mrml.workbench.Workbench`) on the module's parameter node.

    From Python, without the panel::

        logic = slicer.util.getModuleLogic("MoESeg")
        workbench = logic.open()
        workbench.select(volumeNode, model="segmote-lite")
        workbench.finish()  # until the model is loaded
        workbench.add(PointPrompt(ras=(10, 20, -30), segment=workbench.add_segment("liver")))
        workbench.finish()
    """

    def __init__(self, history=None):
        ScriptedLoadableModuleLogic.__init__(self)
        self.isSingletonParameterNode = True
        self._history = history
        self._models = None
        self._missing = None
        self.workbench = None

    def open(self):
        """The workbench of the scene, made on first use."""
        from MoESegLib.mrml.model_library import ModelLibrary
        from MoESegLib.mrml.workbench import Workbench

        node = self.getParameterNode()
        if self._models is None:
            self._models = ModelLibrary(missing=self.missingDependencies)
        if self.workbench is None or self.workbench.parameters.node is not node:
            self.close()
            self.workbench = Workbench(slicer.mrmlScene, node, self._models, self._history)
        return self.workbench

    def close(self):
        """Stop all work. The scene keeps prompts and segments."""
        if self.workbench is not None:
            self.workbench.close()
        self.workbench = None

    def missingDependencies(self):
        """What must be installed before a model can be loaded: requirements, and "PyTorch". Looked up once."""
        if self._missing is None:
            self._missing = self.findMissing()
        return self._missing

    def whyNoTotalSegmentator(self):
        """Why TotalSegmentator cannot be run from here, or an empty text."""
        if hasattr(slicer.modules, "totalsegmentator"):
            return ""
        return _("Install the extension 'TotalSegmentator' in the Extensions Manager, and restart Slicer.")

    def totalSegmentatorProgram(self):
        """How TotalSegmentator is started in this Slicer. Its extension installs the Python package, if it must."""
        import shutil
        import sysconfig

        if importlib.util.find_spec("totalsegmentator") is None:
            slicer.util.getModuleLogic("TotalSegmentator").setupPythonRequirements()
        script = Path(sysconfig.get_path("scripts")) / "TotalSegmentator"
        found = [path for path in (script, script.with_suffix(".exe")) if path.exists()]
        python = shutil.which("PythonSlicer")
        return [python, str(found[0])] if python and found else []

    def findMissing(self):
        """Look the requirements up in this Python."""
        requirements = Path(slicer.util.modulePath("MoESeg")).parent / "Resources" / "requirements.txt"
        lines = [line.split("#")[0].strip() for line in requirements.read_text(encoding="utf-8").splitlines()]
        names = [line for line in lines if line]
        missing = [line for line in names if importlib.util.find_spec(_importName(line)) is None]
        if importlib.util.find_spec("torch") is None:
            missing.append("PyTorch")
        return missing

    def installDependencies(self):
        """Install what is missing, on the main thread, after the user agreed; returns whether all is there now.

        PyTorch comes through Slicer's PyTorch extension, which chooses the build for this computer.
        """
        missing = self.missingDependencies()
        packages = [name for name in missing if name != "PyTorch"]
        if packages:
            _pipEnsure(packages)
        if "PyTorch" in missing:
            try:
                import PyTorchUtils
            except ImportError as error:
                raise RuntimeError(
                    _("MoESeg needs PyTorch. Install the extension 'PyTorch' in the Extensions Manager and restart.")
                ) from error
            PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True, torchVersionRequirement=">=2.2")
        importlib.invalidate_caches()
        self._missing = None
        return not self.missingDependencies()


class MoESegTest(ScriptedLoadableModuleTest):
    """The tests that need the application itself are in Testing/in_slicer.py; this is the smallest one."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_workbench_opens()

    def test_workbench_opens(self):
        """The logic opens a workbench on the scene and says what is missing."""
        self.delayDisplay("Opening MoESeg")
        logic = MoESegLogic()
        workbench = logic.open()
        self.assertIn("lite-medsam", workbench.models.names())
        self.assertIn("image", workbench.why_not())
        logic.close()
        self.delayDisplay("Test passed")


def registerSampleData():
    """Offer the demo CT, which comes with the extension, in the Sample Data module."""
    try:
        import SampleData
    except ImportError:
        logging.info("The Sample Data module is not there; MoESeg's demo image is not offered in it.")
        return
    icons = Path(slicer.util.modulePath("MoESeg")).parent / "Resources" / "Icons"
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="MoESeg",
        sampleName="MoESegDemoCT",
        thumbnailFileName=str(icons / "MoESegDemo.png"),
        customDownloader=loadDemoCT,
    )


def loadDemoCT(source=None):
    """Load the demo CT, a DICOM series, into the scene and show it; a list with its node, as Sample Data expects."""
    from MoESegLib import Volume
    from MoESegLib.resources import resource_path

    ct = Volume.read(resource_path("Demo", "ct"))
    node = slicer.util.addVolumeFromArray(ct.array, ijkToRAS=ct.ijk_to_ras, name="MoESegDemoCT")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    hierarchy.SetItemAttribute(hierarchy.GetItemByDataNode(node), "DICOM.Modality", ct.modality)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    return [node]


def _importName(requirement):
    """The module that a line of requirements.txt installs; all of ours are named like their package."""
    return requirement.split(">")[0].split("=")[0].split("<")[0].split("[")[0].strip()


def _pipEnsure(packages):
    """Slicer's own installer asks the user and shows progress; before 5.11 there was only pip_install."""
    try:
        from slicer.packaging import pip_ensure
    except ImportError:
        text = _("MoESeg needs these Python packages: {packages}. Install them now?").format(
            packages=", ".join(packages)
        )
        if slicer.util.confirmOkCancelDisplay(text):
            for package in packages:
                slicer.util.pip_install(package)
        return
    pip_ensure(packages, requester="MoESeg", skip_in_testing=False)
