"""``python -m MoESegLib`` is the command ``moeseg``."""

import sys

from .cli import main

sys.exit(main())
