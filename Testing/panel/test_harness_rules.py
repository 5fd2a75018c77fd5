"""PythonQt's rules hold, and whatever the real classes lack is refused."""

from __future__ import annotations

import functools

import pytest
from panel_harness import Harness, PanelError
from panel_harness.stand_ins import Behavior, behavior


@pytest.fixture(autouse=True)
def application(harness: Harness) -> Harness:
    return harness


def test_a_property_comes_before_the_method_of_the_same_name() -> None:
    import qt

    button = qt.QPushButton("Run")
    assert button.text == "Run"
    with pytest.raises(TypeError, match="not callable"):
        button.text()
    button.setText("Stop")
    assert button.text == "Stop"


def test_methods_that_are_no_properties_work_beside_properties() -> None:
    import qt

    box = qt.QCheckBox()
    box.checked = True
    assert box.isChecked()


def test_an_unknown_attribute_can_be_neither_read_nor_written() -> None:
    import qt
    import slicer

    button = qt.QPushButton()
    with pytest.raises(AttributeError, match="no attribute named 'txt'"):
        button.txt  # noqa: B018
    with pytest.raises(AttributeError, match="new attributes on C\\+\\+ objects is not allowed"):
        button.txt = "Run"
    with pytest.raises(AttributeError, match="no attribute named 'currentNodeName'"):
        slicer.qMRMLNodeComboBox().currentNodeName  # noqa: B018


def test_methods_and_signals_can_not_be_overwritten() -> None:
    import qt

    for name in ("setText", "clicked"):
        with pytest.raises(AttributeError, match="can not be overwritten"):
            setattr(qt.QPushButton(), name, None)


def test_plain_setters_of_slicer_widgets_are_hidden_and_the_property_works() -> None:
    import ctk
    import slicer

    combo = slicer.qMRMLNodeComboBox()
    with pytest.raises(AttributeError, match="setNodeTypes"):
        combo.setNodeTypes(["vtkMRMLModelNode"])
    combo.nodeTypes = ["vtkMRMLModelNode"]
    assert combo.nodeTypes == ("vtkMRMLModelNode",)
    with pytest.raises(AttributeError, match="setMinimum"):
        ctk.ctkSliderWidget().setMinimum(1)


def test_a_read_only_property_and_a_wrong_type_are_refused() -> None:
    import ctk
    import slicer

    with pytest.raises(AttributeError, match="not writable"):
        slicer.qMRMLSegmentsTableView().segmentCount = 2
    with pytest.raises(AttributeError, match="does not accept"):
        ctk.ctkSliderWidget().value = "high"


def test_a_dynamic_property_is_an_attribute() -> None:
    import qt

    button = qt.QPushButton()
    button.setProperty("role", "accept")
    assert button.role == "accept"
    button.role = "reject"
    assert button.property("role") == "reject"


def test_an_unknown_signal_raises_with_those_that_exist() -> None:
    import qt
    import slicer

    with pytest.raises(ValueError, match=r"no signal clickd\(bool\)"):
        qt.QPushButton().connect("clickd(bool)", print)
    with pytest.raises(ValueError, match=r"no signal clicked\(int\).*clicked\(bool\)"):
        qt.QPushButton().connect("clicked(int)", print)
    with pytest.raises(ValueError, match=r"currentNodeChanged\(vtkMRMLNode\*\)"):
        slicer.qMRMLNodeComboBox().connect("currentNodeChanged(vtkMRMLVolumeNode*)", print)


def test_an_unknown_slot_raises() -> None:
    import qt

    button, label = qt.QPushButton(), qt.QLabel()
    with pytest.raises(AttributeError, match="setTxt"):
        button.connect("clicked(bool)", label, "setTxt(QString)")


def test_a_slot_gets_as_many_arguments_as_it_takes() -> None:
    import qt

    box, seen = qt.QCheckBox(), []
    box.connect("toggled(bool)", lambda: seen.append("none"))
    box.connect("toggled(bool)", lambda on: seen.append(on))
    box.connect("toggled(bool)", lambda *all_of_them: seen.append(all_of_them))
    box.connect("toggled(bool)", seen.append)
    box.checked = True
    assert seen == ["none", True, (True,), True]


def test_a_partial_gets_every_argument_as_in_pythonqt(harness: Harness) -> None:
    import qt

    button, seen = qt.QPushButton(), []
    button.connect("clicked(bool)", functools.partial(lambda name, checked: seen.append((name, checked)), "a"))
    button.click()
    assert seen == [("a", False)]
    button.connect("clicked(bool)", functools.partial(lambda name: seen.append(name), "b"))
    button.click()
    with pytest.raises(PanelError, match="TypeError"):
        harness.pump()


