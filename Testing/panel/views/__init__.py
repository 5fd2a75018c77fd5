"""Pictures of a MRML scene as Slicer's four-up layout shows it, without the Slicer application."""

from __future__ import annotations

from .four_views import FourViews, render_four_views
from .offscreen import why_no_rendering

__all__ = ["FourViews", "render_four_views", "why_no_rendering"]
