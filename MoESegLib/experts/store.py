"""Where expert packs lie on this machine: those that ship with MoESeg, and the user's own."""

from __future__ import annotations

import dataclasses
import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import OutputError, UnknownModelError, WeightsError
from ..core.files import atomic_path
from ..core.strict_json import FieldError, parse_json
from ..resources import resource_path
from ..weights import model_cards, models_home
from .card import ExpertCard
from .pack_file import read_pack, read_pack_card, write_pack, write_state
from .sealed_file import SUFFIX, check_base, sealed

if TYPE_CHECKING:
    from ..models.segmote.asymmetric import ExpertPack

_SETTINGS = "switched-off.json"
_settings_lock = threading.Lock()


@dataclass(frozen=True)
class InstalledPack:
    """An expert pack on this machine.

    Attributes:
        name: also the name of its file.
        card: None when it cannot be read.
        shipped: came with MoESeg; it can be switched off but not removed.
        enabled: switched on, so that engines on its base load it.
        problem: why it cannot be used, "" if it can; the tensors are looked at when it is loaded.
    """

    name: str
    path: Path
    card: ExpertCard | None
    shipped: bool
    enabled: bool
    problem: str = ""


def packs_home() -> Path:
    """The folder of the user's own packs."""
    return models_home() / "experts"


def shipped_folder() -> Path | None:
    """The folder of the packs that came with MoESeg, None if none did."""
    try:
        return resource_path("Experts")
    except FileNotFoundError:
        return None


def list_packs() -> list[InstalledPack]:
    """All packs by name, damaged ones included. The user's own goes before a shipped one of the same name.

    Raises:
        WeightsError: the file that says which are switched off is damaged.
    """
    off = _switched_off()
    shipped = shipped_folder()
    found = {path.stem: (path, True) for path in (shipped.glob(f"*{SUFFIX}") if shipped is not None else ())}
    found |= {path.stem: (path, False) for path in packs_home().glob(f"[!.]*{SUFFIX}")}
    return [_look_at(name, *found[name], enabled=name not in off) for name in sorted(found)]


def find_pack(name: str) -> InstalledPack:
    """One pack.

    Raises:
        UnknownModelError: there is none of that name; the message lists those there are.
        WeightsError: as :func:`list_packs`.
    """
    packs = {pack.name: pack for pack in list_packs()}
    if name not in packs:
        known = f"Known experts: {', '.join(packs)}." if packs else "No expert is installed yet."
        raise UnknownModelError(f"There is no expert {name!r}. {known}")
    return packs[name]


def install_pack(pack: ExpertPack, card: ExpertCard, replace: bool = False) -> ExpertCard:
    """Put a pack that was just taught among the user's own; returns its card as written.

    Args:
        replace: overwrite the user's pack of that name.

    Raises:
        WeightsError: the name is taken, or as :func:`~MoESegLib.experts.pack_file.write_pack`.
        OutputError: it cannot be written; nothing was.
    """
    return write_pack(_free_path(card.name, replace), pack, card)


def import_pack(file: Path, name: str | None = None, replace: bool = False) -> ExpertCard:
    """Copy a pack from a file to the user's own, after every check.

    Args:
        name: to have it under another name than its own.
        replace: overwrite the user's pack of that name.

    Raises:
        WeightsError: the file is no whole pack, its base is not known or has other weights, or the name is taken.
        OutputError: it cannot be written; nothing was.
    """
    card, state = read_pack(file)
    _check_known_base(card, file.name)
    if name is not None:
        card = dataclasses.replace(card, name=name)
    card = sealed(card, state)
    # The same pack again is no clash, and writing it again repairs what was damaged.
    path = _free_path(card.name, replace or _is_same(card, packs_home() / f"{card.name}{SUFFIX}"))
    return write_state(path, state, card)


def export_pack(name: str, path: Path, overwrite: bool = False) -> Path:
    """Copy a pack, checked, and its card to a folder or to a ``.safetensors`` file; returns the file.

    Raises:
        UnknownModelError: no such pack.
        WeightsError: it is damaged.
        OutputError: there is such a file already, or it cannot be written; nothing was.
    """
    pack = find_pack(name)
    target = path / f"{name}{SUFFIX}" if path.is_dir() else path
    existing = [file for file in (target, target.with_suffix(".json")) if file.exists()]
    if existing and not overwrite:
        raise OutputError(f"{existing[0]} exists. Choose another name, or allow to overwrite it (--overwrite).")
    if target.exists() and target.samefile(pack.path):
        raise OutputError(f"{target} is the pack itself. Choose another place.")
    card, state = read_pack(pack.path)
    write_state(target, state, card)
    return target