def test_a_signal_without_arguments_in_its_signature_delivers_none() -> None:
    import qt

    button, seen = qt.QPushButton(), []
    button.connect("clicked()", lambda *arguments: seen.append(arguments))
    button.click()
    assert seen == [()]


def test_disconnect_says_whether_there_was_something_to_undo() -> None:
    import qt

    box, seen = qt.QCheckBox(), []
    box.connect("toggled(bool)", seen.append)
    assert box.disconnect("toggled(bool)", seen.append)
    assert not box.disconnect("toggled(bool)", seen.append)
    box.checked = True
    assert seen == []


def test_cpp_slots_can_be_connected_by_name_or_as_methods() -> None:
    import qt

    box, label, button = qt.QCheckBox(), qt.QLabel(), qt.QPushButton()
    box.connect("toggled(bool)", label, "setEnabled(bool)")
    box.connect("toggled(bool)", button.setEnabled)
    box.checked = True
    box.checked = False
    assert not label.enabled
    assert not button.enabled


def test_overloaded_signals_of_slicer_widgets_are_told_apart(harness: Harness) -> None:
    import slicer

    combo, seen = slicer.qMRMLNodeComboBox(), []
    combo.nodeTypes = ["vtkMRMLTextNode"]
    combo.noneEnabled = True
    combo.setMRMLScene(slicer.mrmlScene)
    combo.connect("currentNodeChanged(bool)", seen.append)
    combo.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")
    combo.setCurrentNode(node)
    assert seen == [node, True]


def test_enums_are_integers_and_lists_are_tuples() -> None:
    import qt

    assert int(qt.Qt.AlignLeft) == 1
    assert (qt.Qt.AlignLeft | qt.Qt.AlignTop) == 0x21
    assert qt.QMessageBox.Ok == 1024
    label = qt.QLabel()
    label.alignment = qt.Qt.AlignRight
    assert label.alignment == qt.Qt.AlignRight
    window = qt.QWidget()
    child = qt.QLabel("child", window)
    assert window.children() == (child,)


def test_the_module_qt_has_nothing_that_only_pyside_has() -> None:
    import ctk
    import qt

    for name in ("Signal", "Slot", "Property", "QtCore", "qVersion", "QWidgetX"):
        with pytest.raises(AttributeError):
            getattr(qt, name)
    with pytest.raises(AttributeError):
        ctk.ctkSlidingWidget  # noqa: B018


def test_a_destroyed_object_says_so() -> None:
    import qt

    button = qt.QPushButton()
    button.delete()
    with pytest.raises(ValueError, match="destroyed QPushButton"):
        button.text  # noqa: B018


def test_a_python_subclass_is_its_own_wrapper(harness: Harness) -> None:
    import qt

    class Watcher(qt.QObject):
        def __init__(self, parent: object = None) -> None:
            super().__init__(parent)
            self.seen: list[object] = []

        def eventFilter(self, watched: object, event: object) -> bool:  # noqa: N802
            if event.type() == qt.QEvent.DynamicPropertyChange:
                self.seen.append(watched)
            return super().eventFilter(watched, event)

    label = qt.QLabel("watched")
    watcher = Watcher(label)
    watcher.objectName = "watcher"
    label.installEventFilter(watcher)
    label.setProperty("anything", 1)
    assert watcher.seen == [label]
    assert watcher.parent() == label
    assert label.findChild(qt.QObject, "watcher") is watcher


def test_signals_and_properties_of_a_python_subclass_follow_the_rules() -> None:
    import qt

    class Button(qt.QPushButton):
        pass

    button, seen = Button("Run"), []
    button.connect("clicked(bool)", seen.append)
    button.clicked.connect(seen.append)
    button.click()
    assert button.text == "Run"
    assert seen == [False, False]


def test_an_invented_member_of_a_stand_in_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="real class has no such member"):

        @behavior("ctkMenuButton")
        class Invented(Behavior):
            def openMenu(self) -> None:  # noqa: N802
                """CTK has none."""

    with pytest.raises(TypeError, match="no property glow"):
        behavior("ctkMenuButton", kept=("glow",))
    with pytest.raises(TypeError, match="has a class ctkMenuKnob"):
        behavior("ctkMenuKnob")


