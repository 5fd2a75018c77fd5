"""Organs by TotalSegmentator (Wasserthal et al., Radiology AI 2023), where the user has installed it.

It runs as a program of its own and in a folder of MoESeg's: its author's usage statistics, which are on by default in
its version 2, are off there. What it found is kept, so that an image is segmented once.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from ..core.cancel import CancelToken, ProgressCallback
from ..core.errors import OutputError, PromptError, ResourceError
from ..core.organs import Task
from ..core.volume import Volume
from ..weights import models_home
from .cache import content_key

PROGRAM = "TotalSegmentator"
CONSENT = (
    "TotalSegmentator will segment the organs with its fast model (3 mm). That takes minutes without a graphics card. "
    "At its first use it downloads its weights (about 135 MB) from its publisher. The image stays on this machine."
)
_TYPICAL_SECONDS = 240.0
"""Its own progress cannot be read; this scales the bar."""
_POLL_SECONDS = 0.1


def installed_program() -> str | None:
    """The path of TotalSegmentator, or None."""
    return shutil.which(PROGRAM)


def task_for(volume: Volume) -> Task:
    """The task for an image: CT and what may be one, or MR.

    Raises:
        PromptError: a single slice, or an image that TotalSegmentator was not made for.
    """
    if volume.color or min(volume.size) < 2 or volume.modality not in ("CT", "MR", ""):
        raise PromptError(
            "TotalSegmentator segments volumes of CT and MR, and this is none. Leave --totalsegmentator out, or give "
            "organs as files."
        )
    return "total_mr" if volume.modality == "MR" else "total"


def kept_path(volume: Volume) -> Path:
    """Where the organs of an image are kept, or would be: a label map with the numbers of its task."""
    key = content_key(volume.content_id, task_for(volume))
    return models_home() / "cache" / "anatomy" / f"{key}.nii.gz"


def segment_organs(
    volume: Volume,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
    program: Sequence[str] = (),
) -> Path:
    """The label map of an image's organs, from an earlier run or a new one. Ask the user first (:data:`CONSENT`).

    Args:
        program: how the command line begins; by default the TotalSegmentator that the shell would find.

    Raises:
        ResourceError: TotalSegmentator is not installed, or failed; the message holds its last words.
        PromptError: as :func:`task_for`.
        OutputError: the folder for results cannot be written.
        Cancelled: ``cancel`` was set; the program was ended.
    """
    task, kept = task_for(volume), kept_path(volume)
    if kept.exists():
        return kept
    found = installed_program()
    if not program and found is None:
        raise ResourceError(
            f"{PROGRAM} is not installed. Install it (pip install TotalSegmentator), or give organs as files: a "
            ".seg.nrrd, a label map of TotalSegmentator, or its folder of masks."
        )
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        # Beside the place where it is kept, so that it is renamed whole.
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            image, labels = Path(folder) / "image.nii.gz", Path(folder) / "labels.nii.gz"
            volume.write(image)
            start = program or [str(found)]
            command = [*start, "-i", str(image), "-o", str(labels), "--ml", "--fast", "--task", task]
            _run(command, Path(folder) / "log.txt", _environment(Path(folder)), progress, cancel or CancelToken())
            if not labels.exists():
                raise ResourceError(f"{PROGRAM} ended without a result. Run it by hand on the image to see why.")
            labels.replace(kept)
    except OSError as error:
        raise OutputError(f"{kept.parent} cannot be written ({error}). Set MOESEG_HOME to another folder.") from error
    return kept


def _environment(folder: Path) -> dict[str, str]:
    """That of this process, with a home for TotalSegmentator where nothing is sent; its weights stay where they are."""
    home = folder / "home"
    home.mkdir()
    config = {"totalseg_id": "moeseg", "send_usage_stats": False, "prediction_counter": 0}
    (home / "config.json").write_text(json.dumps(config), encoding="utf-8")
    own = Path(os.environ.get("TOTALSEG_HOME_DIR", Path.home() / ".totalsegmentator"))
    weights = os.environ.get("TOTALSEG_WEIGHTS_PATH", str(own / "nnunet" / "results"))
    return {**os.environ, "TOTALSEG_HOME_DIR": str(home), "TOTALSEG_WEIGHTS_PATH": weights}


def _run(
    command: list[str], log: Path, environment: dict[str, str], progress: ProgressCallback | None, cancel: CancelToken
) -> None:
    started = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=environment)
        try:
            while process.poll() is None:
                cancel.check()
                if progress is not None:
                    seconds = time.monotonic() - started
                    progress(1 - 1 / (1 + seconds / _TYPICAL_SECONDS), f"TotalSegmentator, {seconds:.0f} s")
                time.sleep(_POLL_SECONDS)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if process.returncode:
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        raise ResourceError(
            f"{PROGRAM} failed (status {process.returncode}): {' '.join(lines[-3:]) or 'it said nothing'}"
        )
