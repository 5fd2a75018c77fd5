"""Keyboard shortcuts that live only while the module is open."""

import qt
import slicer

KEYS = {
    "positive": "P",
    "negative": "N",
    "box": "X",
    "scribble": "C",
    "lasso": "L",
    "text": "D",
    "automatic": "S",
    "accept": "A",
    "undo": "U",
    "redo": "Shift+U",
}
"""None is used by the slice views (V R G T B F [ ] { } and arrows) or the Segment Editor (Q W Z Y Esc Space 0-9 I)."""


class Shortcuts:
    """Made on enter, deleted on exit, so that no key does anything in another module."""

    def __init__(self, actions):
        self._actions = actions
        self._shortcuts = []

    def install(self):
        """Make the shortcuts on the main window."""
        self.remove()
        for name, action in self._actions.items():
            shortcut = qt.QShortcut(qt.QKeySequence(KEYS[name]), slicer.util.mainWindow())
            shortcut.connect("activated()", action)
            self._shortcuts.append(shortcut)

    def remove(self):
        """Delete them."""
        for shortcut in self._shortcuts:
            shortcut.disconnect("activated()")
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._shortcuts = []
