"""Where sealed files of one kind lie on this machine: those that ship with MoESeg, and the user's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from ..core.errors import OutputError, UnknownModelError, WeightsError
from .card_rules import SomeCard
from .sealed_file import SUFFIX, Kind, read_card


@dataclass(frozen=True)
class Installed(Generic[SomeCard]):
    """A sealed file on this machine.

    Attributes:
        noun: what it is, "specialist" or "gate".
        name: also the name of its file.
        card: None when it cannot be read.
        shipped: came with MoESeg, and cannot be removed.
        problem: why it cannot be used, "" if it can; the tensors are looked at when it is first asked.
    """

    noun: str
    name: str
    path: Path
    card: SomeCard | None
    shipped: bool
    problem: str = ""


@dataclass(frozen=True)
class SealedStore(Generic[SomeCard]):
    """The files of one kind by name.

    Attributes:
        noun: without article, "specialist".
        home: the folder of the user's own.
        shipped: the folder of those that came with MoESeg, None if none did.
    """

    kind: Kind
    card_type: type[SomeCard]
    noun: str
    home: Callable[[], Path]
    shipped: Callable[[], Path | None]

    def listed(self, base_sha256: str | None = None) -> list[Installed[SomeCard]]:
        """All by name, damaged ones included. The user's own goes before a shipped one of the same name.

        Args:
            base_sha256: only those for these weights (damaged ones are left out then).
        """
        shipped = self.shipped()
        found = {path.stem: (path, True) for path in (shipped.glob(f"*{SUFFIX}") if shipped is not None else ())}
        found |= {path.stem: (path, False) for path in self.home().glob(f"[!.]*{SUFFIX}")}
        everyone = [self._look_at(name, *found[name]) for name in sorted(found)]
        if base_sha256 is None:
            return everyone
        return [item for item in everyone if item.card is not None and item.card.base.sha256 == base_sha256]

    def find(self, name: str) -> Installed[SomeCard]:
        """One of them.

        Raises:
            UnknownModelError: there is none of that name; the message lists those there are.
        """
        everyone = {item.name: item for item in self.listed()}
        if name not in everyone:
            known = f"Known {self.noun}s: {', '.join(everyone)}." if everyone else "None is installed yet."
            raise UnknownModelError(f"There is no {self.noun} {name!r}. {known}")
        return everyone[name]

    def free_path(self, name: str, replace: bool) -> Path:
        """Where a new one of the user goes; its folder is made.

        Args:
            replace: whether the user's own of that name may be overwritten.

        Raises:
            WeightsError: the name is taken.
            OutputError: the folder cannot be made.
        """
        path = self.home() / f"{name}{SUFFIX}"
        shipped = self.shipped()
        if shipped is not None and (shipped / path.name).exists():
            raise WeightsError(f"A {self.noun} {name} ships with MoESeg. Give yours another name.")
        if path.exists() and not replace:
            raise WeightsError(f"There is a {self.noun} {name} already. Choose another name, or replace it.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"The folder {path.parent} cannot be made ({error.strerror}). Set MOESEG_HOME to another folder."
            ) from error
        return path

    def remove(self, name: str) -> int:
        """Delete one of the user's; returns the bytes freed.

        Raises:
            UnknownModelError: there is none of that name.
            WeightsError: it ships with MoESeg, or cannot be deleted.
        """
        item = self.find(name)
        if item.shipped:
            raise WeightsError(f"The {self.noun} {name} ships with MoESeg and cannot be removed.")
        try:
            freed = item.path.stat().st_size
            item.path.unlink()
        except OSError as error:
            raise WeightsError(f"The {self.noun} {name} cannot be deleted: {error}.") from error
        return freed

    def _look_at(self, name: str, path: Path, shipped: bool) -> Installed[SomeCard]:
        try:
            card: Any = read_card(path, self.kind, self.card_type)
        except WeightsError as error:
            return Installed(self.noun, name, path, None, shipped, str(error))
        if card.name != name:
            problem = f"{path} holds the {self.noun} {card.name}; rename the file to {card.name}{SUFFIX}."
            return Installed(self.noun, name, path, None, shipped, problem)
        return Installed(self.noun, name, path, card, shipped)
