"""Nothing is sent: OpenVINO runs without its telemetry."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import sys
from MoESegLib.engines.openvino_encoder import import_openvino
openvino = import_openvino()
openvino.Core()
import nncf
loaded = [name for name, module in sys.modules.items() if name.startswith("openvino_telemetry") and module]
print("loaded:", loaded)
"""


def test_openvino_and_nncf_are_imported_without_their_telemetry(tmp_path: Path):
    pytest.importorskip("nncf", reason="the extra openvino is not installed")
    environment = {**os.environ, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    environment.pop("CI", None)  # the telemetry itself is silent where CI is set
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert "loaded: []" in run.stdout, run.stderr
    assert not (tmp_path / "intel").exists()
