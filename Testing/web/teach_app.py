"""The app with models that need no weights and a teacher that takes seconds: ``python teach_app.py IMAGE [ALLOWED]``.

``STEP_SECONDS`` in the environment makes each step of teaching last longer, so that a test can click meanwhile;
``MISSING`` names a model that is not on this computer.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from teach_tools import EPOCHS
from toy_models import ToyModels

from MoESegLib.experts import store
from MoESegLib.web.launch import Options, serve


def main() -> None:
    from desk_tools import tiny_desk

    store.shipped_folder = lambda: None  # those experts are for another base than the tiny teacher's
    image, *allowed = (Path(word) for word in sys.argv[1:])
    teacher = tiny_desk(EPOCHS, float(os.environ.get("STEP_SECONDS", "0")))
    models = ToyModels(os.environ.get("MISSING", ""))
    options = Options(image, browser=False, allow=allowed)
    serve(options, lambda text: print(text, file=sys.stderr, flush=True), models, teacher)


if __name__ == "__main__":
    main()
