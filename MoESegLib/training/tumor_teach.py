"""Teach MAST-Pro one more tumor type from finished segmentations; nothing that it knew changes (stage 2)."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..core.cancel import CancelToken
from ..core.errors import TrainingError
from ..core.strict_json import to_plain
from ..core.tumors import TumorBook, TumorRecord, digest_of
from ..engines.cache import content_key
from ..engines.tumor_book import tumor_book
from ..models.mast_pro import Adaptation, MastPro, adapt_to, apply_delta, base_sha256, read_base
from ..weights import model_card
from ..weights.store import ensure_weights
from .cases import Case, split_cases
from .progress import TeachProgress, part_of, silent
from .teach import teaching_folder
from .tumor_cases import PreparedCases, prepare_cases
from .tumor_loop import HeldOutTumors, TumorEpoch, TumorLoop, TumorSchedule, measure, probes_of, summarize
from .tumor_patches import TumorData, TumorPlan
from .world import World

DEFAULT_EPOCHS = 8
DEFAULT_SCHEDULE = TumorSchedule(steps=25, rate=2e-3, patience=4)
_PREPARED = 0.15
"""Share of the progress bar in which images are prepared."""


@dataclass(frozen=True, eq=False)
class TumorResult:
    """A tumor that was added to a network, and how it got there.

    Attributes:
        record: the type.
        network: with the added parts of the best epoch, in half precision; its base is what it was before.
        base: its SHA-256, of all tensors but the added ones.
        adaptation: how many parameters were trained, of how many.
        before: the base's answers to the same text, before it was taught.
        held_out: of the best epoch; it was chosen by this number, so report other cases where there are some.
        history: the learning curve.
        data: images to learn from.
        train_cases, held_out_cases: names.
        in_slices: single slices were among what was learned from.
    """

    record: TumorRecord
    network: MastPro
    base: str
    adaptation: Adaptation
    before: HeldOutTumors
    held_out: HeldOutTumors
    history: tuple[TumorEpoch, ...]
    data: PreparedCases
    train_cases: tuple[str, ...]
    held_out_cases: tuple[str, ...]
    in_slices: bool

    def details(self) -> dict[str, Any]:
        """What its file says of it."""
        return {
            "record": to_plain(self.record),
            "trainable": self.adaptation.trainable,
            "full": self.adaptation.full,
            "before": dataclasses.asdict(self.before),
            "held_out": dataclasses.asdict(self.held_out),
            "steps": self.history[-1].steps,
            "train_cases": list(self.train_cases),
            "held_out_cases": list(self.held_out_cases),
            "in_slices": self.in_slices,
        }


def tumor_base(name: str = "mast-pro") -> MastPro:
    """A MAST-Pro from the catalog, without any tumors that were added to it, on a GPU if there is one.

    Raises:
        TrainingError: the model is none.
        UnknownModelError, WeightsMissingError, WeightsError: as :func:`~MoESegLib.weights.ensure_weights`.
    """
    if model_card(name).architecture != "mast_pro":
        raise TrainingError(f"{name} is no MAST-Pro, so a tumor cannot be added to it. Choose --base mast-pro.")
    return read_base(ensure_weights(name))[0].to("cuda" if torch.cuda.is_available() else "cpu")


def teach_tumor(
    cases: Sequence[Case],
    phrase: str,
    *,
    base: str | MastPro = "mast-pro",
    anatomy: Path | None = None,
    book: TumorBook | None = None,
    minutes: float | None = None,
    epochs: int | None = None,
    seed: int = 0,
    output: Callable[[TumorResult], object] | None = None,
    progress: TeachProgress | None = None,
    cancel: CancelToken | None = None,
    schedule: TumorSchedule | None = None,
    plan: TumorPlan | None = None,
    cache: Path | None = None,
    held_out_share: float = 0.2,
) -> TumorResult:
    """Teach one more tumor type.

    A run that was killed or cancelled goes on where it was when it is called again with the same arguments; with
    ``epochs`` the result is then that of an undisturbed run, bit for bit on the same machine.

    Args:
        cases: of at least two patients; a share of the patients is held out. All their segments count as lesions.
        phrase: names the type: one that ships but was not taught to the base, or one of the user's ``tumors.json``.
        base: a model of the catalog, or a network; the network is changed: it gets the added parts.
        anatomy: folder with the organs of the cases (:func:`~.tumor_cases.prepare_cases`).
        book: of the types; by default the user's own.
        minutes, epochs: when to stop, whichever comes first; 8 epochs if neither is given.
        output: called once with the result, to write it.
        plan: which patches are drawn; its tumor, spacing and sizes are replaced by those of the base.
        cache: folder of prepared images and checkpoints.

    Raises:
        PromptError: the phrase names no type that is known.
        TrainingError: the base was taught this type, or there is nothing to learn from or to measure on.
        VolumeError, GeometryError, OutputError: as :func:`~.tumor_cases.prepare_cases`.
        Cancelled: ``cancel`` was set.
    """
    started = time.monotonic()
    progress, cancel = progress or silent, cancel or CancelToken()
    book = book or tumor_book()
    record = book.find(phrase).record
    network = tumor_base(base) if isinstance(base, str) else base
    _check_new(network, record)
    sha256 = base_sha256(network)
    folder = teaching_folder(cache)
    images = folder / "tumor-images"
    config = network.config
    preparing = part_of(progress, 0, _PREPARED)
    prepared = prepare_cases(cases, record, anatomy, images, config.spacing_mm, preparing, cancel)
    plan = dataclasses.replace(
        plan or TumorPlan(),
        tumors=(record.id,), spacing=config.spacing_mm, patch=config.patch, slice_patch=config.slice_patch,
    )  # fmt: skip
    train, held = split_cases(cases, held_out_share, seed)
    data, kept_back = (_data_of(prepared, cases, some, plan) for some in (train, held))
    probes = probes_of(kept_back, slices=24, volumes=8)
    before = summarize(measure(network, probes, book, cancel))
    adaptation = _adapted(network, record.id, seed)
    schedule = _schedule(schedule or DEFAULT_SCHEDULE, minutes, epochs, seed)
    keys = [image.key for some in (data, kept_back) for image in some.images]
    identity = content_key(sha256, record.id, digest_of(record), *keys)
    checkpoint = folder / f"{record.id}.tumor-run.safetensors"
    world = World(0, 1, network.prompt.text.null.device)
    loop = TumorLoop(network, data, probes, book, schedule, identity, checkpoint, world, started, record.id)
    history = loop.run(part_of(progress, _PREPARED, 1), cancel)
    best = max((epoch.held_out for epoch in history), key=lambda held_out: held_out.score)
    _check_learned(history, before, best)
    apply_delta(network.eval(), record.id, loop.best)
    if base_sha256(network) != sha256:
        raise RuntimeError("Teaching changed the base model; this must never happen. The tumor was not kept.")
    learned_from, held_out = (tuple(case.name for case in some) for some in (train, held))
    result = TumorResult(
        record, network, sha256, adaptation, before, best, tuple(history), prepared, learned_from, held_out,
        in_slices=record.id in data.tumors_of(True),
    )  # fmt: skip
    if output is not None:
        output(result)
    checkpoint.unlink(missing_ok=True)
    return result


def _check_new(network: MastPro, record: TumorRecord) -> None:
    if record.id in network.tumors:
        raise TrainingError(
            f"The base was taught {record.name} ({record.id}) already, and what it knows is never changed. To teach it "
            "your own kind of it, write a record with another id and name into your tumors.json "
            "(docs/tumors-text-and-anatomy.md)."
        )


def _adapted(network: MastPro, tumor: str, seed: int) -> Adaptation:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return adapt_to(network, tumor)


def _data_of(prepared: PreparedCases, cases: Sequence[Case], chosen: Sequence[Case], plan: TumorPlan) -> TumorData:
    images = [image for image, case in zip(prepared.images, cases, strict=True) if case in chosen]
    return TumorData(tuple(images), plan)


def _schedule(schedule: TumorSchedule, minutes: float | None, epochs: int | None, seed: int) -> TumorSchedule:
    if (minutes is not None and minutes <= 0) or (epochs is not None and epochs < 1):
        raise TrainingError("A tumor needs some time: give more than 0 minutes, or 1 epoch or more.")
    if minutes is None and epochs is None:
        epochs = DEFAULT_EPOCHS
    return dataclasses.replace(schedule, minutes=minutes, epochs=epochs, seed=seed)


def _check_learned(history: Sequence[TumorEpoch], before: HeldOutTumors, best: HeldOutTumors) -> None:
    steps = history[-1].steps
    if steps == 0:
        raise TrainingError(
            "The time was over before anything was learned: it went into preparing and measuring. What was prepared "
            "stays, so start again, or give more minutes."
        )
    if best.score <= before.score:
        raise TrainingError(
            f"After {steps} steps the network was no better than before (score {before.score:.3f} on {best.patches} "
            "held-out patches); nothing was installed. Give more cases, more time, or organs with --anatomy."
        )
