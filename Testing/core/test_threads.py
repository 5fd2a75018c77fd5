"""Threads that wait let others have their core."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from MoESegLib.core.threads import SPINS, let_waiting_threads_sleep

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="torch uses GNU OpenMP on Linux only")


def told_by_openmp(**settings: str) -> str:
    """What GNU OpenMP says of itself while torch is loaded after MoESeg."""
    unset = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    done = subprocess.run(
        [sys.executable, "-c", "import MoESegLib, torch"],
        env={**environment, **settings, "OMP_DISPLAY_ENV": "VERBOSE"},
        capture_output=True,
        text=True,
        check=True,
    )
    return next(line for line in done.stderr.splitlines() if "GOMP_SPINCOUNT" in line)


@LINUX
def test_torch_takes_the_number_when_moeseg_is_imported_first() -> None:
    assert f"'{SPINS}'" in told_by_openmp()


@LINUX
@pytest.mark.parametrize("settings", [{"GOMP_SPINCOUNT": "77"}, {"OMP_WAIT_POLICY": "ACTIVE"}])
def test_what_the_user_has_set_stays(settings: dict[str, str]) -> None:
    line = told_by_openmp(**settings)
    assert ("'77'" in line) if "GOMP_SPINCOUNT" in settings else (f"'{SPINS}'" not in line)


def test_nothing_else_of_the_environment_changes() -> None:
    environment = {"PATH": "/bin"}
    let_waiting_threads_sleep(environment)
    assert environment == {"PATH": "/bin", "GOMP_SPINCOUNT": SPINS}
    environment = {"OMP_WAIT_POLICY": "PASSIVE"}
    let_waiting_threads_sleep(environment)
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE"}
