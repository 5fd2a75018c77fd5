"""Engines by name."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from ..core.errors import ResourceError, WeightsError
from ..core.intensity import Window
from ..weights import ensure_weights, model_card, model_cards, models_home
from ..weights.safe_load import load_into, load_state_dict
from ..weights.store import owner_of, weights_id_of
from .cache import content_key
from .encoders import SliceEncoder, TorchEncoder
from .openvino_encoder import convert_encoder, ready_encoder, runtime_folder
from .protocol import SliceModel
from .slice_engine import SliceEngine
from .volume_loading import MixtureOptions, Weights, load_mast_pro, load_sam_med3d, load_sam_med3d_moe

if TYPE_CHECKING:
    import torch

    from ..models.sam.build import Sam
    from ..weights.cards import ModelCard
    from .segmote_lite import SegMoTELite

Runtime = Literal["auto", "torch", "openvino"]
_log = logging.getLogger(__name__)
DEFAULT_MODEL = "segmote-lite"
_VOLUMES = ("sam_med3d", "sam_med3d_moe", "mast_pro")
"""Architectures of 3D models."""


def engine_names() -> list[str]:
    """Models in the catalog that this version can load: the default, those that share weights, then by size."""
    cards = [
        card
        for card in model_cards().values()
        if card.architecture in ("lite_medsam", "segmote_lite", *_VOLUMES)
        or card.architecture.startswith("sam_vit")
        or card.name == "segmote"
    ]
    cards.sort(
        key=lambda card: (card.name != DEFAULT_MODEL, card.file_name is not None, card.size_bytes or 1 << 40, card.name)
    )
    return [card.name for card in cards]


def load_engine(
    name: str,
    *,
    runtime: Runtime = "auto",
    window: Window | None = None,
    experts: Sequence[str | Path] | None = None,
    strict_upstream: bool = False,
    tau: float | None = None,
    fusion: str | None = None,
) -> SliceEngine | Any:  # a VolumeEngine or MastProEngine where the card says 3d
    """Load a model with its weights, ready for a :class:`~MoESegLib.session.Session`.

    Args:
        name: as in ``moeseg models list``; "sam-med3d" is the best SAM-Med3D whose weights are on this machine.
        runtime: "torch"; "openvino" for the image encoder on the CPU; "auto" takes a GPU if there is one, else OpenVINO
            where it is installed (converted once, kept, and checked against PyTorch), else PyTorch.
        window: lowest and highest intensity for every image, instead of the default of its modality.
        experts: for segmote-lite, the packs to load: names as in ``moeseg experts list``, or files; an empty list for
            the base alone, None for all that are switched on. For sam-med3d-moe the same with specialists, for mast-pro
            with tumors that were taught on this machine.
        strict_upstream: for 3D models, the public inference and nothing else (:class:`.volume_engine.VolumeEngine`).
        tau, fusion: for sam-med3d-moe, the gate's threshold (0 to 1) and how the masks of the general model and of a
            specialist become one ("weighted", "mean", "replace", "max"), instead of those the gate was taught with.

    Raises:
        UnknownModelError: no model or expert of that name.
        PromptError: tau is not from 0 to 1, or the fusion is not known.
        WeightsMissingError: the weights are not on this machine; nothing is downloaded here.
        WeightsError: the weights are not what the card says, or the model has no engine in this version.
        ResourceError: runtime "openvino" was asked for and cannot be used; MONAI is missing, which mast-pro needs.
    """
    card, options = model_card(name), MixtureOptions(experts, tau, fusion)
    _check_options(card, window, options)
    path, weights_id = ensure_weights(name), weights_id_of(name)
    if card.architecture in _VOLUMES:
        weights, device = Weights(owner_of(name), path, weights_id), _device() if runtime == "auto" else _cpu()
        if card.architecture == "sam_med3d":
            return load_sam_med3d(weights, device, strict_upstream)
        if card.architecture == "mast_pro":
            return load_mast_pro(weights, device, experts)
        return load_sam_med3d_moe(name, weights, device, strict_upstream, options)
    return SliceEngine(_slice_model(card, path, weights_id, runtime, experts), window)


def _check_options(card: ModelCard, window: Window | None, options: MixtureOptions) -> None:
    """Refuse what a model cannot do."""
    if options.experts is not None and card.architecture not in ("segmote_lite", "sam_med3d_moe", "mast_pro"):
        raise WeightsError(
            f"{card.name} takes no experts. Choose segmote-lite, sam-med3d-moe or mast-pro, or leave them out."
        )
    if (options.tau, options.fusion) != (None, None) and card.architecture != "sam_med3d_moe":
        raise WeightsError(f"{card.name} has no gate over specialists. Choose sam-med3d-moe, or leave tau, fusion out.")
    if card.dimension == "3d" and window is not None:
        raise WeightsError(f"{card.name} takes the intensities as they are, without a window. Leave the window out.")


def _slice_model(
    card: ModelCard, path: Path, weights_id: str, runtime: Runtime, experts: Sequence[str | Path] | None
) -> SliceModel:
    if card.architecture in ("lite_medsam", "segmote_lite"):
        return _lite_medsam(card.name, path, weights_id, runtime, experts)
    if card.name == "segmote":
        return _segmote(path, weights_id)
    if not card.architecture.startswith("sam_vit"):
        raise WeightsError(
            f"{card.name} is in the catalog, but this version has no engine for {card.architecture} yet. Choose "
            "lite-medsam, segmote-lite, segmote, sam-med3d, mast-pro or a sam-vit model."
        )
    from .sam import SamModel

    network = cast("Sam", _build(card.architecture))
    load_into(network, load_state_dict(path), f"the weights of {card.name}")
    encoder = TorchEncoder(network.image_encoder, _device())
    return SamModel(card.name, network, encoder, weights_id, frozenset(card.prompts))


def _lite_medsam(
    name: str, path: Path, weights_id: str, runtime: Runtime, experts: Sequence[str | Path] | None
) -> SliceModel:
    from .lite_medsam import LiteMedSAM
    from .segmote_lite import SegMoTELite

    network = cast("Sam", _build("lite_medsam"))
    load_into(network, load_state_dict(path), f"the weights of {name}")
    if name != SegMoTELite.name:
        return LiteMedSAM(network, _lite_encoder(network, weights_id, runtime), weights_id)
    return _with_experts(network, weights_id, runtime, experts)


def _with_experts(network: Sam, weights_id: str, runtime: Runtime, experts: Sequence[str | Path] | None) -> SegMoTELite:
    from ..models.segmote import UNTRAINED_PACK
    from ..models.segmote.asymmetric import AsymmetricSegMoTE
    from .expert_loading import load_packs
    from .segmote_lite import SegMoTELite, traits_of

    mixture = AsymmetricSegMoTE(network).eval()
    loaded = load_packs(mixture, "lite-medsam", weights_id, experts)
    packs_id = loaded.id
    if experts is None and not loaded.cards:
        mixture.add_pack(UNTRAINED_PACK)
        packs_id = content_key(UNTRAINED_PACK)
    traits = {card.name: traits_of(card) for card in loaded.cards}
    encoder = _lite_encoder(network, weights_id, runtime)
    return SegMoTELite(mixture, encoder, weights_id, packs_id, traits, loaded.notes)


def _segmote(path: Path, weights_id: str) -> SliceModel:
    from ..models.segmote.released import SegMoTEReleased, convert_segmote_state_dict
    from .segmote import SegMoTEModel

    network = cast(SegMoTEReleased, _build("segmote"))
    load_into(network, convert_segmote_state_dict(load_state_dict(path)), "the weights of segmote")
    encoder = TorchEncoder(network.image_encoder, _cpu())
    return SegMoTEModel(network, encoder, weights_id, models_home() / "models" / "clip-tokenizer")


def _lite_encoder(network: Sam, weights_id: str, runtime: Runtime) -> SliceEncoder:
    """The fastest encoder that is allowed and agrees with PyTorch."""
    from ..models.lite_medsam import IMAGE_SIDE
    from ..models.lite_medsam.tiny_vit import fuse_batch_norm

    device = _device() if runtime == "auto" else _cpu()
    if runtime != "torch" and device.type == "cpu":
        try:
            folder = runtime_folder(models_home(), "lite-medsam", weights_id)
            ready = ready_encoder(folder)
            if ready is not None:
                return ready
            _log.info("Converting the encoder for OpenVINO; this happens once and takes about 15 seconds.")
            return convert_encoder(network.image_encoder, IMAGE_SIDE, folder)
        except (ImportError, OSError, RuntimeError, ResourceError) as error:
            if runtime == "openvino":
                raise ResourceError(f"OpenVINO cannot be used: {error}. Install it, or use runtime='torch'.") from error
            _log.info("The image encoder runs in PyTorch, not OpenVINO: %s", error)
    return TorchEncoder(fuse_batch_norm(network.image_encoder), device)


def optimize_engine(name: str, calibration: list[Any]) -> str:
    """Quantize the encoder of a LiteMedSAM model to int8, which :func:`load_engine` then uses by default.

    Args:
        calibration: model images ``[3, 256, 256]``, 16 or more typical slices.

    Returns:
        The runtime made, "openvino-int8".

    Raises:
        WeightsError: as :func:`load_engine`.
        ResourceError: OpenVINO or NNCF is not installed, or the quantized encoder fails its check.
    """
    from ..models.lite_medsam import IMAGE_SIDE

    card, path = model_card(name), ensure_weights(name)
    if card.architecture not in ("lite_medsam", "segmote_lite"):
        raise ResourceError(f"{name} has no int8 form; only models on LiteMedSAM have.")
    network = cast("Sam", _build("lite_medsam"))
    load_into(network, load_state_dict(path), f"the weights of {name}")
    try:
        folder = runtime_folder(models_home(), "lite-medsam", weights_id_of(name))
        return convert_encoder(network.image_encoder, IMAGE_SIDE, folder, calibration).runtime
    except ImportError as error:
        raise ResourceError(f"{error}. Install the extra: pip install 'MoESegLib[openvino]'") from error


def _build(architecture: str) -> Any:
    from ..models import build_model

    return build_model(architecture)


def _device() -> torch.device:
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _cpu() -> torch.device:
    import torch

    return torch.device("cpu")
