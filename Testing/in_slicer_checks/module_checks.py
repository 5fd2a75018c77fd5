"""The module in the application: loading, its controls, and what it expects of Slicer's Python modules."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

import slicer

from .runner import Checks, Skipped, require
from .usage import members_used, signals_used, widgets_of

checks = Checks("Module")
check = checks.check


def module_folder() -> Path:
    """Where the module that was loaded lies: the checkout or the installed extension."""
    return Path(slicer.util.modulePath("MoESeg")).parent


def _widgets() -> dict[str, str]:
    return widgets_of(module_folder() / "Resources" / "UI" / "MoESeg.ui")


def _sources() -> Path:
    return module_folder() / "MoESegPanel"


@check("Python is new enough")
def python_version(site: Any) -> str:
    require(sys.version_info >= (3, 11), f"MoESeg needs Python 3.11, this is {sys.version.split()[0]}")
    return sys.version.split()[0]


@check("The module loads")
def module_loads(site: Any) -> str:
    site.load_module()
    return str(module_folder())


@check("The modules it depends on are there", application=True)
def dependencies(site: Any) -> None:
    missing = [name for name in ("segmentations", "markups", "segmenteditor") if not hasattr(slicer.modules, name)]
    require(not missing, f"missing: {', '.join(missing)}")


@check("The library comes with the module")
def library(site: Any) -> str:
    import MoESegLib

    return f"version {MoESegLib.__version__} in {Path(MoESegLib.__file__).parent}"


@check("Every control of the panel is there and of the class that the .ui file names")
def controls(site: Any) -> str:
    wrong = []
    for name, class_name in _widgets().items():
        widget = getattr(site.ui, name, None)
        if widget is None:
            wrong.append(f"no {name}")
        elif not widget.inherits(class_name):
            wrong.append(f"{name} is a {widget.className()}, not a {class_name}")
    require(not wrong, "; ".join(wrong))
    return f"{len(_widgets())} controls"


@check("The real controls have every attribute that the panel uses")
def attributes(site: Any) -> str:
    used = sorted(members_used(_sources(), _widgets()))
    missing = [f"{widget}.{member}" for widget, member in used if not hasattr(getattr(site.ui, widget), member)]
    require(not missing, f"missing: {', '.join(missing)}")
    return f"{len(used)} attributes"


@check("connect() returns True for every signal that the panel uses")
def signals(site: Any) -> str:
    used = sorted(signals_used(_sources(), _widgets()))
    refused = []
    for name, signal in used:
        widget = getattr(site.ui, name)
        if widget.connect(signal, _nothing) is not True:
            refused.append(f"{name}: {signal}")
        else:
            widget.disconnect(signal, _nothing)
    require(not refused, "; ".join(refused))
    return f"{len(used)} signals"


def _nothing(*_arguments: Any) -> None:
    """A slot that does nothing."""


@check("connect() returns False for a signal that does not exist", application=True)
def invented_signal(site: Any) -> None:
    require(not site.ui.runButton.connect("noSuchSignal()", _nothing), "the panel would not notice a wrong signal")


@check("Visible texts go through Slicer's translation")
def translation(site: Any) -> None:
    from slicer.i18n import tr, translate

    require(isinstance(tr("Run"), str), "slicer.i18n.tr does not return a text")
    require(translate("qSlicerAbstractCoreModule", "Segmentation"), "slicer.i18n.translate returns nothing")
    require(sys.modules["MoESeg"]._ is tr, "MoESeg.py does not translate with slicer.i18n.tr")


@check("The parameter node is a singleton of the module")
def parameter_node(site: Any) -> None:
    node = site.logic.getParameterNode()
    require(node is site.logic.getParameterNode(), "two calls give two nodes")
    require(node.GetSingletonTag(), "a second one could be made")


@check("slicer.packaging.pip_ensure takes the arguments we give it")
def pip_ensure(site: Any) -> str:
    try:
        from slicer.packaging import pip_ensure as function
    except ImportError:
        require(callable(getattr(slicer.util, "pip_install", None)), "neither pip_ensure nor slicer.util.pip_install")
        raise Skipped("this Slicer has no slicer.packaging; slicer.util.pip_install is there instead") from None
    missing = {"requester", "skip_in_testing"} - set(inspect.signature(function).parameters)
    require(not missing, f"it does not take {', '.join(sorted(missing))}")
    return str(inspect.signature(function))


@check("The PyTorch extension offers the functions we call")
def pytorch_extension(site: Any) -> str:
    try:
        import PyTorchUtils
    except ImportError:
        raise Skipped("the PyTorch extension is not installed") from None
    logic = PyTorchUtils.PyTorchUtilsLogic()
    wanted = {"askConfirmation", "torchVersionRequirement"}
    missing = wanted - set(inspect.signature(logic.installTorch).parameters)
    require(not missing, f"installTorch does not take {', '.join(sorted(missing))}")
    return "torch is installed" if importlib.util.find_spec("torch") else "torch is not installed yet"


@check("What is missing in Slicer's Python is known without importing it")
def missing_packages(site: Any) -> str:
    missing = site.logic.missingDependencies()
    return f"missing: {', '.join(missing)}" if missing else "nothing is missing"


@check("The demo CT is offered in Sample Data and loads")
def sample_data(site: Any) -> str:
    if importlib.util.find_spec("SampleData") is None:
        raise Skipped("the Sample Data module is not there")
    sources = getattr(slicer.modules, "sampleDataSources", {})
    if "MoESeg" not in sources:  # the application had started before the module was loaded
        sys.modules["MoESeg"].registerSampleData()
        sources = slicer.modules.sampleDataSources
    (source,) = sources["MoESeg"]
    (node,) = source.customDownloader(source)
    require(node.GetImageData() is not None, "nothing was loaded")
    return f"{node.GetImageData().GetDimensions()} voxels"
