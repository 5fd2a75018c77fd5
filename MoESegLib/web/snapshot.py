"""The state of the work as plain data for the page. The page keeps nothing that is not here."""

from __future__ import annotations

from typing import Any

from ..core.prompts import MaskPrompt, Prompt
from ..mrml.model_library import ModelLibrary
from ..mrml.segmentations import segment_ids, segment_of, voxels_changed
from .desk import Case, Desk
from .dicom_seg import why_not
from .pictures import describe_volume


def snapshot(desk: Desk) -> dict[str, Any]:
    """Everything the page shows besides voxels."""
    case = desk.case
    if case is None:
        return {"case": None, "progress": _progress(desk.models.progress)}
    workbench, parameters = case.workbench, case.workbench.parameters
    session = workbench.session
    understands = sorted(session.engine.understands) if session is not None else []
    return {
        "case": case.number,
        "revision": case.revision,
        "indices": case.indices,
        "segments": segments(case),
        "selected": parameters.segment,
        "prompts": [describe_prompt(case, prompt) for prompt in prompts_of_selected(case)],
        "model": parameters.model,
        "why": workbench.why_not(),
        "understands": understands,
        "experts": experts(case),
        "expert": _expert(case),
        "answer": describe_answer(case),
        "extent": parameters.extent,
        "overlap": workbench.overwrite_mode,
        "changes": case.show_changes,
        "confidence": case.show_confidence,
        "canUndo": session is not None and session.can_undo,
        "canRedo": session is not None and session.can_redo,
        "unanswered": session is not None and not workbench.is_busy and session.has_unanswered(),
        "busy": workbench.is_busy,
        "progress": _progress(workbench.progress),
    }


def describe_case(case: Case) -> dict[str, Any]:
    """What does not change while an image is open."""
    return {"case": case.number, "noDicom": why_not(case.source), **describe_volume(case.volume, case.scale)}


def segments(case: Case) -> list[dict[str, Any]]:
    """The table of segments."""
    rows = []
    for segment_id in segment_ids(case.segmentation):
        segment = segment_of(case.segmentation, segment_id)
        rows.append(
            {
                "id": segment_id,
                "name": segment.GetName(),
                "color": [float(part) for part in segment.GetColor()],
                "visible": case.is_visible(segment_id),
                "locked": case.workbench.is_locked(segment_id),
                "milliliters": case.milliliters(segment_id),
                "stamp": voxels_changed(case.segmentation, segment_id),
            }
        )
    return rows


def prompts_of_selected(case: Case) -> tuple[Prompt, ...]:
    """The prompts of the selected segment."""
    session, segment_id = case.workbench.session, case.workbench.parameters.segment
    if session is None or session.closed or segment_id not in segment_ids(case.segmentation):
        return ()
    return session.safe_prompts(segment_id)


def describe_prompt(case: Case, prompt: Prompt) -> dict[str, Any]:
    """A prompt and where each view shows it: path in displayed pixels, and the first and last slice it lies in."""
    places = {}
    if prompt.ras_points:
        ijk = case.volume.ras_to_ijk(prompt.ras_points)
        for plane, view in case.views.items():
            along = ijk[:, view.axis]
            places[plane] = {
                "path": view.to_pixels(ijk).round(2).tolist(),
                "slices": [float(along.min()), float(along.max())],
            }
    return {
        "id": prompt.id,
        "kind": prompt.kind,
        "positive": getattr(prompt, "positive", True),
        "signed": hasattr(prompt, "positive"),
        "plane": prompt.plane,
        "text": getattr(prompt, "text", ""),
        "organ": _organ_of(prompt),
        "places": places,
    }


def _organ_of(prompt: Prompt) -> str:
    """The organ that a mask shows, "" for other prompts."""
    if isinstance(prompt, MaskPrompt) and prompt.role == "anatomy":
        return prompt.structure.replace("_", " ")
    return ""


def describe_models(models: ModelLibrary) -> list[dict[str, Any]]:
    """All models; looks for every file of weights (4 ms), so it is not part of every state."""
    return [describe_model(models, name) for name in models.names()]


def describe_model(models: ModelLibrary, name: str) -> dict[str, Any]:
    """A model and what the user must know before getting it."""
    card, weights = models.card(name), models.weights_card(name)
    local = weights.provider["kind"] == "local"
    return {
        "name": name,
        "title": card.title,
        "description": card.description,
        "notes": card.notes,
        "prompts": list(card.prompts),
        "dimension": card.dimension,
        "modalities": list(card.modalities),
        "state": models.state(name),
        "size": weights.size_text,
        "license": weights.license,
        "source": weights.source_url,
        "how": weights.provider["instructions"] if local else "",
        "measured": [f"{item.get('data', '')}: Dice {item.get('dice', '')}" for item in card.measured],
    }


def experts(case: Case) -> list[str]:
    """Experts that answered the selected segment or can be asked by name."""
    workbench = case.workbench
    result = workbench.result(workbench.parameters.segment)
    found: set[str] = set()
    if result is not None:
        found = {result.expert, *(alternative.expert for alternative in result.alternatives)}
    if workbench.session is not None and prompts_of_selected(case):
        found.update(workbench.models.expert_names(workbench.parameters.model))
    return sorted(found)


def describe_answer(case: Case) -> dict[str, Any] | None:
    """The answer card of the selected segment, None when there is no answer."""
    workbench = case.workbench
    answer = workbench.answers.get(workbench.parameters.segment)
    if answer is None:
        return None
    result = answer.result
    return {
        "title": workbench.models.card(workbench.parameters.model).title,
        "expert": result.expert,
        "confidence": result.confidence,
        "isSearch": workbench.search.is_chosen,
        "gate": result.gate_weight,
        "milliliters": answer.volume_ml,
        "added": answer.added,
        "removed": answer.removed,
        "seconds": result.seconds,
        "notes": list(result.notes),
        "hasProbability": result.prediction.probability is not None,
        "alternatives": [
            {"expert": other.expert, "confidence": other.confidence, "gate": other.gate_weight}
            for other in result.alternatives
        ],
    }


def alternative_picture(case: Case, segment_id: str, expert: str) -> bytes:
    """A PNG of what another expert would answer for a segment; empty when it is not known."""
    answer = case.workbench.answers.get(segment_id)
    if answer is None:
        return b""
    found = next((other for other in answer.result.alternatives if other.expert == expert), None)
    return case.workbench.thumbnail(answer, found) if found is not None else b""


def _expert(case: Case) -> str:
    session, segment_id = case.workbench.session, case.workbench.parameters.segment
    if session is None or session.closed or segment_id not in segment_ids(case.segmentation):
        return ""
    return session.expert_of(segment_id) or ""


def _progress(progress: tuple[float, str] | None) -> dict[str, Any] | None:
    return None if progress is None else {"fraction": progress[0], "text": progress[1]}
