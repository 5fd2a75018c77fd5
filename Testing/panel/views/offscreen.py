"""Can this machine render at all?"""

from __future__ import annotations

import subprocess
import sys
from functools import cache

_TRIAL = """
import vtk
window = vtk.vtkRenderWindow()
window.SetOffScreenRendering(1)
window.SetSize(16, 16)
renderer = vtk.vtkRenderer()
renderer.SetBackground(1, 0, 0)
window.AddRenderer(renderer)
window.Render()
pixels = vtk.vtkUnsignedCharArray()
window.GetPixelData(0, 0, 15, 15, 0, pixels, 0)
raise SystemExit(0 if pixels.GetComponent(0, 0) == 255 else "rendered no pixels")
"""


@cache
def why_no_rendering() -> str | None:
    """Why offscreen OpenGL cannot be had here, or None when it can.

    Tried in a process of its own, because VTK ends the process when it finds no usable driver.
    """
    try:
        trial = subprocess.run([sys.executable, "-c", _TRIAL], capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return "offscreen OpenGL does not answer within 60 s"
    if trial.returncode == 0:
        return None
    last = (trial.stderr.strip().splitlines() or ["no message"])[-1]
    return f"no offscreen OpenGL (EGL, OSMesa or an X server): exit {trial.returncode}, {last}"