def remove_pack(name: str) -> int:
    """Delete one of the user's packs; returns the bytes freed.

    Raises:
        UnknownModelError: no such pack.
        WeightsError: it ships with MoESeg, or cannot be deleted.
    """
    pack = find_pack(name)
    if pack.shipped:
        raise WeightsError(
            f"The expert {name} ships with MoESeg and cannot be removed. Switch it off: moeseg experts disable {name}"
        )
    files = [file for file in (pack.path, pack.path.with_suffix(".json")) if file.exists()]
    freed = sum(file.stat().st_size for file in files)
    try:
        for file in files:  # the pack first: what is left of an interrupted removal is a card that nobody reads
            file.unlink(missing_ok=True)
    except OSError as error:
        raise WeightsError(f"The expert {name} cannot be deleted: {error}.") from error
    if not pack.enabled:
        set_enabled(name, True)  # a later pack of this name starts switched on as any other
    return freed


def is_enabled(name: str) -> bool:
    """Whether engines load a pack.

    Raises:
        UnknownModelError, WeightsError: as :func:`find_pack`.
    """
    return find_pack(name).enabled


def set_enabled(name: str, enabled: bool) -> None:
    """Switch a pack on or off for engines that are loaded from now on. Unknown names are remembered too.

    Raises:
        WeightsError: the file that says which are switched off is damaged.
        OutputError: it cannot be written; nothing changed.
    """
    with _settings_lock:
        before = _switched_off()
        after = before - {name} if enabled else before | {name}
        if after != before:
            _make_home()
            with atomic_path(packs_home() / _SETTINGS) as temporary:
                temporary.write_text(json.dumps({"switched_off": sorted(after)}, indent=2) + "\n", encoding="utf-8")


def _look_at(name: str, path: Path, shipped: bool, enabled: bool) -> InstalledPack:
    card = None
    try:
        card = read_pack_card(path)
        if card.name != name:
            raise WeightsError(f"{path} holds the expert {card.name}; rename the file to {card.name}{SUFFIX}.")
        _check_known_base(card, path.name)
    except WeightsError as error:
        return InstalledPack(name, path, card, shipped, enabled, str(error))
    return InstalledPack(name, path, card, shipped, enabled)


def _check_known_base(card: ExpertCard, source: str) -> None:
    known = model_cards()
    if card.base.name not in known:
        raise WeightsError(
            f"The expert {card.name} ({source}) was taught on {card.base.name}, which this MoESeg does not know. It "
            f"knows {', '.join(known)}."
        )
    base = known[card.base.name]
    if base.sha256 is not None:
        check_base(card, base.sha256, source)


def _free_path(name: str, replace: bool) -> Path:
    """Where a new pack of the user goes."""
    path = packs_home() / f"{name}{SUFFIX}"
    shipped = shipped_folder()
    if shipped is not None and (shipped / path.name).exists():
        raise WeightsError(f"An expert {name} ships with MoESeg. Give yours another name (--name OTHER).")
    if path.exists() and not replace:
        raise WeightsError(f"There is an expert {name} already. Choose another name (--name OTHER), or replace it.")
    _make_home()
    return path


def _is_same(card: ExpertCard, path: Path) -> bool:
    try:
        return read_pack_card(path) == card
    except WeightsError:
        return False


def _make_home() -> None:
    try:
        packs_home().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {packs_home()} cannot be made ({error.strerror}). Set MOESEG_HOME to another folder."
        ) from error


def _switched_off() -> frozenset[str]:
    path = packs_home() / _SETTINGS
    try:
        data = parse_json(path.read_text(encoding="utf-8"))
        names = data["switched_off"]
        if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            raise TypeError("a list of names was expected")
    except FileNotFoundError:
        return frozenset()
    except (OSError, UnicodeDecodeError, FieldError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{path}, which says which experts are switched off, cannot be read ({error}). Delete it to switch all on."
        ) from error
    return frozenset(names)
