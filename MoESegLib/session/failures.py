"""What went wrong on the worker thread, said so that a user can act on it."""

from __future__ import annotations

from ..core.errors import ResourceError

_MEMORY_WORDS = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory", "bad_alloc")


def as_user_error(error: MemoryError | RuntimeError) -> Exception:
    """A :class:`ResourceError` when memory ran out, whichever library says so; any other error as it is."""
    text = str(error).lower()
    if isinstance(error, MemoryError) or any(words in text for words in _MEMORY_WORDS):
        return ResourceError(
            "The machine ran out of memory during the prediction. Close other programs, crop the volume, or use "
            "extent='slice'; the prompts are kept and nothing else changed."
        )
    return error
