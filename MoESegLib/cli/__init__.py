"""The command ``moeseg``."""

from .main import main

__all__ = ["main"]
