"""``moeseg demo`` with a model that needs no weights, for tests: ``python fake_demo.py [--loop]``."""

from __future__ import annotations

import sys

from web_tools import FakeModels

from MoESegLib.cli.app_command import demo_image, say
from MoESegLib.web.launch import Options, serve

if __name__ == "__main__":
    options = Options(demo_image(), browser=False, model="segmote-lite", stories=True, loop="--loop" in sys.argv)
    serve(options, say, FakeModels())
