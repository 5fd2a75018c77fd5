"""Sessions: prompts and their history on one side, masks on the other, one worker thread between."""

from .saving import replay
from .session import Session

__all__ = ["Session", "replay"]
