"""The engine that an expert is taught and measured in: LiteMedSAM with one pack, which is given clicks as clicks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from ..engines.cache import content_key
from ..engines.convert import understood_kinds
from ..engines.encoders import SliceEncoder
from ..engines.lite_medsam import LiteMedSAM
from ..engines.protocol import Embedding, ExpertLogits, ModelPrompt
from ..engines.registry import Runtime, load_engine
from ..engines.segmote_lite import expert_answers
from ..engines.slice_engine import SliceEngine
from ..experts.pack_file import read_pack, sizes_of
from ..models.segmote.asymmetric import AsymmetricSegMoTE, ExpertPack
from ..models.segmote.mote import GateKind
from ..weights.store import weights_id_of
from .world import use_own_gpu

if TYPE_CHECKING:
    from ..models.sam.build import Sam

BASE = "lite-medsam"
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
            output = self.experts(image, early, **self.decoder.tensors(prompt), position=self.decoder.position)
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


def attach(engine: SliceEngine, name: str, start_from: ExpertPack | Path | None, seed: int) -> ExpertPack:
    """Add the pack to be taught, untrained or a copy of another one, and let the engine give it clicks as clicks.

    Args:
        seed: of the weights that are random at first.

    Raises:
        WeightsError: the file to start from is damaged, or was taught on another base.
    """
    network = network_of(engine)
    if start_from is None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            pack = network.add_pack(name)
    else:
        if isinstance(start_from, Path):
            card, state = read_pack(start_from, weights_id_of(BASE))
            sizes = card.sizes
        else:
            sizes, state = sizes_of(start_from), start_from.state_dict()
        pack = network.add_pack(name, sizes.num_experts, sizes.rank, cast(GateKind, sizes.gate))
        pack.load_state_dict(state)
    _understand(engine, TAUGHT_PROMPTS)
    return pack


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
