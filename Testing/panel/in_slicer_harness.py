"""The panel harness as a site for the checks in ``Testing/in_slicer_checks``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from panel_harness import Harness


def make_site(harness: Harness, folder: Path) -> Any:
    """A site on a harness that was reset; the module is loaded, its panel shown."""
    from in_slicer_checks.site import MODULE, Site

    class HarnessSite(Site):
        """What a person does in Slicer is done by the harness's user."""

        is_application = False
        moments = 4  # Testing/panel tries more of them
        rest = 0.04

        def watch_windows(self) -> None:
            """The harness's dialogs answer themselves."""

        def take_errors(self) -> list[str]:
            errors = [f"{type(error).__name__}: {error}" for error in harness.errors]
            harness.errors.clear()
            return [*super().take_errors(), *errors]

        def enter(self) -> None:
            if not self.panel.entered:
                harness.enter()

        def leave(self) -> None:
            if self.panel.entered:
                harness.exit()

        def pump(self) -> None:
            with harness.errors_allowed() as errors:
                harness.pump()
            harness.errors += errors
            time.sleep(0.001)

        def close_scene(self) -> None:
            harness.restart_scene()

        def save_scene(self, path: Path) -> None:
            harness.save_scene(path)

        def load_scene(self, path: Path) -> None:
            harness.open_scene(path)

        def show_volume(self, node: Any) -> None:
            """The harness's views show nothing."""

        def move_to(self, view: str, ras: Sequence[float]) -> None:
            harness.pointer.move_to(ras, view)

        def click_at(self, view: str, ras: Sequence[float]) -> None:
            harness.place_point(ras, view)

        def end_curve(self, view: str, ras: Sequence[float]) -> None:
            harness.pointer.finish_placing()

        def drag_point(self, view: str, node: Any, index: int, ras: Sequence[float]) -> None:
            harness.drag_point(node, index, ras)

    harness.load_module(MODULE)
    return HarnessSite(folder)
