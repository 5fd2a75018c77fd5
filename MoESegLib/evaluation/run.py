"""One run: several engines answer the same simulated users on the same images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.cancel import CancelToken, ProgressCallback
from ..core.errors import PromptError
from ..engines.cache import EngineCache
from ..engines.protocol import Context
from ..engines.sam_med3d_moe import specialist_in
from .contestants import Contestant, in_volumes
from .datasets import LabeledCase
from .metrics import dice, surface_dice
from .protocols import Answer, Protocol, answers
from .targets import Target, labeled_slices, labeled_volume, refuse_pictures, targets_on


@dataclass(frozen=True)
class Plan:
    """What is asked for.

    Attributes:
        least_pixels: structures smaller than this on a slice (or in voxels, in a volume) are left out.
        max_slices: for engines of slices: of each case, evenly spaced over those with targets; None for all.
        max_objects: of each slice or volume of a map of objects (cells), evenly drawn.
        tolerance: of the NSD, in millimeters, or in pixels for pictures.
    """

    protocols: tuple[Protocol, ...]
    least_pixels: int = 100
    max_slices: int | None = None
    max_objects: int | None = 20
    tolerance: float = 2.0


@dataclass(frozen=True)
class Score:
    """How good one answer is: one line of ``scores.csv``.

    Attributes:
        engine, dataset, protocol: who was asked, where, and how.
        click: number of prompts so far, from 1.
        case, patient, structure, instance, slice: of what; the instance is 0 in a map of classes, the slice None in a
            volume.
        pixels: of the reference, or voxels.
        dice, nsd: 0 to 1; 0 when the engine refused.
        expert: who answered, "base" for the base model, "" when the engine refused.
        same_mask: the answer to the first prompt is that of the first engine to the last voxel; None for that engine.
        same_base: the same of what the base model says in this engine; None where it does not tell.
        refusal: why there is no answer.
    """

    engine: str
    dataset: str
    protocol: str
    click: int
    case: str
    patient: str
    structure: str
    instance: int
    slice: int | None
    pixels: int
    dice: float
    nsd: float
    expert: str
    same_mask: bool | None = None
    same_base: bool | None = None
    refusal: str = ""

    @property
    def key(self) -> tuple:
        """Equal for the answers of several engines to the same question."""
        return self.dataset, self.case, self.slice, self.structure, self.instance, self.protocol, self.click

    @property
    def pack(self) -> str:
        """The pack of experts or the specialist that answered, alone or joined with the base, or "base"."""
        pack = self.expert.partition("/")[0]
        return specialist_in(pack) or pack


def evaluate(
    contestants: Sequence[Contestant],
    cases: Sequence[LabeledCase],
    plan: Plan,
    cache: EngineCache | None = None,
    on_scores: Callable[[Sequence[Score]], None] | None = None,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> list[Score]:
    """Ask every engine for every structure of every image under each protocol.

    Engines of slices are asked slice by slice, engines for volumes volume by volume. Each image is encoded once for all
    engines that share an encoder, since the keys of the cache hold its identity. One case is in memory at a time.

    Args:
        cache: embeddings of earlier runs.
        on_scores: given the scores of each slice or volume as soon as they are there.
        progress: told the finished fraction.

    Raises:
        PromptError: engines of both kinds are to be compared, or slices chosen for engines for volumes.
        VolumeError, GeometryError: a case cannot be read, or is a 2D image and the engines are for volumes.
        Cancelled: ``cancel`` was set.
    """
    context = Context(cache=cache or EngineCache(), cancel=cancel or CancelToken())
    scores: list[Score] = []
    volumes = in_volumes(contestants)
    if volumes:
        refuse_pictures(cases)
        if plan.max_slices is not None:
            raise PromptError("Engines for volumes answer whole volumes. Leave --max-slices out.")
    for number, case in enumerate(cases):
        if volumes:
            images = labeled_volume(case, plan.least_pixels)
        else:
            images = labeled_slices(case, plan.least_pixels, plan.max_slices)
        for done, (image, numbers) in enumerate(images):
            if progress is not None:
                progress((number + done / len(images)) / len(cases), f"{case.dataset}: {case.name}")
            context.cancel.check()
            targets = targets_on(image, numbers, plan.least_pixels, plan.max_objects)
            fresh = [
                score
                for protocol in plan.protocols
                for target in protocol.targets(targets)
                for score in _compare(contestants, target, protocol, plan.tolerance, context)
            ]
            scores += fresh
            if on_scores is not None:
                on_scores(fresh)
    return scores


def _compare(
    contestants: Sequence[Contestant], target: Target, protocol: Protocol, tolerance: float, context: Context
) -> Iterator[Score]:
    """The scores of all engines for one target; the others are held against the first answer of the first one."""
    reference: Answer | None = None
    for number, contestant in enumerate(contestants):
        context.cancel.check()
        if protocol.prompt_kind not in (None, *contestant.engine.understands):
            found = _not_understood(contestant, target, protocol)
        else:
            asked = dataclasses.replace(context, extent=target.image.extent, expert=contestant.expert)
            found = answers(contestant.engine, target, protocol, asked, number > 0 and bool(contestant.packs))
        for click, answer in enumerate(found, 1):
            held_against = reference if number and click == 1 else None
            yield _score(contestant, target, protocol, click, answer, held_against, tolerance)
            if number == 0 and click == 1 and not answer.refusal:
                reference = answer


def _not_understood(contestant: Contestant, target: Target, protocol: Protocol) -> Iterator[Answer]:
    reason = f"does not understand {protocol.prompt_kind} prompts"
    for _ in range(protocol.steps):
        yield Answer(np.zeros_like(target.mask), refusal=reason)


def _score(
    contestant: Contestant,
    target: Target,
    protocol: Protocol,
    click: int,
    answer: Answer,
    reference: Answer | None,
    tolerance: float,
) -> Score:
    case = target.image.case
    return Score(
        engine=contestant.label,
        dataset=case.dataset,
        protocol=protocol.name,
        click=click,
        case=case.name,
        patient=case.group,
        structure=target.structure,
        instance=target.instance,
        slice=target.image.index,
        pixels=int(np.count_nonzero(target.mask)),
        dice=dice(answer.mask, target.mask),
        nsd=surface_dice(answer.mask, target.mask, tolerance, target.image.spacing),
        expert=answer.expert,
        same_mask=None if reference is None or answer.refusal else _same(answer.mask, reference),
        same_base=None if reference is None or answer.base is None else _same(answer.base, reference),
        refusal=answer.refusal,
    )


def _same(mask: NDArray[np.bool_], reference: Answer) -> bool:
    return bool(np.array_equal(mask, reference.mask))
