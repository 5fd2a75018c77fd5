"""Bounded caches: embeddings in memory and on disk, decoder outputs in memory. All are keyed by content."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from ..core.errors import OutputError
from ..core.files import atomic_path

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)
Value = TypeVar("Value")


def content_key(*parts: bytes | str) -> str:
    """A short hash of the parts; equal parts give equal keys, on every machine."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


class BoundedCache(Generic[Value]):
    """Least-recently-used values up to a number of bytes; safe to use from several threads."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._values: OrderedDict[str, tuple[Value, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> Value | None:
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: str, value: Value, size: int) -> None:
        """Keep a value of ``size`` bytes; the least recently used ones make room for it."""
        with self._lock:
            if key in self._values:
                self._bytes -= self._values.pop(key)[1]
            self._values[key] = (value, size)
            self._bytes += size
            while self._bytes > self.max_bytes and len(self._values) > 1:
                self._bytes -= self._values.popitem(last=False)[1][1]

    @property
    def bytes(self) -> int:
        """Bytes held now."""
        return self._bytes

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __len__(self) -> int:
        return len(self._values)

    def clear(self) -> None:
        with self._lock:
            self._values.clear()
            self._bytes = 0


class DiskCache:
    """Embeddings as safetensors files below a folder, oldest use removed first.

    A file that cannot be read or written is never an error for the user: the embedding is computed again.
    """

    def __init__(self, folder: Path, max_bytes: int = 2 << 30) -> None:
        self.folder = folder
        self.max_bytes = max_bytes

    def get(self, key: str) -> dict[str, torch.Tensor] | None:
        from safetensors import SafetensorError
        from safetensors.torch import load

        path = self._path(key)
        try:
            tensors = load(path.read_bytes())
            path.touch()
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError) as error:
            _log.warning("Ignoring the damaged cache file %s (%s)", path.name, error)
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        return tensors

    def put(self, key: str, tensors: Mapping[str, torch.Tensor]) -> None:
        from safetensors.torch import save

        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                temporary.write_bytes(save(dict(tensors)))
            self._make_room()
        except (OSError, OutputError) as error:
            _log.warning("The embedding was not kept on disk: %s", error)

    def clear(self) -> int:
        """Remove every file; returns the bytes freed."""
        freed = 0
        for path in self.folder.glob("*/*.safetensors"):
            with contextlib.suppress(OSError):
                freed += path.stat().st_size
                path.unlink()
        return freed

    def _make_room(self) -> None:
        files = [(path.stat().st_mtime, path.stat().st_size, path) for path in self.folder.glob("*/*.safetensors")]
        excess = sum(size for _, size, _ in files) - self.max_bytes
        for _, size, path in sorted(files):
            if excess <= 0:
                return
            path.unlink(missing_ok=True)
            excess -= size

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"


class EngineCache:
    """Everything an engine may remember between predictions without its answers depending on it.

    Args:
        memory_bytes: for embeddings (a LiteMedSAM slice takes 2 MB in half precision).
        decoded_bytes: for decoder outputs (256 kB a mask).
        disk: keeps embeddings between runs, or None.
    """

    def __init__(
        self, memory_bytes: int = 512 << 20, decoded_bytes: int = 256 << 20, disk: DiskCache | None = None
    ) -> None:
        self.embeddings: BoundedCache[Mapping[str, torch.Tensor]] = BoundedCache(memory_bytes)
        self.decoded: BoundedCache[tuple] = BoundedCache(decoded_bytes)
        self.disk = disk

    def get_embedding(self, key: str) -> Mapping[str, torch.Tensor] | None:
        found = self.embeddings.get(key)
        if found is None and self.disk is not None and (found := self.disk.get(key)) is not None:
            self._remember(key, found)
        return found

    def put_embedding(self, key: str, embedding: Mapping[str, torch.Tensor]) -> None:
        self._remember(key, embedding)
        if self.disk is not None:
            self.disk.put(key, embedding)

    def _remember(self, key: str, embedding: Mapping[str, torch.Tensor]) -> None:
        size = sum(tensor.numel() * tensor.element_size() for tensor in embedding.values())
        self.embeddings.put(key, embedding, size)
