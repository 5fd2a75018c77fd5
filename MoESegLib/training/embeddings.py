"""Embeddings of the frozen encoder, computed once and kept on disk in half precision.

One memory-mapped file a slice, named by the content of the slice and of the encoder. So whatever a run was doing when
it was killed, the files that are there are whole, and the next run (on whatever cases) computes only those missing.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.cancel import CancelToken
from ..core.errors import OutputError
from ..core.files import atomic_path
from ..engines.cache import DiskCache, content_key
from ..engines.protocol import PreparedImage
from ..engines.slice_engine import SliceEngine

if TYPE_CHECKING:
    import torch

SPARE_BYTES = 200 << 20
"""Free space that must remain on the disk."""


class EmbeddingStore(DiskCache):
    """Embeddings below a folder, without a limit: nothing that training needs is removed while it runs.

    It also serves as the disk cache of an engine, so measuring on held-out cases encodes nothing twice.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, max_bytes=1 << 62)

    def get(self, key: str) -> dict[str, torch.Tensor] | None:
        """Memory-mapped tensors: what is read stays the system's to drop. None when missing or damaged."""
        from safetensors import SafetensorError, safe_open

        path = self._path(key)
        try:
            with safe_open(path, "pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            return None

    def put(self, key: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """Keep an embedding.

        Raises:
            OutputError: no space or no permission; no part of the file is left.
        """
        from safetensors.torch import save

        path, content = self._path(key), save(dict(tensors))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(path.parent).free < len(content) + SPARE_BYTES:
                raise OSError(errno.ENOSPC, "no space")
        except OSError as error:
            raise OutputError(
                f"The embeddings cannot be kept in {self.folder}: {error.strerror}. Free some space or choose another "
                "folder (--cache); those that are there will be used again."
            ) from error
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)

    def __contains__(self, key: str) -> bool:
        return self._path(key).exists()


def embedding_key(engine: SliceEngine, prepared: PreparedImage) -> str:
    """The name of a slice's embedding, as the engine names it in its own cache."""
    return content_key(engine.model.encoder_id, prepared.key)


def ensure_embedding(engine: SliceEngine, prepared: PreparedImage, store: EmbeddingStore, cancel: CancelToken) -> str:
    """Encode a slice unless it was encoded before; returns its key.

    Raises:
        OutputError: as :meth:`EmbeddingStore.put`.
        Cancelled: ``cancel`` was set.
    """
    import torch

    key = embedding_key(engine, prepared)
    if key not in store:
        fresh = engine.model.encode(prepared, cancel)
        # The engine rounds in the same way before it decodes: what is learned from is what is seen later.
        store.put(key, {name: value.detach().to("cpu", torch.float16).contiguous() for name, value in fresh.items()})
    return key
