"""How the masks of the general decoder and of a specialist become one.

That both run is published; the formula is not known here (it is in the paper's body), so all four are ours. All work on
logits, so that the answer can go back into the network as the mask prompt of the next click.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from ...core.errors import PromptError

if TYPE_CHECKING:
    from torch import Tensor

Fusion = Literal["weighted", "mean", "replace", "max"]
FUSIONS: tuple[Fusion, ...] = get_args(Fusion)


def check_fusion(name: str) -> Fusion:
    """The name of a way to fuse.

    Raises:
        PromptError: there is none of that name.
    """
    for fusion in FUSIONS:
        if fusion == name:
            return fusion
    raise PromptError(f"Masks cannot be fused by {name!r}; known are {', '.join(FUSIONS)}.")


def fuse(general: Tensor, special: Tensor, weight: float, fusion: Fusion) -> Tensor:
    """Two tensors of one shape to one.

    Args:
        weight: of the specialist, 0 to 1; only "weighted" reads it.
        fusion: "weighted" is w x special + (1 - w) x general, "mean" the same with w = 1/2, "replace" the specialist
            alone, and "max" the larger value, which is also the larger probability.
    """
    if fusion == "replace":
        return special
    if fusion == "max":
        return general.maximum(special)
    return general.lerp(special, weight if fusion == "weighted" else 0.5)
