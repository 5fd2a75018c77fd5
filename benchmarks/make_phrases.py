"""Embed every name and synonym of the phrase book again: ``python benchmarks/make_phrases.py``.

Needs the text model (``moeseg models get minilm-text``). Run it after a change of ``Resources/Text/concepts.json`` or
``Resources/Structures/structures.json``; writes ``Resources/Text/phrases.safetensors``.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from MoESegLib.core.files import atomic_path
from MoESegLib.core.phrase_concepts import phrases_to_embed
from MoESegLib.engines.phrases import TEXT_MODEL, load_text_model
from MoESegLib.weights import model_card

TARGET = Path(__file__).parent.parent / "Resources" / "Text" / "phrases.safetensors"


def main() -> None:
    """Make the file."""
    texts, embed = phrases_to_embed(), load_text_model()
    embeddings = np.stack([embed(text) for text in texts]).astype(np.float16)
    metadata = {"texts": json.dumps(texts), "model": TEXT_MODEL, "sha256": str(model_card(TEXT_MODEL).sha256)}
    with atomic_path(TARGET) as temporary:
        temporary.write_bytes(save({"embeddings": embeddings}, metadata))
    print(f"{len(texts)} texts, {TARGET.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
