"""What the module does to the rest of the application: shortcuts, leaving, themes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import qt
import slicer

from . import mouse
from .runner import Checks, Skipped, require

checks = Checks("Manners")
check = checks.check
_CONTRAST = 4.5  # WCAG 2.2, level AA, for text
_WIDGET_ONLY = 0  # Qt::WidgetShortcut: works only while its own widget has the focus


def _keys() -> dict[str, str]:
    from MoESegPanel.shortcuts import KEYS

    return {qt.QKeySequence(keys).toString(): name for name, keys in KEYS.items()}


def _descendants(parent: Any) -> Iterator[Any]:
    for child in parent.children():
        yield child
        yield from _descendants(child)


def _shortcuts(parent: Any) -> list[str]:
    """Keys of the QShortcuts that belong to the main window itself, where ours live."""
    found = [child for child in parent.children() if child.inherits("QShortcut")]
    return [mouse.read(shortcut.key).toString() for shortcut in found]


@check("Opening the module makes its shortcuts, leaving deletes them")
def shortcuts_come_and_go(site: Any) -> str:
    window = slicer.util.mainWindow()
    site.leave()
    before = sorted(_shortcuts(window))
    site.enter()
    there = sorted(_shortcuts(window))
    site.leave()
    after = sorted(_shortcuts(window))
    site.enter()
    require(there == sorted([*before, *_keys()]), f"while open: {there}, before: {before}")
    require(after == before, f"left behind: {sorted(set(after) - set(before))}")
    return " ".join(_keys())


@check("No action or shortcut of the application uses one of our keys", application=True)
def no_key_twice(site: Any) -> str:
    slicer.util.selectModule("SegmentEditor")  # makes its own shortcuts
    site.pause(0.2)
    taken = []
    count = 0
    for top in slicer.app.topLevelWidgets():
        for item in _descendants(top):
            count += item.inherits("QAction") or item.inherits("QShortcut")
            taken += [f"{key} ({mouse.read(item.objectName) or item.className()})" for key in _keys_of(item)]
    site.enter()
    require(not taken, "; ".join(sorted(set(taken))))
    return f"{count} actions and shortcuts compared"


def _keys_of(item: Any) -> list[str]:
    """Which of our keys a QAction or QShortcut reacts to wherever the focus is."""
    if item.inherits("QAction"):
        keys = [sequence.toString() for sequence in item.shortcuts()]
        context = mouse.read(item.shortcutContext)
    elif item.inherits("QShortcut"):
        keys, context = [mouse.read(item.key).toString()], mouse.read(item.context)
    else:
        return []
    return [key for key in keys if key in _keys() and int(context) != _WIDGET_ONLY]


@check("Our keys change nothing in a slice view by themselves", application=True)
def slice_view_ignores_keys(site: Any) -> None:
    site.start()
    site.leave()
    node = mouse.slice_widget("Red").mrmlSliceNode()
    composite = mouse.slice_widget("Red").mrmlSliceCompositeNode()

    def look() -> tuple:
        matrix = [node.GetSliceToRAS().GetElement(row, column) for row in range(3) for column in range(4)]
        shown = (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID(), composite.GetForegroundOpacity())
        return (*matrix, *node.GetFieldOfView(), node.GetSliceVisible(), *shown)

    changed = []
    mouse.move("Red", (0.0, 0.0, 0.0))
    for key in _keys():
        before = look()
        mouse.press_key("Red", key.split("+")[-1].lower())
        if look() != before:
            changed.append(key)
    site.enter()
    require(not changed, f"the slice view reacts to {', '.join(changed)}")


@check("Leaving ends placing, overlays, the brush and the timer")
def leaving(site: Any) -> None:
    site.start()
    segment = site.add_segment("target")
    site.point_at(segment, (24, 24, 12))
    site.ui.changesCheckBox.setChecked(True)
    site.ui.confidenceCheckBox.setChecked(True)
    site.tool("positive")
    overlays = ("MoESeg changes", "MoESeg confidence (%)")
    require(all(slicer.mrmlScene.GetFirstNodeByName(name) for name in overlays), "the overlays did not come")
    require(site.workbench.is_placing(), "the tool does not place")
    site.leave()
    left = [name for name in overlays if slicer.mrmlScene.GetFirstNodeByName(name)]
    placing, running = site.workbench.is_placing(), mouse.read(site.widget.timer.active)
    site.enter()
    require(not left, f"left behind: {', '.join(left)}")
    require(not placing, "the next click would still place a prompt")
    require(not running, "the timer still runs")


@check("The texts of the panel can be read in the light and the dark style", application=True)
def styles(site: Any) -> str:
    names = [name for name in ("Light Slicer", "Dark Slicer") if name in list(qt.QStyleFactory.keys())]
    if not names:
        raise Skipped("this Slicer has no light and dark styles")
    before = slicer.app.settings().value("Styles/Style") or "Slicer"
    site.start()
    measured = []
    try:
        for name in names:
            _use_style(name)
            site.pause(0.3)
            contrast = _contrast(site.ui.answerLabel.palette)
            site.ui.MoESeg.grab().save(str(site.folder / f"panel-{name.split()[0].lower()}.png"))
            measured.append(f"{name} {contrast:.1f}")
            require(contrast >= _CONTRAST, f"{name}: contrast {contrast:.1f}, {_CONTRAST} is needed")
    finally:
        _use_style(before)
    return f"contrast {', '.join(measured)}; pictures in {site.folder}"


def _use_style(name: str) -> None:
    slicer.app.setStyle(name)
    slicer.app.setPalette(slicer.app.style().standardPalette())


def _contrast(palette: Any) -> float:
    """Contrast of text and ground as WCAG 2.2 defines it."""
    palette = mouse.read(palette)
    light, dark = sorted(
        (_luminance(palette.color(role)) for role in (qt.QPalette.WindowText, qt.QPalette.Window)), reverse=True
    )
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: Any) -> float:
    parts = [mouse.read(getattr(color, name)) / 255 for name in ("red", "green", "blue")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@check("Opening and leaving twenty times leaves no node behind")
def open_and_leave(site: Any) -> str:
    site.start()
    site.leave()
    site.enter()
    before = slicer.mrmlScene.GetNumberOfNodes()
    for _ in range(20):
        site.leave()
        site.enter()
    after = slicer.mrmlScene.GetNumberOfNodes()
    require(after == before, f"{after - before} nodes more than before")
    return f"{after} nodes"
