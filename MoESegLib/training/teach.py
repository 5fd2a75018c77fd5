"""Teach an expert: cases in, a pack with its learning curve out."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.cancel import CancelToken
from ..core.errors import OutputError, TrainingError
from ..engines.prompt_features import feature_width
from ..engines.slice_engine import SliceEngine
from ..experts.card_rules import RESERVED_NAMES, is_name
from ..models.segmote.asymmetric import ExpertPack
from ..weights.store import models_home
from .cases import Case, split_cases
from .embeddings import EmbeddingStore
from .engine import TAUGHT_PROMPTS, attach, detach_all, network_of, teaching_engine
from .held_out import HeldOut, measure, summarize
from .learning import Epoch
from .loop import Loop, Plan
from .phrases import phrase_vectors
from .progress import TeachProgress, part_of, silent
from .reference import ReferencePrompts, load_reference, none_known
from .samples import LEAST_PIXELS, Collecting, Probe, Sample, collect_probes, collect_samples
from .scope import fit_scope, gather_evidence
from .world import World

DEFAULT_EPOCHS = 20
_ENCODING_SHARE = 0.2
_ENCODING_TIME = 0.4
"""Share of the minutes after which no further slice is encoded: what was encoded is learned from."""


@dataclass(frozen=True, eq=False)
class TeachResult:
    """A taught pack and how it got there.

    Attributes:
        pack: the best epoch's, in eval mode on the CPU.
        history: the learning curve; its first entry is the untrained pack.
        held_out: of the best epoch; it was chosen by this number, so report another test set where there is one.
        base: the model without experts, asked in the same way; it turns a click into a box.
        classes: what was learned.
        prompts: kinds that it was taught.
        samples: structures on slices.
        train_cases, held_out_cases: names.
    """

    name: str
    pack: ExpertPack
    history: tuple[Epoch[HeldOut], ...]
    held_out: HeldOut
    base: HeldOut
    classes: tuple[str, ...]
    prompts: frozenset[str]
    samples: int
    train_cases: tuple[str, ...]
    held_out_cases: tuple[str, ...]

    @property
    def steps_per_second(self) -> float:
        """Training steps by wall time, measuring included."""
        first, last = self.history[0], self.history[-1]
        return last.steps / max(1e-9, last.seconds - first.seconds)


def teach(
    cases: Sequence[Case],
    name: str,
    *,
    start_from: ExpertPack | Path | None = None,
    minutes: float | None = None,
    epochs: int | None = None,
    seed: int = 0,
    output: Callable[[TeachResult], object] | None = None,
    progress: TeachProgress | None = None,
    cancel: CancelToken | None = None,
    plan: Plan | None = None,
    engine: SliceEngine | None = None,
    cache: Path | None = None,
    held_out_share: float = 0.2,
    held_out_masks: int = 24,
    collecting: Collecting | None = None,
) -> TeachResult:
    """Teach an expert on the frozen LiteMedSAM.

    A run that was killed or cancelled goes on where it was when it is called again with the same arguments; with
    ``epochs`` the result is then that of an undisturbed run, bit for bit on the same machine.

    Args:
        cases: of at least two patients; a share of the patients is held out to measure on.
        name: of the expert; its checkpoint lies under this name.
        start_from: a pack, or the file of one, to go on teaching; it is copied.
        minutes, epochs: when to stop, whichever comes first; 20 epochs if neither is given.
        output: called once with the result in the first process, to write it.
        progress: called with fraction, message and metrics, from this thread.
        plan: other settings; its epochs, minutes and seed are replaced.
        engine: a teaching engine, by default LiteMedSAM on a GPU if there is one.
        cache: folder of embeddings and checkpoints, by default ``teaching`` where the models are.
        held_out_masks: about how many structures on slices are measured after each epoch.
        collecting: how samples are made of the cases; with ``automatic`` the expert also learns to find all there is
            of its one class without a prompt (PPT).

    Raises:
        TrainingError: nothing to learn from or to measure on; the message says what to do.
        VolumeError, GeometryError: a case is damaged, or its labels lie on another grid.
        OutputError: the disk is full, or the folder cannot be written; what is there stays usable.
        WeightsMissingError: LiteMedSAM is not on this machine.
        Cancelled: ``cancel`` was set.
    """
    started = time.monotonic()
    _check_arguments(name, minutes, epochs)
    how = dataclasses.replace(collecting or Collecting(), seed=seed)
    progress, cancel = progress or silent, cancel or CancelToken()
    train, held = split_cases(cases, held_out_share, seed)
    plan = _plan(plan or Plan(), minutes, epochs, seed)
    engine = engine or teaching_engine()
    detach_all(engine)
    world = World.join(next(network_of(engine).mask_decoder.parameters()).device)
    folder = teaching_folder(cache)
    store = EmbeddingStore(folder / "embeddings")
    probes = collect_probes(engine, held, held_out_masks, how)
    encoding = part_of(progress, 0.0, _ENCODING_SHARE)
    samples = _samples(engine, train, store, world, _in_time(how, plan, started), encoding, cancel)
    classes = tuple(sorted({sample.structure for sample in samples}))
    _check_classes(classes, how)
    base = summarize(measure(engine, probes, store, cancel))
    pack = attach(engine, name, start_from, seed, automatic=how.automatic)
    identity = _identity(engine, name, samples if plan.minutes is None else (), probes, start_from)
    checkpoint = folder / f"{name}.run.safetensors"
    phrases = phrase_vectors(classes)
    loop = Loop(engine, pack, samples, probes, store, phrases, base, plan, identity, checkpoint, world, started)
    history = loop.run(part_of(progress, _ENCODING_SHARE, 1.0), cancel)
    _check_learned(history, minutes)
    pack.scope = fit_scope(gather_evidence(samples, store, _reference(engine), seed, cancel))
    best = max((epoch.held_out for epoch in history), key=lambda held_out: held_out.score)
    names = (tuple(case.name for case in some) for some in (train, held))
    prompts = TAUGHT_PROMPTS | ({"text"} if phrases else set()) | ({"automatic"} if how.automatic else set())
    result = TeachResult(name, pack.cpu(), tuple(history), best, base, classes, prompts, len(samples), *names)
    if world.is_first:
        if output is not None:
            output(result)
        checkpoint.unlink(missing_ok=True)
    world.leave()
    return result


def _samples(
    engine: SliceEngine,
    train: Sequence[Case],
    store: EmbeddingStore,
    world: World,
    how: Collecting,
    progress: TeachProgress,
    cancel: CancelToken,
) -> list[Sample]:
    if world.size > 1:  # each process encodes its part; what is collected then is found
        collect_samples(engine, world.share(train), store, how, cancel=cancel)
        world.wait()
    samples = collect_samples(engine, train, store, how, progress=progress, cancel=cancel)
    if not samples:
        raise TrainingError(
            "There is nothing to learn from: no case holds a structure of that class with at least "
            f"{LEAST_PIXELS} pixels on a slice. Check the names of the classes."
        )
    return samples


def _in_time(how: Collecting, plan: Plan, started: float) -> Collecting:
    """With a time limit, a part of the time for encoding."""
    if plan.minutes is None:
        return how
    return dataclasses.replace(how, until=started + 60 * plan.minutes * _ENCODING_TIME)


def _check_learned(history: Sequence[Epoch[HeldOut]], minutes: float | None) -> None:
    if history[-1].steps == 0:
        raise TrainingError(
            f"The time was over before anything was learned: {minutes:g} minutes went into encoding and measuring. "
            "Give more minutes, or fewer slices of each case (--max-slices). What was encoded stays."
        )


def _reference(engine: SliceEngine) -> ReferencePrompts:
    """Prompts on other images; none where the base is not the one that they were made with."""
    network, known = network_of(engine), load_reference()
    width = feature_width(network.prompt_encoder.embed_dim, network.early_channels)
    return known if known.features.shape[1] == width else none_known(width)


def _check_classes(classes: Sequence[str], how: Collecting) -> None:
    if how.automatic and len(classes) > 1:
        raise TrainingError(
            f"Without a prompt an expert finds one class, but the cases hold {len(classes)}: {', '.join(classes[:5])}. "
            "Choose one with --class, or teach without --automatic."
        )


def _check_arguments(name: str, minutes: float | None, epochs: int | None) -> None:
    if not is_name(name) or name in RESERVED_NAMES:
        raise TrainingError(
            f"{name!r} cannot be the name of an expert: lower-case letters, digits and hyphens are allowed, and words "
            "such as 'base' are taken."
        )
    if (minutes is not None and minutes <= 0) or (epochs is not None and epochs < 1):
        raise TrainingError("An expert needs some time: give more than 0 minutes, or 1 epoch or more.")


def _plan(plan: Plan, minutes: float | None, epochs: int | None, seed: int) -> Plan:
    if minutes is None and epochs is None:
        epochs = DEFAULT_EPOCHS
    return dataclasses.replace(plan, minutes=minutes, epochs=epochs, seed=seed)


def teaching_folder(cache: Path | None) -> Path:
    """Where embeddings and checkpoints lie; the folder is made.

    Raises:
        OutputError: it cannot be made.
    """
    folder = models_home() / "teaching" if cache is None else cache
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {folder} cannot be made ({error.strerror}). Choose another with --cache."
        ) from error
    return folder


def _identity(
    engine: SliceEngine, name: str, samples: Sequence[Sample], probes: Sequence[Probe], start: ExpertPack | Path | None
) -> str:
    """Hash of everything that a run learns from.

    With a time limit how many samples there are depends on the machine, so they do not count.
    """
    digest = hashlib.sha256(f"{engine.model.encoder_id}|{name}".encode())
    for sample in samples:
        digest.update(f"{sample.embedding}|{sample.structure}|{sample.dataset}|{sample.automatic}".encode())
        digest.update(sample.packed.tobytes())
    for probe in probes:
        digest.update(probe.volume.content_id.encode())
        digest.update(probe.mask.tobytes())
    if isinstance(start, Path):
        digest.update(start.read_bytes())
    elif start is not None:
        for value in start.state_dict().values():
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
