"""All checks in the order they are made; imports Slicer, Qt and VTK."""

from __future__ import annotations

from . import (
    editor_checks,
    manners_checks,
    module_checks,
    prompt_checks,
    qt_checks,
    scene_checks,
    speed_checks,
)
from .runner import Check

_AREAS = (module_checks, qt_checks, manners_checks, prompt_checks, editor_checks, scene_checks, speed_checks)
ALL: list[Check] = [check for area in _AREAS for check in area.checks.all]