def test_a_real_member_without_behavior_raises_instead_of_keeping_silent() -> None:
    import ctk
    import slicer

    with pytest.raises(NotImplementedError, match="editCurrentNode"):
        slicer.qMRMLNodeComboBox().editCurrentNode()
    for use in (lambda: ctk.ctkRangeWidget().minimumValue, lambda: setattr(ctk.ctkRangeWidget(), "minimumValue", 1)):
        with pytest.raises(NotImplementedError, match="minimumValue"):
            use()


def test_slicer_has_no_names_that_only_slicer_core_leaks() -> None:
    import slicer

    assert slicer.vtkMRMLScene
    for name in ("VTKObservationMixin", "errorDisplay", "qMRMLNoSuchWidget", "info"):
        with pytest.raises(AttributeError):
            getattr(slicer, name)


def test_the_application_object_follows_the_same_rules(harness: Harness) -> None:
    import slicer

    assert slicer.app.applicationName == "Slicer"
    assert slicer.app.testingEnabled() is True
    assert slicer.app.majorVersion == 5
    assert slicer.app.applicationLogic().GetSelectionNode() is harness.selection_node
    with pytest.raises(AttributeError):
        slicer.app.mainWindow()
    assert slicer.util.mainWindow().className() == "qSlicerMainWindow"
    slicer.app.settings().setValue("MoESeg/folder", "/data")
    assert slicer.util.settingsValue("MoESeg/folder", "") == "/data"
    with slicer.util.RenderBlocker():
        slicer.app.processEvents()


def test_python_stand_ins_have_exactly_the_names_of_the_manifest() -> None:
    import inspect
    import sys

    from panel_harness.manifest import MANIFEST

    for module in ("slicer.packaging", "slicer.i18n"):
        for name, signature in MANIFEST["python"][module].items():
            ours = list(inspect.signature(getattr(sys.modules[module], name)).parameters)
            real = [part.split("=")[0].strip() for part in signature.strip("()").split(",") if part.strip()]
            assert ours == real, f"{module}.{name}"
    scripted = sys.modules["slicer.ScriptedLoadableModule"]
    for class_name, described in MANIFEST["python"]["slicer.ScriptedLoadableModule"].items():
        ours = {name for name in vars(getattr(scripted, class_name)) if not name.startswith("_")}
        assert ours == {name for name in described["methods"] if not name.startswith("__")}, class_name


def test_modal_windows_are_recorded_and_answered(harness: Harness) -> None:
    import qt
    import slicer

    assert slicer.util.confirmOkCancelDisplay("Install?") is True
    harness.dialogs.answer("confirmOkCancelDisplay", False)
    assert slicer.util.confirmOkCancelDisplay("Install?") is False
    harness.dialogs.answer("getOpenFileName", "/tmp/model.pth")
    assert qt.QFileDialog.getOpenFileName(None, "Weights", "", "*.pth") == "/tmp/model.pth"
    assert qt.QMessageBox.question(None, "Title", "Sure?") == qt.QMessageBox.Yes
    harness.dialogs.answer("exec", qt.QDialog.Accepted)
    dialog = qt.QDialog()
    dialog.windowTitle = "Choose"
    assert dialog.exec_() == qt.QDialog.Accepted
    kinds = [shown.kind for shown in harness.dialogs.shown]
    assert kinds == ["confirmOkCancelDisplay", "confirmOkCancelDisplay", "getOpenFileName", "question", "exec"]
    assert harness.dialogs.texts("question") == ["Sure?"]
    with pytest.raises(AssertionError, match="interrupted"):
        harness.dialogs.assert_none()
    with pytest.raises(ValueError, match="no window of the kind"):
        harness.dialogs.answer("confirmOkCanselDisplay", True)


def test_an_error_shown_to_the_user_is_recorded_and_still_raised(harness: Harness) -> None:
    import slicer

    with pytest.raises(RuntimeError), slicer.util.tryWithErrorDisplay("Segmentation failed", waitCursor=True):
        raise RuntimeError("no memory")
    assert harness.dialogs.texts("errorDisplay") == ["Segmentation failed\n\nno memory"]


def test_installations_are_counted_and_can_fail(harness: Harness) -> None:
    import slicer.packaging

    harness.packaging.missing.add("torch>=2.2")
    assert not slicer.packaging.pip_check("torch>=2.2")
    slicer.packaging.pip_ensure(["torch>=2.2"], requester="MoESeg")
    assert slicer.packaging.pip_check("torch>=2.2")
    assert harness.packaging.count("pip_ensure") == 1
    harness.packaging.error = RuntimeError("offline")
    with pytest.raises(RuntimeError, match="offline"):
        slicer.util.pip_install("scipy")
