"""Which packs of experts see a prompt in which form, and whose answer counts: one gate over the base and all packs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .protocol import ExpertLogits, ModelPrompt

BASE = "base"
BASE_KINDS = frozenset({"box"})


@dataclass(frozen=True, eq=False)
class View:
    """A prompt in a form that some answer.

    Attributes:
        as_given: by pack that answers it (and :data:`BASE`): False where clicks or a mask had to become something else.
    """

    prompt: ModelPrompt
    as_given: dict[str, bool]


@dataclass(frozen=True, eq=False)
class PackAnswer:
    """What one pack, or the base, says.

    Attributes:
        experts: the one chosen inside the pack first.
        quality: its predicted IoU as it comes from the network, not cut to [0, 1].
        as_given: whether it saw the prompt as it was given.
    """

    experts: list[ExpertLogits]
    quality: float
    as_given: bool


def views_of(prompt: ModelPrompt, kinds: Mapping[str, frozenset[str]]) -> list[View]:
    """The forms of a prompt that the base and the packs understand; equal forms are one view.

    The base gets what it was trained on, a box, so that its answer is that of the base model without experts.

    Args:
        kinds: by pack, the kinds of prompts it was trained for.
    """
    found: dict[bytes, View] = {}
    for name, understood in {BASE: BASE_KINDS, **kinds}.items():
        seen, as_given = _seen_by(prompt, understood)
        found.setdefault(seen.key, View(seen, {})).as_given[name] = as_given
    return list(found.values())


def order_answers(answers: Mapping[str, PackAnswer], expert: str | None) -> tuple[ExpertLogits, ...]:
    """All answers, the one that counts first.

    The highest predicted IoU counts: it is in the same unit for every pack and the base, which the gate logits of packs
    taught apart are not. Who saw the prompt as it was given goes before who saw a box made from it, since the quality
    of a mask in a box says nothing about the box. The base comes last, so it answers only if it is better than every
    pack.

    Args:
        answers: by pack, the base last.
        expert: its answer counts, whatever the gate says, if it is there.
    """
    everyone = [entry for answer in answers.values() for entry in answer.experts]
    named = next((entry for entry in everyone if entry.expert == expert), None)
    if named is None and expert is not None:
        named = answers[BASE].experts[0]
    if named is None:
        candidates = [answer for answer in answers.values() if answer.as_given] or list(answers.values())
        named = max(candidates, key=lambda answer: answer.quality).experts[0]
    pack = next(answer.experts for answer in answers.values() if any(entry is named for entry in answer.experts))
    return (named, *_without(named, pack), *_without(named, [entry for entry in everyone if entry not in pack]))


def _without(one: ExpertLogits, entries: Sequence[ExpertLogits]) -> list[ExpertLogits]:
    return [entry for entry in entries if entry is not one]


def _seen_by(prompt: ModelPrompt, kinds: frozenset[str]) -> tuple[ModelPrompt, bool]:
    """A prompt as someone sees it who understands these kinds, and whether nothing had to become a box."""
    has_points, has_mask = len(prompt.points) > 0, prompt.logits is not None
    if has_points and "point" in kinds or not has_points and prompt.box is not None:
        # The earlier answer is left out for those who do not take it; the prompts themselves are all there.
        return (prompt if "mask" in kinds else dataclasses.replace(prompt, logits=None)), True
    if has_mask and not has_points and "mask" in kinds:
        return prompt, True
    box = prompt.box_alone() if prompt.box_alone is not None else None
    return prompt if box is None else ModelPrompt(box=box, expert=prompt.expert), False
