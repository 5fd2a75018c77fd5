"""Small helpers for Qt under PythonQt."""

import qt


def connect(widget, signal, slot):
    """Connect, and fail loudly: PythonQt only prints when a signal does not exist."""
    if not widget.connect(signal, slot):
        raise AttributeError(f"{widget.className()} has no signal {signal}")


def enable(widget, reason=""):
    """Enable a control, or disable it with the reason in its tooltip."""
    tip = widget.property("moesegToolTip")
    if not tip:
        tip = widget.toolTip
        widget.setProperty("moesegToolTip", tip)
    widget.enabled = not reason
    widget.toolTip = f"{tip}\n\n{reason}" if reason else tip


def set_silently(widget, set_value):
    """Change a control without telling anybody."""
    blocked = widget.blockSignals(True)
    set_value()
    widget.blockSignals(blocked)


def fill(combo, names, titles, current):
    """Show these entries in a combo box and select one, without telling anybody."""
    if [combo.itemData(index) for index in range(combo.count)] != list(names):
        set_silently(combo, combo.clear)
        for name, title in zip(names, titles, strict=True):
            set_silently(combo, lambda name=name, title=title: combo.addItem(title, name))
    index = list(names).index(current) if current in names else -1
    if combo.currentIndex != index:
        set_silently(combo, lambda: combo.setCurrentIndex(index))


def cell(text):
    """A table cell that cannot be edited."""
    item = qt.QTableWidgetItem(text)
    item.setFlags(qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled)
    return item
