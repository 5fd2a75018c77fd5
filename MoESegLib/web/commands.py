"""What the page may ask for: one function a command, from plain data to the workbench."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from ..core.errors import PromptError
from ..core.geometry import PLANES, Plane, Point
from ..core.prompts import BoxPrompt, PointPrompt, PolygonPrompt, Prompt, ScribblePrompt, as_point
from ..core.structures import find_structure
from ..core.volume import Volume
from ..mrml.segmentations import check_unlocked, segment_ids, segment_of
from .desk import Case, Desk

Message = Mapping[str, Any]
_MAX_POINTS = 4000


def run(desk: Desk, message: Message) -> None:
    """Do what a message of the page asks.

    Raises:
        PromptError: the message makes no sense.
        MoESegError: it cannot be done; the text says why.
    """
    command = COMMANDS.get(str(message.get("do")))
    if command is None:
        raise unknown(message.get("do"))
    try:
        case = desk.ready()
        command(case, message)
        case.log.note(message)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise PromptError(f"The page sent a damaged message ({message.get('do')}: {error}). Reload it.") from error


def unknown(action: object) -> PromptError:
    """The refusal of something that only the page of another version asks for."""
    return PromptError(f"The page asked for {action!r}, which this version does not know. Reload it.")


def points_of(volume: Volume, message: Message) -> tuple[tuple[Point, ...], Plane]:
    """Where the user clicked: RAS points from displayed pixels ``xy`` of slice ``index`` of a view, and its plane.

    Raises:
        PromptError: no such view or slice, or a number that is none.
    """
    plane = plane_of(message)
    view = volume.view(volume.axis_of(plane))
    index, pixels = int(message["index"]), [(float(x), float(y)) for x, y in message["xy"][:_MAX_POINTS]]
    if not 0 <= index < view.count or not pixels:
        raise PromptError(f"The view {plane} has no slice {index}.")
    ras = volume.to_ras(view.to_ijk(pixels, index))
    return tuple(as_point(point) for point in ras), plane


def plane_of(message: Message) -> Plane:
    """The view a message speaks of.

    Raises:
        PromptError: there is no such view.
    """
    for plane in PLANES:
        if plane == message.get("plane"):
            return plane
    raise PromptError(f"There is no view {message.get('plane')!r}.")


def prompt_of(volume: Volume, message: Message, segment: str) -> Prompt:
    """The prompt that the user drew.

    Raises:
        PromptError: it is no prompt.
    """
    points, plane = points_of(volume, message)
    kind, positive = message["kind"], bool(message.get("positive", True))
    if kind == "point":
        return PointPrompt(points[0], positive, segment=segment, plane=plane)
    if kind == "box" and len(points) == 2:
        return BoxPrompt(points[0], points[1], segment=segment, plane=plane)
    if kind == "scribble":
        return ScribblePrompt(points, positive, segment=segment, plane=plane)
    if kind == "polygon":
        return PolygonPrompt(points, segment=segment, plane=plane)
    raise PromptError(f"The page drew {kind!r} with {len(points)} points, which is no prompt.")


def moved_prompt(volume: Volume, prompt: Prompt, points: tuple[Point, ...], plane: Plane) -> Prompt:
    """A prompt that was dragged in a view: a point goes into that slice, a shape keeps its depth.

    Args:
        points: where the prompt's points are now, RAS, as many as it has.

    Raises:
        PromptError: it has no place, or another number of points.
    """
    if len(points) != len(prompt.ras_points):
        raise PromptError("That prompt cannot be moved; delete it and draw it again.")
    if isinstance(prompt, PointPrompt):
        return dataclasses.replace(prompt, ras=points[0], plane=plane)
    axis, ijk = volume.axis_of(plane), volume.ras_to_ijk(points)
    ijk[:, axis] = volume.ras_to_ijk(prompt.ras_points)[:, axis]
    placed = tuple(as_point(point) for point in volume.to_ras(ijk))
    if isinstance(prompt, BoxPrompt):
        return dataclasses.replace(prompt, corner_a=placed[0], corner_b=placed[1])
    if isinstance(prompt, ScribblePrompt | PolygonPrompt):
        return dataclasses.replace(prompt, points=placed)
    raise PromptError("That prompt cannot be moved; delete it and draw it again.")


def _prompt(case: Case, message: Message) -> None:
    session = case.workbench.ready()
    drawn = prompt_of(case.volume, message, "*")
    if case.workbench.parameters.lesions and isinstance(drawn, PointPrompt) and drawn.positive:
        session.add_lesion(drawn)
        return
    if case.workbench.parameters.segment not in segment_ids(case.segmentation):
        session.engine.check(session.volume, (drawn,), session.extent)  # refused before a segment is made for it
    case.workbench.add(dataclasses.replace(drawn, segment=case.workbench.selected_segment()))


def _text(case: Case, message: Message) -> None:
    case.workbench.add_text(str(message["text"])[:200])


def _automatic(case: Case, message: Message) -> None:
    case.workbench.add_automatic()


def _known_prompt(case: Case, message: Message) -> Prompt:
    prompts = case.workbench.ready().prompts(case.workbench.parameters.segment)
    found = next((prompt for prompt in prompts if prompt.id == message["id"]), None)
    if found is None:
        raise PromptError("That prompt is gone; it may have been undone.")
    return found


def _move_prompt(case: Case, message: Message) -> None:
    prompt = _known_prompt(case, message)
    points, plane = points_of(case.volume, message)
    moved = moved_prompt(case.volume, prompt, points, plane)
    case.workbench.ready().replace(prompt.segment, prompt.id, moved)


def _flip_prompt(case: Case, message: Message) -> None:
    prompt = _known_prompt(case, message)
    if isinstance(prompt, PointPrompt | ScribblePrompt):
        flipped = dataclasses.replace(prompt, positive=not prompt.positive)
        case.workbench.ready().replace(prompt.segment, prompt.id, flipped)


def _remove_prompt(case: Case, message: Message) -> None:
    prompt = _known_prompt(case, message)
    case.workbench.ready().remove(prompt.segment, prompt.id)


def _add_segment(case: Case, message: Message) -> None:
    case.workbench.add_segment(str(message.get("name", "")).strip()[:80])


def _rename_segment(case: Case, message: Message) -> None:
    name = str(message["name"]).strip()[:80]
    check_unlocked(case.segmentation, message["id"])
    structure = find_structure(name)
    if structure is not None:
        case.workbench.set_structure(message["id"], structure)
    if name:
        segment_of(case.segmentation, message["id"]).SetName(name)
    case.changed()


def _select_segment(case: Case, message: Message) -> None:
    segment_of(case.segmentation, message["id"])
    case.workbench.select_segment(message["id"])
    case.changed()


def _show_segment(case: Case, message: Message) -> None:
    segment_of(case.segmentation, message["id"])
    case.segmentation.GetDisplayNode().SetSegmentVisibility(message["id"], bool(message["on"]))
    case.changed()


def _remove_segment(case: Case, message: Message) -> None:
    session = case.workbench.ready()
    check_unlocked(case.segmentation, message["id"])
    session.writer.save_state()
    case.segmentation.GetSegmentation().RemoveSegment(message["id"])
    left = segment_ids(case.segmentation)
    if case.workbench.parameters.segment not in left:
        case.workbench.select_segment(left[-1] if left else "")
    case.changed()


def _undo(case: Case, message: Message) -> None:
    case.workbench.ready().undo()
    case.changed()


def _redo(case: Case, message: Message) -> None:
    case.workbench.ready().redo()
    case.changed()


def _accept(case: Case, message: Message) -> None:
    session, segment_id = case.workbench.ready(), case.workbench.parameters.segment
    segment_of(case.segmentation, segment_id)
    if case.workbench.is_locked(segment_id):
        session.reopen(segment_id)
    else:
        session.accept(segment_id)


def _model(case: Case, message: Message) -> None:
    case.workbench.select(model=str(message["name"]))


def _get_model(case: Case, message: Message) -> None:
    models = case.workbench.models
    name = models.card(str(message["name"])).name
    if models.state(name) == "missing" and models.weights_card(name).provider["kind"] != "local":
        models.get(name)


def _expert(case: Case, message: Message) -> None:
    case.workbench.ready().choose_expert(case.workbench.parameters.segment, str(message["name"]) or None)


def _extent(case: Case, message: Message) -> None:
    if message["value"] not in ("slice", "volume"):
        raise ValueError(message["value"])
    case.workbench.select(extent=message["value"])


def _overlap(case: Case, message: Message) -> None:
    case.workbench.overwrite_mode = message["value"]


def _overlays(case: Case, message: Message) -> None:
    case.show_changes, case.show_confidence = bool(message["changes"]), bool(message["confidence"])
    case.changed()


def _run(case: Case, message: Message) -> None:
    case.workbench.ready().retry()


def _cancel(case: Case, message: Message) -> None:
    case.workbench.cancel()


def _look(case: Case, message: Message) -> None:
    case.look(plane_of(message), int(message["index"]))
    if message.get("active"):
        case.point_at(plane_of(message))


COMMANDS: dict[str, Callable[[Case, Message], None]] = {
    "prompt": _prompt,
    "text": _text,
    "automatic": _automatic,
    "move_prompt": _move_prompt,
    "flip_prompt": _flip_prompt,
    "remove_prompt": _remove_prompt,
    "add_segment": _add_segment,
    "rename_segment": _rename_segment,
    "select_segment": _select_segment,
    "show_segment": _show_segment,
    "remove_segment": _remove_segment,
    "undo": _undo,
    "redo": _redo,
    "accept": _accept,
    "model": _model,
    "get_model": _get_model,
    "expert": _expert,
    "extent": _extent,
    "overlap": _overlap,
    "overlays": _overlays,
    "run": _run,
    "cancel": _cancel,
    "look": _look,
}
