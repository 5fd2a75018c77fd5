"""Looking for the lesions of a tumor type in the scene's image, guided by organs of the scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from ..core.errors import MoESegError, PromptError
from ..core.organs import Organ, organ_named, organ_of_id, side_of
from ..core.prompts import BoxPrompt, MaskPrompt, Prompt, TextPrompt
from ..core.tumors import TumorBook, TumorMatch, tumor_records
from .anatomy_sources import anatomy_prompts, organ_prompt, organs_of
from .answer_writer import prompt_of
from .edits import Edit
from .scene_session import LESIONS, SceneSession
from .segmentations import is_locked, segment_ids, segment_of, segment_patch
from .terminology import set_structure

if TYPE_CHECKING:
    from ..engines.mast_pro import MastProEngine
    from .workbench import Workbench


@dataclass(frozen=True)
class Needs:
    """What a search needs and has.

    Attributes:
        problem: why there can be none, or "".
        tumor: what the phrase means, with its side.
        there: organs of the tumor that are known, with the number of their segments.
        missing: organs that are not.
        locked: of those that are there, segments that are accepted in the segmentation that lesions would go into: they
            keep their voxels, so that no lesion can be written there.
        organs: names that a painted organ can have.
    """

    problem: str = ""
    tumor: str = ""
    there: tuple[tuple[str, int], ...] = ()
    missing: tuple[str, ...] = ()
    locked: tuple[str, ...] = ()
    organs: tuple[str, ...] = ()


class LesionSearch:
    """Turns a phrase and organs of the scene into prompts of one segment, so that one step back takes a search back.

    Args:
        workbench: chooses volume, segmentation and model.

    Attributes:
        refusal: why the last search was refused, for the answer card; "" when it was not.
    """

    def __init__(self, workbench: Workbench) -> None:
        self._workbench = workbench
        self.refusal = ""

    # Looking -----------------------------------------------------------------------------------------------------

    def is_model(self, name: str) -> bool:
        """Whether a model looks for lesions."""
        return self._workbench.models.card(name).architecture == "mast_pro"

    @property
    def is_chosen(self) -> bool:
        """Whether the chosen model looks for lesions."""
        return self.is_model(self._workbench.parameters.model)

    def stamp(self) -> object:
        """Differs after organs, or what a search needs of them, may have changed; cheap enough for a timer."""
        parameters = self._workbench.parameters
        nodes = [node for node in (parameters.anatomy, parameters.segmentation) if node is not None]
        return tuple(int(node.GetSegmentation().GetMTime()) for node in nodes) if self.is_chosen else ()

    def phrases(self) -> tuple[str, ...]:
        """Names of the tumors to choose from: those that the weights were taught, all while they are not loaded."""
        session = self._session()
        records = tumor_records() if session is None else _engine(session).records
        return tuple(record.name for record in records)

    def needs(self, phrase: str) -> Needs:
        """What a search for a phrase needs, and what of it is there. Reads no voxels."""
        session = self._session()
        if session is None:
            return Needs(self._workbench.why_not())
        try:
            session.engine.check(session.volume, (TextPrompt(phrase),), session.extent)
            match = _engine(session).book.find(phrase)
        except MoESegError as error:
            return Needs(str(error))
        return self._needs_of(match)

    def outlook(self, phrase: str) -> Needs:
        """As :meth:`needs`, before the model is chosen: what the image must be, and phrases that only the text model
        understands, are looked at by the search itself."""
        try:
            return self._needs_of(_book().find(phrase))
        except MoESegError as error:
            return Needs(str(error))

    def _needs_of(self, match: TumorMatch) -> Needs:
        given = self._organs_there(match)
        organs = [organ_of_id(organ_id) for organ_id in match.record.organs]
        counts = [(organ, sum(organ.id == found for found, _ in given)) for organ in organs]
        return Needs(
            tumor=f"{match.side} {match.record.name}".strip(),
            there=tuple((organ.name, count) for organ, count in counts if count),
            missing=tuple(organ.name for organ, count in counts if not count),
            locked=tuple(name for _, name in given if name),
            organs=tuple(
                f"{side} {organ.name}".strip()
                for organ in organs
                for side in ((match.side,) if match.side else organ.sides or ("",))
            ),
        )

    def _organs_there(self, match: TumorMatch) -> list[tuple[str, str]]:
        """Organ and, if it is locked where lesions are written, name of every segment that guides the search."""
        parameters, found = self._workbench.parameters, []
        places: list[tuple[Any, str, Organ, str]] = []
        if parameters.anatomy is not None:
            places += [(parameters.anatomy, *one) for one in organs_of(parameters.anatomy)]
        painted = organ_named(parameters.organ) if self._is_painted() else None
        if painted is not None:
            places.append((parameters.segmentation, parameters.organ_segment, painted, parameters.organ))
        for segmentation, segment_id, organ, name in places:
            if organ.id in match.record.organs and (not match.side or side_of(name) in ("", match.side)):
                segment = segment_of(segmentation, segment_id)
                is_kept = segmentation is parameters.segmentation and is_locked(segment)
                found.append((organ.id, str(segment.GetName()) if is_kept else ""))
        return found

    # Searching ---------------------------------------------------------------------------------------------------

    def find(self, phrase: str) -> tuple[str, ...]:
        """Look for a phrase with the chosen organs, in one segment a tumor; returns what there is to say before.

        With the extent "slice" it looks on the slice in view, and adds to what was found on others.

        Raises:
            MoESegError: no session yet, or the search is refused; nothing changed. :attr:`refusal` says it, too.
        """
        self.refusal = ""
        try:
            return self._find(self._workbench.ready(), phrase)
        except MoESegError as error:
            self.refusal = str(error)
            raise

    def _find(self, session: SceneSession, phrase: str) -> tuple[str, ...]:
        if not self.is_chosen:
            raise PromptError("The chosen model does not look for lesions. Choose MAST-Pro.")
        asked = cast(TextPrompt, self._workbench.whole_slice(session, TextPrompt(phrase)))
        session.engine.check(session.volume, (asked,), session.extent)
        match = _engine(session).book.find(phrase)
        segment_id = self._segment_for(session, match)
        before = session.prompts(segment_id) if segment_id != LESIONS else ()
        organs, notes = self._organs(segment_id)
        boxes = [old for old in before if isinstance(old, BoxPrompt)]
        known = {old.content: old for old in before}  # what stays keeps its ID, so that the same asks the same
        wanted = [prompt_of(prompt, segment_id) for prompt in (*_phrases(asked, before), *organs, *boxes)]
        prompts = tuple(known.get(prompt.content, prompt) for prompt in wanted)
        if before and set(prompts) == set(before):
            self._repeat(session, segment_id, match)
        elif segment_id == LESIONS:
            session.edit(Edit(LESIONS, prompts, prepare=lambda: self._new_segment(match)))
        else:
            session.edit(Edit(segment_id, prompts))
            self._name(segment_id, match)
            self._workbench.select_segment(segment_id)
        return notes

    def _repeat(self, session: SceneSession, segment_id: str, match: TumorMatch) -> None:
        """Look again where a search was cancelled or failed; what is answered is not answered anew."""
        if session.is_settled(segment_id):
            raise PromptError(
                f"A {match.record.name} was looked for with these organs already. What was erased since comes back "
                "with Undo; to look again, change phrase, organs or box."
            )
        self._workbench.select_segment(segment_id)
        session.retry()

    def _organs(self, segment_id: str) -> tuple[list[MaskPrompt], tuple[str, ...]]:
        """All organs that are known: the model sees neighbors too, and without the tumor's own it must not guess."""
        parameters = self._workbench.parameters
        prompts: list[MaskPrompt] = []
        notes: tuple[str, ...] = ()
        if parameters.anatomy is not None:
            prompts, notes = anatomy_prompts(parameters.anatomy, segment=segment_id)
        if self._is_painted():
            painted = organ_prompt(parameters.segmentation, parameters.organ_segment, parameters.organ, segment_id)
            if painted is None:
                notes = (*notes, "The segment that was painted as an organ is empty, so it is not used.")
            else:
                prompts.append(painted)
        return prompts, notes

    def _is_painted(self) -> bool:
        """Whether a segment was chosen as a painted organ."""
        parameters = self._workbench.parameters
        known = parameters.segmentation is not None and parameters.organ_segment in segment_ids(parameters.segmentation)
        return known and parameters.organ != ""

    def _segment_for(self, session: SceneSession, match: TumorMatch) -> str:
        """The segment of an earlier search for the same, else the selected one if it is blank, else a new one."""
        selected = self._workbench.parameters.segment
        ids = sorted(segment_ids(session.segmentation), key=lambda key: key != selected)
        for segment_id in ids:
            if not is_locked(segment_of(session.segmentation, segment_id)) and _seeks(session, segment_id, match):
                return segment_id
        is_free = selected in ids and not is_locked(segment_of(session.segmentation, selected))
        if is_free and not session.prompts(selected) and segment_patch(session.segmentation, selected).count == 0:
            return selected
        return LESIONS

    def _new_segment(self, match: TumorMatch) -> str:
        segment_id = self._workbench.add_segment(match.record.name)
        self._name(segment_id, match)
        return segment_id

    def _name(self, segment_id: str, match: TumorMatch) -> None:
        segment = segment_of(self._workbench.parameters.segmentation, segment_id)
        set_structure(segment, match.record.structure(match.side), rename=True)

    def _session(self) -> SceneSession | None:
        """The session, if its model looks for lesions."""
        session = self._workbench.session
        return session if session is not None and not session.closed and self.is_chosen else None


@cache
def _book() -> TumorBook:
    return TumorBook.load()


def _engine(session: SceneSession) -> MastProEngine:
    return cast("MastProEngine", session.engine)


def _seeks(session: SceneSession, segment_id: str, match: TumorMatch) -> bool:
    """Whether the phrases of a segment mean the same tumor on the same side."""
    phrases = [prompt for prompt in session.safe_prompts(segment_id) if isinstance(prompt, TextPrompt)]
    try:
        found = [_engine(session).book.find(prompt.text) for prompt in phrases]
    except PromptError:  # a structure that another model looked for
        return False
    return bool(found) and all((one.record.id, one.side) == (match.record.id, match.side) for one in found)


def _phrases(asked: TextPrompt, before: Sequence[Prompt]) -> list[TextPrompt]:
    """The phrase, and those of other slices where it speaks of one slice."""
    earlier = [prompt for prompt in before if isinstance(prompt, TextPrompt) and prompt.ras is not None]
    kept = [prompt for prompt in earlier if (prompt.ras, prompt.plane) != (asked.ras, asked.plane)]
    return [asked] if asked.ras is None else [*kept, asked]
