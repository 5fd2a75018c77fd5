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
from ..weights.store import state_of, weights_id_of
from .cache import content_key
from .encoders import SliceEncoder, TorchEncoder
from .openvino_encoder import convert_encoder, ready_encoder, runtime_folder
from .protocol import SliceModel
from .slice_engine import SliceEngine
from .volume_engine import VolumeEngine

if TYPE_CHECKING:
    import torch

    from ..models.sam.build import Sam
    from ..weights.cards import ModelCard
    from .segmote_lite import SegMoTELite

Runtime = Literal["auto", "torch", "openvino"]
_log = logging.getLogger(__name__)
DEFAULT_MODEL = "segmote-lite"
_SAM_MED3D = ("sam-med3d-turbo", "sam-med3d-cvpr", "sam-med3d-cvpr-coreset", "sam-med3d-first")
"""What "sam-med3d" stands for, the best one first."""


def engine_names() -> list[str]:
    """Models in the catalog that this version can load, the default one first, then by size."""
    cards = [
        card
        for card in model_cards().values()
        if card.architecture in ("lite_medsam", "segmote_lite", "sam_med3d")
        or card.architecture.startswith("sam_vit")
        or card.name == "segmote"
    ]
    cards.sort(key=lambda card: (card.name != DEFAULT_MODEL, card.uses is None, card.size_bytes or 1 << 40, card.name))
    return [card.name for card in cards]


def load_engine(
    name: str,
    *,
    runtime: Runtime = "auto",
    window: Window | None = None,
    experts: Sequence[str | Path] | None = None,
    strict_upstream: bool = False,
) -> SliceEngine | Any:  # a VolumeEngine where the card says 3d
    """Load a model with its weights, ready for a :class:`~MoESegLib.session.Session`.

    Args:
        name: as in ``moeseg models list``; "sam-med3d" is the best SAM-Med3D whose weights are on this machine.
        runtime: "torch"; "openvino" for the image encoder on the CPU; "auto" takes a GPU if there is one, else OpenVINO
            where it is installed (converted once, kept, and checked against PyTorch), else PyTorch.
        window: lowest and highest intensity for every image, instead of the default of its modality.
        experts: for segmote-lite, the packs to load: names as in ``moeseg experts list``, or files; an empty list for
            the base alone, None for all that are switched on.
        strict_upstream: for 3D models, the public inference and nothing else (:class:`.volume_engine.VolumeEngine`).

    Raises:
        UnknownModelError: no model or expert of that name.
        WeightsMissingError: the weights are not on this machine; nothing is downloaded here.
        WeightsError: the weights are not what the card says, or the model has no engine in this version.
        ResourceError: runtime "openvino" was asked for and cannot be used.
    """
    name = _best_sam_med3d() if name == "sam-med3d" else name
    card = model_card(name)
    if experts is not None and card.architecture != "segmote_lite":
        raise WeightsError(f"{name} takes no experts. Choose segmote-lite, or leave them out.")
    if card.dimension == "3d" and window is not None:
        raise WeightsError(f"{name} takes the intensities as they are, without a window. Leave the window out.")
    path = ensure_weights(name)
    weights_id = weights_id_of(name)
    if card.architecture == "sam_med3d":
        return _sam_med3d(card, path, weights_id, runtime, strict_upstream)
    what = f"the weights of {name}"
    if card.architecture in ("lite_medsam", "segmote_lite"):
        model = _lite_medsam(name, path, weights_id, runtime, experts)
    elif card.name == "segmote":
        model = _segmote(path, weights_id)
    elif card.architecture.startswith("sam_vit"):
        network = cast("Sam", _build(card.architecture))
        load_into(network, load_state_dict(path), what)
        encoder = TorchEncoder(network.image_encoder, _device())
        from .sam import SamModel

        model = SamModel(name, network, encoder, weights_id, frozenset(card.prompts))
    else:
        raise WeightsError(
            f"{name} is in the catalog, but this version has no engine for {card.architecture} yet. Choose "
            "lite-medsam, segmote-lite, segmote, sam-med3d or a sam-vit model."
        )
    return SliceEngine(model, window)


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


def _best_sam_med3d() -> str:
    """The best SAM-Med3D whose weights are here, else the one to ask for."""
    return next((name for name in _SAM_MED3D if state_of(name) == "installed"), _SAM_MED3D[0])


def _sam_med3d(card: ModelCard, path: Path, weights_id: str, runtime: Runtime, strict: bool) -> VolumeEngine:
    from ..models.sam_med3d import SamMed3D, config_of
    from .sam_med3d import SamMed3DModel

    state = load_state_dict(path)
    network = SamMed3D(config_of(state)).eval()
    load_into(network, state, f"the weights of {card.name}")
    device = _device() if runtime == "auto" else _cpu()
    model = SamMed3DModel(card.name, network, weights_id, device, exact=strict)
    return VolumeEngine(model, strict_upstream=strict)


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
