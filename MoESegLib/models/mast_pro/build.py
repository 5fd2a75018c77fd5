"""MAST-Pro by its options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .config import MastProConfig
from .network import MastPro


def build_mast_pro(
    tumors: Sequence[str] = (), organs: Sequence[str] = (), config: MastProConfig | None = None, **options: Any
) -> MastPro:
    """MAST-Pro with random weights, in eval mode; the compact one, but for its options.

    Args:
        tumors, organs: ids, in the order of the arguments of :meth:`~.network.MastPro.forward`.
        config: instead of all others, for example from the meta data of a file.
        options: fields of :class:`~.config.MastProConfig`.

    Raises:
        ValueError: sizes that do not fit together.
    """
    return MastPro(MastProConfig(tuple(tumors), tuple(organs), **options) if config is None else config).eval()
