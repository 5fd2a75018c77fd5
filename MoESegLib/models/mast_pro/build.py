"""MAST-Pro by its options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...core.organs import organ_ids
from .config import MastProConfig
from .network import MastPro


def build_mast_pro(
    tumors: Sequence[str] = (), organs: Sequence[str] | None = None, config: MastProConfig | None = None, **options: Any
) -> MastPro:
    """MAST-Pro with random weights, in eval mode; the compact one, but for its options.

    Args:
        tumors: ids, in the order of the argument of :meth:`~.network.MastPro.forward`.
        organs: the same; by default all that MoESeg knows.
        config: instead of all others, for example from the meta data of a file.
        options: fields of :class:`~.config.MastProConfig`.

    Raises:
        ValueError: sizes that do not fit together.
    """
    if config is None:
        config = MastProConfig(tuple(tumors), organ_ids() if organs is None else tuple(organs), **options)
    return MastPro(config).eval()
