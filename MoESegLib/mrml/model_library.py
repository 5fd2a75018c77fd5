"""Models for the panel: what their cards say, whether they are here, getting and loading them without blocking."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..core.errors import MoESegError, WeightsError
from ..engines import load_engine
from ..engines.protocol import Engine
from ..engines.registry import engine_names
from ..experts.specialist_store import specialists_home
from ..experts.store import list_packs, packs_home
from ..session.background import BackgroundTask
from ..session.worker import Worker, default_worker
from ..weights import ModelCard, get_model, model_card
from ..weights.store import import_file, owner_of, remove, sharers, state_of

_FAILURES = (MoESegError, ImportError, OSError, RuntimeError, MemoryError)
"""What loading can end with on a machine that is too small or lacks something, besides a fault in MoESeg."""


class ModelLibrary:
    """Cards, states and loaded engines.

    Args:
        load: makes an engine from a model's name; a test may give a fake one.
        worker: the inference thread, on which models are loaded.
        missing: names the Python packages that must be installed before a model can be loaded.
    """

    def __init__(
        self,
        load: Callable[[str], Engine] = load_engine,
        worker: Worker | None = None,
        missing: Callable[[], list[str]] = list,
    ) -> None:
        self._load = load
        self.missing = missing
        self._worker = worker if worker is not None else default_worker()
        self._downloads = Worker()
        self._engine: tuple[str, Engine, object] | None = None
        self._loading: tuple[str, BackgroundTask[tuple[Engine, object]]] | None = None
        self._getting: tuple[str, BackgroundTask[Any]] | None = None
        self._failed: dict[str, tuple[str, object]] = {}
        self._packs: tuple[object, tuple[str, ...]] | None = None

    # Cards -------------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Models this version has an engine for."""
        return engine_names()

    def card(self, name: str) -> ModelCard:
        """A model's card.

        Raises:
            UnknownModelError: there is no such model.
        """
        return model_card(name)

    def weights_card(self, name: str) -> ModelCard:
        """The card of the weights that a model loads, which may be those of another model."""
        return owner_of(name)

    def takes_experts(self, name: str) -> bool:
        """Whether a model answers with experts that are installed: packs, or 3D specialists."""
        return model_card(name).architecture == "segmote_lite" or self.takes_specialists(name)

    def takes_specialists(self, name: str) -> bool:
        """Whether these are 3D specialists, with a gate as a file of its own."""
        return model_card(name).architecture == "sam_med3d_moe"

    def state(self, name: str) -> str:
        """ "installed", "missing" or "broken"."""
        return state_of(name)

    def sharers(self, name: str) -> tuple[str, ...]:
        """All models that use the same file, which go when one of them is removed."""
        return sharers(name)

    # Getting -----------------------------------------------------------------------------------------------------

    @property
    def getting(self) -> tuple[str, BackgroundTask[Any]] | None:
        """Name and task of the running download."""
        return self._getting

    def get(self, name: str) -> None:
        """Start to download a model, after the user agreed to size, license and source."""
        if self._getting is None:
            title = f"Getting {model_card(name).title}"
            task = BackgroundTask(self._downloads, title, lambda report, token: get_model(name, report, token))
            self._getting = name, task

    def cancel_getting(self) -> None:
        """Stop the download; nothing half-written is left."""
        if self._getting is not None:
            self._getting[1].cancel()

    def import_file(self, name: str, path: str | Path) -> None:
        """Copy weights from a file, after checking them.

        Raises:
            WeightsError: they are not what the card says; nothing was copied.
        """
        import_file(Path(path), name)
        self._failed.clear()

    def remove(self, name: str) -> int:
        """Delete a model from this machine; returns the bytes freed. A prediction that runs is not disturbed.

        Raises:
            WeightsMissingError: there is nothing to remove.
        """
        gone = sharers(name)
        freed = remove(name)
        if self._engine is not None and self._engine[0] in gone:
            self._engine = None
        return freed

    # Loading -----------------------------------------------------------------------------------------------------

    def engine(self, name: str) -> Engine | None:
        """The engine of a model, or None while it is loaded, missing, or could not be loaded (see :meth:`why_not`).

        It is loaded anew when experts were added, removed, or switched on or off since, or better weights came.
        """
        if self._engine is not None and self._engine[0] == name:
            if self._engine[2] == self._experts(name):
                return self._engine[1]
            self._engine = None
        if name in self._failed and self._failed[name][1] != self._experts(name):
            del self._failed[name]  # the file that was in the way may be gone
        known = name not in self._failed and self.state(name) == "installed"
        if self._loading is None and known and not self.missing():

            def load(*_: object) -> tuple[Engine, object]:
                experts = self._experts(name)  # before: what changes while it is loaded makes it old at once
                return self._load(name), experts

            self._loading = name, BackgroundTask(self._worker, f"Loading {model_card(name).title}", load)
        return None

    def _experts(self, name: str) -> object:
        """Differs after the experts or the weights that a model would load changed."""
        experts: object = None
        if self.takes_experts(name):
            experts = self.specialists_stamp() if self.takes_specialists(name) else self.experts_stamp()
        return owner_of(name).name, experts

    def experts_stamp(self) -> object:
        """Differs after packs were added, removed, or switched on or off; cheap enough for the timer."""
        return _stamp_of(packs_home())

    def expert_names(self, name: str) -> tuple[str, ...]:
        """Experts that a model of slices loads; read again only after one was added, removed or switched."""
        if not self.takes_experts(name) or self.takes_specialists(name):
            return ()
        stamp = self.experts_stamp()
        if self._packs is None or self._packs[0] != stamp:
            try:
                packs = list_packs()
            except WeightsError:  # loading the model says what is damaged
                packs = []
            self._packs = stamp, tuple(pack.name for pack in packs if pack.enabled and not pack.problem)
        return self._packs[1]

    def specialists_stamp(self) -> object:
        """As :meth:`experts_stamp`, for specialists and gates."""
        return _stamp_of(specialists_home())

    def why_not(self, name: str) -> str:
        """Why there is no engine yet, for the user; "" when there is one."""
        card = model_card(name)
        if self._engine is not None and self._engine[0] == name:
            return ""
        if self._getting is not None and self._getting[0] == name:
            return f"Getting {card.title}: {100 * self._getting[1].progress[0]:.0f} %"
        if self._loading is not None and self._loading[0] == name:
            return f"Loading {card.title} ..."
        if name in self._failed:
            return self._failed[name][0]
        missing = self.missing()
        if missing:
            return (
                f"{card.title} needs {', '.join(missing)}. Press 'Get' to install what is missing; you are asked first."
            )
        state = self.state(name)
        if state == "missing":
            return f"{card.title} is not on this machine yet ({card.size_text}). Press 'Get'."
        if state == "broken":
            return f"The file of {card.title} is damaged. Remove it and get it again."
        return f"{card.title} is not loaded."

    def pump(self) -> list[str]:
        """Take what finished; returns messages for the user."""
        messages = []
        if self._getting is not None and self._getting[1].done:
            name, task = self._getting
            self._getting = None
            self._failed.pop(name, None)
            try:
                task.result()
                messages.append(f"{model_card(name).title} is ready to use.")
            except MoESegError as error:
                messages.append(str(error))
        if self._loading is not None and self._loading[1].done:
            name, loading = self._loading
            self._loading = None
            try:
                self._engine = name, *loading.result()
                # PyTorch brings 300,000 objects that stay. Walking them made Python's garbage collector stop the event
                # loop for 110 to 160 ms now and then; frozen, they are walked no more.
                gc.freeze()
            except Exception as error:
                messages.append(f"{model_card(name).title} cannot be loaded: {error}")
                self._failed[name] = messages[-1], self._experts(name)  # else it would be tried again and again
                if not isinstance(error, _FAILURES):
                    raise
        return messages

    @property
    def progress(self) -> tuple[float, str] | None:
        """Of the download or of loading (whose length is not known: fraction -1), None when there is neither."""
        if self._getting is not None:
            return self._getting[1].progress[0], self._getting[1].name
        return (-1.0, self._loading[1].name) if self._loading is not None else None


def _stamp_of(folder: Path) -> object:
    """Differs after a file in a folder, or below it, was added, removed or written."""
    return frozenset((file.name, _changed(file)) for file in folder.rglob("[!.]*"))


def _changed(file: Path) -> int:
    """When a file was written, 0 if it was removed meanwhile."""
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
