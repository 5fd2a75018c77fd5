"""Embed the sentences, names and synonyms of the tumor records again: ``python benchmarks/make_tumors.py``.

Needs the text model (``moeseg models get minilm-text``). Run it after a change of ``Resources/Tumors/tumors.json``;
writes ``Resources/Tumors/embeddings.safetensors``. A model that was trained with the old sentences should be trained
again. How phrases are understood is measured by ``benchmarks/tumor_threshold.py``.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from MoESegLib.core.files import atomic_path
from MoESegLib.core.tumors import digest_of, stems_of, tumor_records
from MoESegLib.engines.phrases import TEXT_MODEL, load_text_model
from MoESegLib.weights import model_card

TARGET = Path(__file__).parent.parent / "Resources" / "Tumors" / "embeddings.safetensors"


def main() -> None:
    """Make the file."""
    records, embed = tumor_records(), load_text_model()
    stems = stems_of(records)
    tensors = {
        "sentences": np.stack([[embed(sentence) for sentence in record.sentences] for record in records]),
        "phrases": np.stack([embed(stem) for stem in stems]),
    }
    metadata = {
        "digests": json.dumps([digest_of(record) for record in records]),
        "phrases": json.dumps(stems),
        "model": TEXT_MODEL,
        "sha256": str(model_card(TEXT_MODEL).sha256),
    }
    with atomic_path(TARGET) as temporary:
        temporary.write_bytes(save({name: array.astype(np.float16) for name, array in tensors.items()}, metadata))
    print(f"{len(records)} records, {len(stems)} phrases, {TARGET.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
