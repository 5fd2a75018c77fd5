"""The browser app that keeps its work, with a model without weights: ``python keep_app.py PORT IMAGE | --resume``.

While there is a file ``slow`` in MOESEG_HOME, predictions take a minute, so that a test can end the program meanwhile.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from fakes import ThresholdModel
from web_tools import EVERYTHING, FakeModels

from MoESegLib.engines.slice_engine import SliceEngine
from MoESegLib.web.launch import Options, serve
from MoESegLib.weights.store import models_home


class SlowModels(FakeModels):
    """Wait before every answer, when they are told to."""

    def __init__(self) -> None:
        super().__init__()
        model = ThresholdModel(native=EVERYTHING, experts=2)
        model.before_decode = self.wait
        self._load = lambda name: SliceEngine(model)

    def wait(self) -> None:
        if (models_home() / "slow").exists():
            time.sleep(60)


if __name__ == "__main__":
    port, image = int(sys.argv[1]), sys.argv[2]
    resume = image == "--resume"
    allowed = [] if resume else [Path(image).parent]
    options = Options(
        None if resume else Path(image), port=port, browser=False, resume=resume, keep=True, allow=allowed
    )
    serve(options, lambda text: print(text, file=sys.stderr, flush=True), SlowModels())
