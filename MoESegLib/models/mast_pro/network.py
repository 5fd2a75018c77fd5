"""MAST-Pro put together (our implementation of the published idea; arXiv 2503.14355, MICCAI 2025)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...core.errors import GeometryError, PromptError
from .config import MastProConfig
from .dmoe import DMoE, Routing, balance_loss
from .head import DynamicHead
from .prompts import ANATOMY_CHANNELS, Own, Prompts, to_grid
from .unet import UNet


@dataclass(frozen=True, eq=False)
class MastProOutput:
    """The answer to a batch.

    Attributes:
        logits: of the lesion ``[B, 1, D, H, W]``.
        deep_logits: the same at half resolution (rounded up), for training at two scales.
        routing: one a D-MoE block, the deepest last; empty without experts.
        balance_loss: of the router, a scalar; zero without experts.
    """

    logits: Tensor
    deep_logits: Tensor
    routing: tuple[Routing, ...]
    balance_loss: Tensor


class MastPro(nn.Module):
    """A residual U-Net, organs added to its encoder, D-MoE blocks at its deepest levels, a head made by the text.

    The compact network (:data:`.config.COMPACT` with 19 tumors and 27 organs) has 1.97 million parameters (4.0 MB in
    half precision). Forward it takes 72 kFLOP a voxel (``FlopCounterMode``, two FLOP a multiply-add) in a patch of
    64 x 64 x 64, and 52 in a slice of 192 x 192.

    Attributes:
        config: the sizes, and the tumors that the base was taught.
    """

    def __init__(self, config: MastProConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = UNet(config.image_channels, config.channels, config.encoder_units, config.decoder_units)
        self.prompt = Prompts(config)
        blocks = config.mixture_channels if config.experts or config.attention else ()
        self.dmoe = nn.ModuleList(DMoE(config, channels) for channels in blocks)
        self.head = nn.ModuleList(DynamicHead(channels, config.token_width) for channels in config.channels[:2])

    @property
    def added(self) -> tuple[str, ...]:
        """Tumors that were added to the base (:mod:`.adapt`)."""
        return tuple(self.prompt.tumor.own)

    @property
    def tumors(self) -> tuple[str, ...]:
        """Ids of all tumors, in the order of the argument ``tumor``."""
        return (*self.config.tumors, *self.added)

    def tumor_numbers(self, tumors: Iterable[str | None]) -> Tensor:
        """Ids to the argument ``tumor`` ``[B]``; None, for a tumor of no known type, is -1.

        Raises:
            PromptError: the network was not taught a tumor of that id.
        """
        known = self.tumors
        names = list(tumors)
        strange = [name for name in names if name is not None and name not in known]
        if strange:
            raise PromptError(
                f"This network was not taught {strange[0]!r}; it knows {', '.join(known) or 'none'}. Choose one of "
                "them, or teach it."
            )
        device = self.prompt.text.null.device
        return torch.tensor([-1 if name is None else known.index(name) for name in names], device=device)

    def forward(
        self,
        image: Tensor,
        text: Tensor | None = None,
        anatomy: Tensor | None = None,
        organ_masks: Tensor | None = None,
        tumor: Tensor | None = None,
    ) -> MastProOutput:
        """Segment one kind of lesion in every image of a batch.

        Args:
            image: ``[B, 2, D, H, W]`` of any size, also D = 1; windows scaled to 0 to 1.
            text: sentence embeddings of the tumor's record ``[B, 4, 384]``; zeros for a sample without.
            anatomy: mask of the tumor's organs and clipped signed distance / 20 mm ``[B, 2, D, H, W]``; zeros for a
                sample without.
            organ_masks: 0 and 1, any type, ``[B, organs, D, H, W]`` in the order of ``config.organs``; zeros for an
                organ that is not there or not known.
            tumor: numbers ``[B]`` int64 in the order of :attr:`tumors`, -1 for none of them.

        Raises:
            GeometryError, PromptError: arguments that do not fit the image or the network.
        """
        config = self.config
        self._check(image, text, anatomy, organ_masks, tumor)
        tumor = torch.full((len(image),), -1, device=image.device) if tumor is None else tumor
        if not config.text:
            text, tumor = None, tumor.where(tumor >= len(config.tumors), -1)
        if not config.anatomy:
            anatomy = organ_masks = None
        own = self._own(tumor)
        sentences = self.prompt.text(text, len(image), own)
        vector = self.prompt.tumor(tumor, own)

        x, maps, routings = image, [], []
        first = len(config.channels) - len(self.dmoe)
        for level, down in enumerate(self.backbone.down):
            x = down(x)
            if anatomy is not None:
                x = self.prompt.anat(level, x, anatomy)
            if level >= first:
                masks = None if organ_masks is None else to_grid(organ_masks, x)
                organs = self.prompt.organs(level - first, x, masks, own)
                x, routing = self.dmoe[level - first](x, sentences, organs, vector, own)
                routings += [] if routing is None else [routing]
            maps.append(x)
        fine, half = self.backbone.decode(maps)
        return MastProOutput(
            self.head[0](fine, sentences),
            self.head[1](half, sentences),
            tuple(routings),
            balance_loss(routings, config.top_k).to(image.device),
        )

    def _own(self, tumor: Tensor) -> Own:
        """Rows of the batch by the name of an added tumor, of those that are in it."""
        base = len(self.config.tumors)
        rows = {name: (tumor == base + place).nonzero()[:, 0] for place, name in enumerate(self.added)}
        return {name: its_rows for name, its_rows in rows.items() if len(its_rows)}

    def _check(
        self, image: Tensor, text: Tensor | None, anatomy: Tensor | None, organs: Tensor | None, tumor: Tensor | None
    ) -> None:
        config, batch = self.config, len(image)
        if image.ndim != 5 or image.shape[1] != config.image_channels:
            raise GeometryError(
                f"The image has shape {tuple(image.shape)}; [B, {config.image_channels}, D, H, W] was expected."
            )
        for what, volume, channels in (
            ("anatomy", anatomy, ANATOMY_CHANNELS),
            ("organ masks", organs, len(config.organs)),
        ):
            expected = (batch, channels, *image.shape[2:])
            if volume is not None and tuple(volume.shape) != expected:
                raise GeometryError(
                    f"The {what} have shape {tuple(volume.shape)}; {expected} was expected. Resample them to the grid "
                    "of the image."
                )
        expected = (batch, config.sentences, config.text_width)
        if text is not None and tuple(text.shape) != expected:
            raise PromptError(f"The text has shape {tuple(text.shape)}; embeddings {expected} were expected.")
        if tumor is not None and (tuple(tumor.shape) != (batch,) or int(tumor.max()) >= len(self.tumors)):
            raise PromptError(
                f"The tumor numbers are {tumor.tolist()}; {batch} numbers under {len(self.tumors)} were expected."
            )
