"""Public SegMoTE and IMIS-Net checkpoints in the spelling of :mod:`.released`."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ...core.errors import WeightsError

LEGACY_NAMES = {
    "mask_decoder.hq_token.": "mask_decoder.expert_tokens.",
    "mask_decoder.hq_mlp.": "mask_decoder.expert_mlp.",
    "mask_decoder.output_hypernetworks_mlps_hq.": "mask_decoder.expert_output_mlps.",
    "mask_decoder.embedding_encoder.": "mask_decoder.expert_embedding_encoder.",
    "mask_decoder.embedding_maskfeature.": "mask_decoder.expert_feature_fusion.",
}
"""Names of the first checkpoints (HQ-SAM's) and the present ones (SegMoTE ``checkpoint_utils.py``)."""

TEXT, NESTED_TEXT = "text_model.", "text_model.text_model."


def convert_segmote_state_dict(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of a public checkpoint; the tensors are passed on, and keys already right stay as they are.

    Handles the legacy names, the text tower as saved by transformers 5 (which dropped one ``text_model.``) and the
    ``position_ids`` buffer that old versions saved.

    Raises:
        WeightsError: two keys name the same tensor.
    """
    converted: dict[str, Tensor] = {}
    for key, tensor in state_dict.items():
        if key.startswith(TEXT) and key.endswith(".position_ids"):
            continue
        name = current_name(key)
        if name in converted:
            raise WeightsError(
                f"The checkpoint holds {name!r} under two spellings, so it is not clear which is meant. "
                "Expected a SegMoTE or IMIS-Net checkpoint of one version; fetch the file again."
            )
        converted[name] = tensor
    return converted


def current_name(key: str) -> str:
    """The present spelling of one key."""
    for legacy, current in LEGACY_NAMES.items():
        if key.startswith(legacy):
            return current + key.removeprefix(legacy)
    if key.startswith(TEXT) and not key.startswith(NESTED_TEXT):
        return NESTED_TEXT + key.removeprefix(TEXT)
    return key
