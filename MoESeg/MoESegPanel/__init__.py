"""The parts of the panel, one class a file."""

from .editor_history import WidgetHistory
from .panel import Panel

__all__ = ["Panel", "WidgetHistory"]
