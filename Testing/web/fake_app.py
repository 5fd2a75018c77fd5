"""The browser app with a model that needs no weights, for tests: ``python fake_app.py IMAGE [ALLOWED FOLDER]``."""

from __future__ import annotations

import sys
from pathlib import Path

from web_tools import FakeModels

from MoESegLib.web.launch import Options, serve

if __name__ == "__main__":
    image, *allowed = (Path(word) for word in sys.argv[1:])
    options = Options(image, browser=False, allow=allowed)
    serve(options, lambda text: print(text, file=sys.stderr, flush=True), FakeModels())
