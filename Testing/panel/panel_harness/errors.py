"""What the harness raises when a panel does something Slicer would not accept or a user could not do."""

from __future__ import annotations


class HarnessError(AssertionError):
    """The scripted user asked for something a real user could not do (a disabled button, a hidden list)."""


class PanelError(AssertionError):
    """The panel raised in a slot, a timer or an observer, where Slicer would only print the error."""
