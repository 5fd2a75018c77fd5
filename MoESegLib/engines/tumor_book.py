"""The tumor book with the text model and the user's own records behind it, where they are on this machine."""

from __future__ import annotations

from pathlib import Path

from ..core.tumors import TumorBook
from ..weights import models_home
from .phrases import installed_text_model


def own_records_path() -> Path:
    """Where a user's own tumor records lie or would lie."""
    return models_home() / "tumors.json"


def tumor_book() -> TumorBook:
    """The tumor book; unknown phrases and changed records are read by the text model if it is installed.

    Never downloads.

    Raises:
        WeightsError: an own record is wrong, or the book or the text model is damaged.
        WeightsMissingError: there are own records, and no text model to read them.
    """
    own = own_records_path()
    return TumorBook.load(installed_text_model(), own if own.exists() else None)
