"""Runs a scripted module of 3D Slicer on real MRML (slicer-core) with PySide6 under PythonQt's rules."""

from __future__ import annotations

from .errors import HarnessError, PanelError
from .harness import Harness, LoadedModule
from .source_check import check_source
from .ui_files import check_ui

__all__ = ["Harness", "HarnessError", "LoadedModule", "PanelError", "check_source", "check_ui"]
