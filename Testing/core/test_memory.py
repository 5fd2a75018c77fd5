"""Free memory, and the refusal of what does not fit."""

from __future__ import annotations

import sys

import pytest

from MoESegLib.core.errors import ResourceError
from MoESegLib.core.memory import check_memory, free_memory


def test_what_does_not_fit_is_refused_with_both_numbers() -> None:
    with pytest.raises(ResourceError, match=r"Looking needs about 3.0 GB of memory, and 2.0 GB are free. Look away."):
        check_memory(3_000_000_000, 2_000_000_000, "Looking", "Look away.")


def test_what_fits_or_cannot_be_known_is_not_refused() -> None:
    check_memory(1, 2, "Looking", "")
    check_memory(1 << 60, None, "Looking", "")


@pytest.mark.skipif(sys.platform not in ("linux", "win32"), reason="not known elsewhere")
def test_some_memory_is_free_here() -> None:
    free = free_memory()
    assert free is not None
    assert 1 << 20 < free < 1 << 50
