"""The engine that an expert is taught and measured in: LiteMedSAM with one pack, which is given clicks as clicks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from ..engines.cache import content_key
from ..engines.convert import understood_kinds
from ..engines.encoders import SliceEncoder
from ..engines.lite_medsam import LiteMedSAM
from ..engines.protocol import Embedding, ExpertLogits, ModelPrompt
from ..engines.registry import Runtime, load_engine
from ..engines.segmote_lite import expert_answers
from ..engines.slice_engine import SliceEngine
from ..experts.pack_file import form_of, read_pack, sizes_of
from ..models.segmote.asymmetric import AsymmetricSegMoTE, ExpertPack
from ..weights.store import weights_id_of
from .lesson import BASE
from .phrases import TEXT_WIDTH
from .world import use_own_gpu

if TYPE_CHECKING:
    from ..models.sam.build import Sam

QUERIES = 2
"""Prompt tokens pooled from the image (SegMoTE's ablation: 8 were no better)."""
TAUGHT_PROMPTS = frozenset({"box", "point", "mask"})
"""What the training step asks with, and so what a taught expert understands itself."""


class TeachingModel(LiteMedSAM):
    """The base with at most one pack, which then answers every prompt: no gate chooses between them.

    Args:
        network: the base in eval mode.
        encoder, weights_id: as for :class:`~MoESegLib.engines.lite_medsam.LiteMedSAM`.
    """

    def __init__(self, network: AsymmetricSegMoTE, encoder: SliceEncoder, weights_id: str) -> None:
        super().__init__(cast("Sam", network), encoder, weights_id)
        self.experts = network

    def decode(self, embedding: Embedding, prompt: ModelPrompt) -> tuple[ExpertLogits, ...]:
        """See :meth:`MoESegLib.engines.protocol.SliceModel.decode`."""
        if not self.experts.packs:
            return super().decode(embedding, prompt)
        image, early = (embedding[name].to(self.decoder.device, torch.float32) for name in ("image", "early"))
        with torch.inference_mode():
            asked = self.decoder.tensors(prompt)
            output = self.experts(image, early, **asked, automatic=prompt.automatic, position=self.decoder.position)
        return tuple(answer for name, pack in output.packs.items() for answer in expert_answers(name, pack))


def teaching_engine(runtime: Runtime = "auto") -> SliceEngine:
    """LiteMedSAM without experts, whose decoder is where its encoder is (a GPU if there is one).

    Raises:
        WeightsMissingError, WeightsError, ResourceError: as :func:`~MoESegLib.engines.load_engine`.
    """
    use_own_gpu()
    loaded = cast(LiteMedSAM, load_engine(BASE, runtime=runtime).model)
    network = AsymmetricSegMoTE(loaded.decoder.network)
    device = getattr(loaded.encoder, "device", None)
    if device is not None:
        network.prompt_encoder.to(device)
        network.mask_decoder.to(device)
    return SliceEngine(TeachingModel(network, loaded.encoder, weights_id_of(BASE)))


def attach(
    engine: SliceEngine, name: str, start_from: ExpertPack | Path | None, seed: int, *, automatic: bool = False
) -> ExpertPack:
    """Add the pack to be taught, untrained or a copy of another one, and let the engine give it clicks as clicks.

    Args:
        seed: of the weights that are random at first.
        automatic: it also learns to do without a prompt.

    Raises:
        WeightsError: the file to start from is damaged, or was taught on another base.
    """
    network = network_of(engine)
    form, state = _start(start_from)
    form |= {"text_width": TEXT_WIDTH, "queries": QUERIES if automatic else 0, "scope_width": 0}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pack = network.add_pack(name, **form)
    # What the other pack has not, starts as in a new one; what only it has, is not taught here.
    pack.load_state_dict({key: state.get(key, value) for key, value in pack.state_dict().items()})
    _understand(engine, TAUGHT_PROMPTS | ({"automatic"} if automatic else set()))
    return pack


def _start(start_from: ExpertPack | Path | None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if start_from is None:
        return {}, {}
    if isinstance(start_from, Path):
        card, state = read_pack(start_from, weights_id_of(BASE))
        return form_of(card.sizes), state
    return form_of(sizes_of(start_from)), dict(start_from.state_dict())


def detach_all(engine: SliceEngine) -> None:
    """Remove every pack, so that the engine is the base: it understands boxes, and a click becomes one."""
    network_of(engine).packs.clear()
    _understand(engine, LiteMedSAM.native)


def network_of(engine: SliceEngine) -> AsymmetricSegMoTE:
    """The network of a teaching engine."""
    return cast(TeachingModel, engine.model).experts


def _understand(engine: SliceEngine, native: frozenset[str]) -> None:
    engine.model.native, engine.model.refines = native, "point" in native
    engine.model.decoder_id = content_key("teaching", repr(sorted(native)))
    engine.understands = understood_kinds(native)
