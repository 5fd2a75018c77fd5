"""Behavior of CTK's and qMRML's widgets for one value: sliders, paths, texts, choices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from .stand_ins import Behavior, behavior

# ruff: noqa: N802 - Qt's and CTK's names


def row_layout(widget: Any) -> QtWidgets.QHBoxLayout:
    """A layout without margins for the inner widgets of a stand-in."""
    layout = QtWidgets.QHBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    return layout


class _BoundedValue(Behavior):
    """minimum, maximum and value as doubles, with the value held inside."""

    def _show(self: Any) -> None:
        raise NotImplementedError

    def _changed(self: Any) -> None:
        self.send("valueChanged(double)", self._values["value"])

    def get_value(self: Any) -> float:
        return self._values["value"]

    def set_value(self: Any, value: float) -> None:
        bounded = min(max(float(value), self._values["minimum"]), self._values["maximum"])
        bounded = round(bounded, self._values.get("decimals", 12))
        changed = bounded != self._values["value"]
        self._values["value"] = bounded
        self._show()
        if changed:
            self._changed()

    def setValue(self: Any, value: float) -> None:
        self.set_value(value)

    def get_minimum(self: Any) -> float:
        return self._values["minimum"]

    def set_minimum(self: Any, value: float) -> None:
        self._values["minimum"] = float(value)
        self._values["maximum"] = max(self._values["maximum"], float(value))
        self.set_value(self._values["value"])

    def get_maximum(self: Any) -> float:
        return self._values["maximum"]

    def set_maximum(self: Any, value: float) -> None:
        self._values["maximum"] = float(value)
        self._values["minimum"] = min(self._values["minimum"], float(value))
        self.set_value(self._values["value"])

    def get_singleStep(self: Any) -> float:
        return self._values["singleStep"]

    def set_singleStep(self: Any, value: float) -> None:
        self._values["singleStep"] = float(value)
        self._show()


_STEPS = 1000  # positions of the inner integer slider


def _slider_position(values: dict[str, Any]) -> int:
    span = (values["maximum"] - values["minimum"]) or 1.0
    return round(_STEPS * (values["value"] - values["minimum"]) / span)


def _slider_value(values: dict[str, Any], position: int) -> float:
    return values["minimum"] + position / _STEPS * (values["maximum"] - values["minimum"])


@behavior(
    "ctkSliderWidget",
    kept=(
        "pageStep",
        "tickInterval",
        "tickPosition",
        "synchronizeSiblings",
        "spinBoxAlignment",
        "tracking",
        "popupSlider",
        "invertedAppearance",
        "invertedControls",
    ),
)
class SliderWidget(_BoundedValue):
    """A slider with a spin box."""

    def build(self: Any) -> None:
        self._values.update(minimum=0.0, maximum=99.0, value=0.0, singleStep=1.0, pageStep=10.0, decimals=2)
        self._values.update(tracking=True, prefix="", suffix="", spinBoxVisible=True)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self._slider.setRange(0, _STEPS)
        self._spin_box = QtWidgets.QDoubleSpinBox()
        layout = row_layout(self)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._spin_box)
        self.setFocusProxy(self._spin_box)
        self._show()
        self._slider.valueChanged.connect(lambda position: self.set_value(_slider_value(self._values, position)))
        self._spin_box.valueChanged.connect(self.set_value)

    def _show(self: Any) -> None:
        values = self._values
        with QtCore.QSignalBlocker(self._spin_box), QtCore.QSignalBlocker(self._slider):
            self._spin_box.setDecimals(values["decimals"])
            self._spin_box.setRange(values["minimum"], values["maximum"])
            self._spin_box.setSingleStep(values["singleStep"])
            self._spin_box.setPrefix(values["prefix"])
            self._spin_box.setSuffix(values["suffix"])
            self._spin_box.setVisible(values["spinBoxVisible"])
            self._spin_box.setValue(values["value"])
            self._slider.setValue(_slider_position(values))

    def _changed(self: Any) -> None:
        self.send("valueIsChanging(double)", self._values["value"])
        self.send("valueChanged(double)", self._values["value"])

    def set_prefix(self: Any, text: str) -> None:
        self._values["prefix"] = text
        self._show()

    def set_suffix(self: Any, text: str) -> None:
        self._values["suffix"] = text
        self._show()

    def set_decimals(self: Any, decimals: int) -> None:
        self._values["decimals"] = int(decimals)
        self._show()
        self.send("decimalsChanged(int)", int(decimals))

    def setDecimals(self: Any, decimals: int) -> None:
        self.set_decimals(decimals)

    def set_spinBoxVisible(self: Any, visible: bool) -> None:
        self._values["spinBoxVisible"] = bool(visible)
        self._show()

    def setSpinBoxVisible(self: Any, visible: bool) -> None:
        self.set_spinBoxVisible(visible)

    def reset(self: Any) -> None:
        self.set_value(0.0)


@behavior("qMRMLSliderWidget", kept=("quantity", "unitAwareProperties", "orientation"))
class MrmlSliderWidget(Behavior):
    """A slider that takes its unit from the scene; units are not simulated."""

    _scene: Any = None

    def setMRMLScene(self: Any, scene: Any) -> None:
        self._scene = scene

    def mrmlScene(self: Any) -> Any:
        return self._scene


@behavior(
    "ctkDoubleSlider",
    kept=("pageStep", "tickInterval", "tickPosition", "handleToolTip", "invertedAppearance", "invertedControls"),
)
class DoubleSlider(_BoundedValue):
    """A slider over doubles, without a spin box."""

    def build(self: Any) -> None:
        self._values.update(minimum=0.0, maximum=99.0, value=0.0, singleStep=1.0, pageStep=10.0, tracking=True)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self._slider.setRange(0, _STEPS)
        row_layout(self).addWidget(self._slider)
        self._slider.valueChanged.connect(lambda position: self.set_value(_slider_value(self._values, position)))
        self._slider.sliderPressed.connect(lambda: self.send("sliderPressed()"))
        self._slider.sliderReleased.connect(lambda: self.send("sliderReleased()"))
        self._slider.sliderMoved.connect(
            lambda position: self.send("sliderMoved(double)", _slider_value(self._values, position))
        )

    def _show(self: Any) -> None:
        with QtCore.QSignalBlocker(self._slider):
            self._slider.setValue(_slider_position(self._values))

    def get_tracking(self: Any) -> bool:
        return self._slider.hasTracking()

    def set_tracking(self: Any, tracking: bool) -> None:
        self._slider.setTracking(tracking)

    def get_orientation(self: Any) -> Any:
        return self._slider.orientation()

    def set_orientation(self: Any, orientation: Any) -> None:
        self._slider.setOrientation(QtCore.Qt.Orientation(orientation))

    def setOrientation(self: Any, orientation: Any) -> None:
        self.set_orientation(orientation)


@behavior(
    "ctkPathLineEdit",
    kept=("label", "filters", "options", "settingKey", "sizeAdjustPolicy", "minimumContentsLength", "nameFilters"),
)
class PathLineEdit(Behavior):
    """An editable path with its history and a browse button."""

    def build(self: Any) -> None:
        self._path = QtWidgets.QComboBox()
        self._path.setEditable(True)
        self._browse = QtWidgets.QToolButton()
        self._browse.setText("...")
        self._valid = False
        layout = row_layout(self)
        layout.addWidget(self._path, 1)
        layout.addWidget(self._browse)
        self.setFocusProxy(self._path)
        self._path.editTextChanged.connect(self._changed)

    def _changed(self: Any, text: str) -> None:
        self.send("currentPathChanged(QString)", text)
        valid = Path(text).exists() if text else False
        if valid != self._valid:
            self._valid = valid
            self.send("validInputChanged(bool)", valid)

    def get_currentPath(self: Any) -> str:
        return self._path.currentText()

    def set_currentPath(self: Any, path: str) -> None:
        self._path.setEditText(path)

    def setCurrentPath(self: Any, path: str) -> None:
        self.set_currentPath(path)

    def comboBox(self: Any) -> QtWidgets.QComboBox:
        return self._path

    def addCurrentPathToHistory(self: Any) -> None:
        if self._path.findText(self._path.currentText()) < 0:
            self._path.addItem(self._path.currentText())

    def get_showBrowseButton(self: Any) -> bool:
        return not self._browse.isHidden()

    def set_showBrowseButton(self: Any, visible: bool) -> None:
        self._browse.setVisible(visible)

    def set_showHistoryButton(self: Any, visible: bool) -> None:
        self._values["showHistoryButton"] = bool(visible)


@behavior("ctkComboBox", kept=("defaultIcon", "elideMode", "scrollWheelEffect"))
class ComboBox(Behavior):
    """A combo box with a text for 'nothing chosen'."""

    def set_defaultText(self: Any, text: str) -> None:
        self._values["defaultText"] = text
        self.setPlaceholderText(text)

    def set_forceDefault(self: Any, force: bool) -> None:
        self._values["forceDefault"] = bool(force)

    def get_currentUserDataAsString(self: Any) -> str:
        data = self.currentData()
        return "" if data is None else str(data)

    def set_currentUserDataAsString(self: Any, text: str) -> None:
        self.setCurrentIndex(next((i for i in range(self.count()) if str(self.itemData(i)) == text), -1))

    def setCurrentUserDataAsString(self: Any, text: str) -> None:
        self.set_currentUserDataAsString(text)


@behavior("ctkCheckBox", kept=("indicatorIcon", "indicatorIconSize"))
class CheckBox(Behavior):
    """A check box with a picture for its mark."""


@behavior("ctkMenuButton")
class MenuButton(Behavior):
    """A push button with a menu beside it."""


@behavior("ctkSearchBox", kept=("searchIcon", "clearIcon"))
class SearchBox(Behavior):
    """A line edit with a magnifier and a button that clears it."""

    def build(self: Any) -> None:
        self.setClearButtonEnabled(True)

    def set_showSearchIcon(self: Any, visible: bool) -> None:
        self._values["showSearchIcon"] = bool(visible)


@behavior("ctkColorPickerButton", kept=("displayColorName", "dialogOptions"))
class ColorPickerButton(Behavior):
    """A button that shows a color; the dialog behind it is not simulated."""

    def build(self: Any) -> None:
        self._values["color"] = QtGui.QColor(0, 0, 0)

    def set_color(self: Any, color: QtGui.QColor) -> None:
        if color != self._values["color"]:
            self._values["color"] = color
            self.send("colorChanged(QColor)", color)

    def setColor(self: Any, color: QtGui.QColor) -> None:
        self.set_color(color)
