"""Everything the panel does, without the panel: choose nodes and a model, place prompts, accept, measure.

A script, a notebook or a test drives the same object::

    workbench = Workbench(slicer.mrmlScene)
    workbench.select(volume_node, model="lite-medsam")
    workbench.finish()  # until the model is loaded
    liver = workbench.add_segment("liver")
    workbench.add(BoxPrompt(corner_a=..., corner_b=..., segment=liver))
    workbench.finish()
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import slicer

from ..core.errors import MoESegError, PromptError
from ..core.measure import LesionMeasures, table_csv
from ..core.prompts import AutomaticPrompt, Prompt, TextPrompt, WholeSlicePrompt
from ..core.results import Alternative, SegmentResult
from ..core.structures import Structure, find_structure
from ..engines.cache import EngineCache
from .answers import Answer, Update
from .lesion_list import LesionList
from .lesion_search import LesionSearch
from .model_library import ModelLibrary
from .organ_task import OrganTask
from .overlays import ChangesOverlay, ConfidenceOverlay
from .parameters import Parameters
from .scene_session import LESIONS, SceneSession
from .segmentations import create_segmentation, is_locked, segment_ids, segment_of
from .terminology import set_structure
from .thumbnails import thumbnail
from .views import is_placing, jump_to, slice_in_view, start_placing, stop_placing
from .writer import History, SegmentWriter

TOOLS = {
    "positive": "point+",
    "negative": "point-",
    "box": "box+",
    "scribble": "scribble+",
    "exclude": "scribble-",
    "lasso": "polygon+",
}
"""Tools that place markups, with the kind and sign of the prompt they make."""

_OVERWRITE = ("all", "visible", "none")  # in the order of vtkMRMLSegmentEditorNode's constants


class Workbench:
    """The panel's logic; belongs to the main thread.

    Args:
        scene: the MRML scene.
        node: the parameter node; by default one of its own.
        models: the model library.
        history: undo stack shared with the brush, see :class:`~MoESegLib.mrml.writer.SegmentWriter`.

    Attributes:
        search: looks for the lesions of a tumor type.
        lesions: measures, separates and refines lesions.
        organs: runs TotalSegmentator.
    """

    def __init__(
        self,
        scene: slicer.vtkMRMLScene,
        node: Any | None = None,
        models: ModelLibrary | None = None,
        history: History | None = None,
    ) -> None:
        self.scene = scene
        if node is None:
            node = scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "MoESeg")
        self.parameters = Parameters(node)
        self.models = models if models is not None else ModelLibrary()
        self.writer = SegmentWriter(scene, history)
        self.session: SceneSession | None = None
        self.answers: dict[str, Answer] = {}
        self.problem = ""
        self._changes = ChangesOverlay(scene)
        self._confidence = ConfidenceOverlay(scene)
        self._caches: dict[str, EngineCache] = {}
        self._refused: tuple | None = None
        self._open_for: tuple | None = None
        self._seen: tuple | None = None
        self.search = LesionSearch(self)
        self.lesions = LesionList(self)
        self.organs = OrganTask(self)

    # Choosing ----------------------------------------------------------------------------------------------------

    def select(
        self, volume: Any = None, segmentation: Any = None, model: str | None = None, extent: str | None = None
    ) -> None:
        """Choose what to work on; what is not given stays. A volume without a segmentation gets a new one.

        Raises:
            UnknownModelError: there is no such model.
        """
        if model is not None:
            self.parameters.model = self.models.card(model).name
        if extent is not None:
            self.parameters.extent = extent
        if volume is not None:
            self.parameters.volume = volume
        if segmentation is not None:
            self.parameters.segmentation = segmentation
        elif self.parameters.segmentation is None and self.parameters.volume is not None:
            self.parameters.segmentation = create_segmentation(self.scene, self.parameters.volume)
        self._follow()

    def why_not(self) -> str:
        """Why no prompt can be placed now, for tooltips; "" when one can."""
        if self.session is not None and not self.session.closed:
            return ""
        if self.parameters.volume is None:
            return "Choose an image first."
        return self.problem or self.models.why_not(self.parameters.model) or "Preparing ..."

    def _follow(self) -> None:
        """Open, keep or close the session, as the parameters say."""
        wanted = (self.parameters.volume, self.parameters.segmentation, self.parameters.model, self.parameters.extent)
        if self.session is not None:
            if self._open_for == wanted and not self.session.closed:
                self.session.auto_run = self.parameters.auto_run
                return
            self._close_session()
        volume, segmentation, model, extent = wanted
        if volume is None or segmentation is None:
            self.problem = ""
            return
        engine = self.models.engine(model)
        if engine is None or self._refused == (*wanted, _changes_of(volume, segmentation)):
            return
        cache = self._caches.setdefault(volume.GetID(), EngineCache())
        try:
            self.session = SceneSession(self.writer, volume, segmentation, engine, extent, cache=cache)  # type: ignore[arg-type]
        except MoESegError as error:
            self.problem, self._refused = str(error), (*wanted, _changes_of(volume, segmentation))
            return
        self.problem, self._refused, self._open_for = "", None, wanted
        self.session.auto_run = self.parameters.auto_run

    def _close_session(self) -> None:
        if self.session is not None:
            self.session.close()
        self.session = None
        self.answers.clear()
        self.hide_overlays()

    def close(self) -> None:
        """Stop all work; the scene keeps prompts and voxels."""
        self._close_session()
        self.lesions.close()
        self.organs.cancel()
        self.stop_tool()

    # Segments and prompts ----------------------------------------------------------------------------------------

    def ready(self) -> SceneSession:
        """The session.

        Raises:
            MoESegError: there is none yet; the message says why.
        """
        self._follow()
        if self.session is None:
            raise MoESegError(self.why_not())
        return self.session

    def add_segment(self, name: str = "") -> str:
        """A new segment, with code and color where the name is a known structure; returns its ID and selects it.

        Raises:
            MoESegError: no segmentation is chosen.
        """
        segmentation = self.parameters.segmentation
        if segmentation is None:
            raise MoESegError("Choose an image first; a segmentation is then made for it.")
        segment_id = str(segmentation.GetSegmentation().AddEmptySegment("", name))
        structure = find_structure(name) if name else None
        if structure is not None:
            set_structure(segment_of(segmentation, segment_id), structure)
        self.select_segment(segment_id)
        return segment_id

    def select_segment(self, segment_id: str) -> None:
        """Make a segment the one that prompts, brush and answers belong to, and show its prompts alone."""
        self.parameters.segment = segment_id
        self.writer.editor_node().SetSelectedSegmentID(segment_id)
        if self.session is not None and not self.session.closed:
            self.session.nodes.show_only((segment_id, LESIONS))
        self.show_overlays()

    def set_structure(self, segment_id: str, structure: Structure) -> None:
        """Name, color and code a segment as a known structure."""
        set_structure(segment_of(self.parameters.segmentation, segment_id), structure, rename=True)

    def selected_segment(self) -> str:
        """The selected segment, or a new one when there is none."""
        segmentation = self.parameters.segmentation
        if segmentation is not None and self.parameters.segment in segment_ids(segmentation):
            return self.parameters.segment
        return self.add_segment()

    def add(self, prompt: Prompt) -> str:
        """Add a prompt; returns its ID. See :meth:`SceneSession.add`.

        Raises:
            MoESegError: no session yet, or the prompt is refused; nothing changed.
        """
        return self.ready().add(prompt)

    def add_text(self, phrase: str) -> str:
        """Prompt with a phrase: on the selected segment, or on a new one that gets the phrase's name and code.

        With the extent "slice" it speaks of the slice under the mouse, or the one that the first visible slice view
        shows; else of the whole volume.

        Raises:
            PromptError: the model does not understand text, or no view shows a slice of the image.
            MoESegError: no session yet.
        """
        session = self.ready()
        if "text" not in session.engine.understands:
            raise PromptError(
                f"{self.models.card(self.parameters.model).title} does not understand text. Choose a model whose card "
                "lists text, or name the segment and click on it."
            )
        prompt_id = self._add_whole_slice(session, TextPrompt(text=phrase), phrase)
        structure = find_structure(phrase)
        if structure is not None:
            self.set_structure(self.parameters.segment, structure)
        return prompt_id

    def add_automatic(self) -> str:
        """Segment what an expert was taught to find, without any other prompt; which slices, as :meth:`add_text` says.

        Raises:
            PromptError: the model has no such expert, or no view shows a slice of the image.
            MoESegError: no session yet.
        """
        return self._add_whole_slice(self.ready(), AutomaticPrompt(), "")

    def _add_whole_slice(self, session: SceneSession, prompt: WholeSlicePrompt, name: str) -> str:
        """Add a prompt of the seen slice or the whole volume to the selected segment, or to a new one of that name."""
        prompt = self.whole_slice(session, prompt)
        chosen = self.parameters.segment in segment_ids(session.segmentation)
        if not chosen:  # refused before a segment is made for it
            session.engine.check(session.volume, (prompt,), session.extent)
        segment_id = self.parameters.segment if chosen else self.add_segment(name)
        return session.add(dataclasses.replace(prompt, segment=segment_id))

    def whole_slice(self, session: SceneSession, prompt: WholeSlicePrompt) -> WholeSlicePrompt:
        """The prompt about the slice in view where the extent is "slice", else as it is.

        Raises:
            PromptError: no view shows a slice of the image.
        """
        if session.extent == "volume" or session.volume.size[session.volume.acquisition_axis] == 1:
            return prompt
        seen = slice_in_view(self.scene, session.volume)
        if seen is None:
            raise PromptError("No slice view shows the image. Scroll to a slice of it, or choose the whole volume.")
        return dataclasses.replace(prompt, ras=seen[0], plane=seen[1])

    def start_tool(self, tool: str) -> None:
        """Let the next clicks in the views place prompts; see :data:`TOOLS`.

        Raises:
            MoESegError: no session yet.
        """
        session = self.ready()
        kind = TOOLS[tool]
        lesions = self.parameters.lesions and tool == "positive"
        segment_id = LESIONS if lesions else self.selected_segment()
        name = "New lesions" if lesions else segment_of(session.segmentation, segment_id).GetName()
        node = session.nodes.new_node(segment_id, name, kind)
        start_placing(self.scene, node, persistent=kind.startswith("point"))

    def stop_tool(self) -> None:
        """Back to ordinary clicks."""
        stop_placing(self.scene)
        if self.session is not None and not self.session.closed:
            self.session.nodes.remove_unused()

    def jump_to(self, prompt: Prompt) -> None:
        """Show a prompt in the slice views."""
        if prompt.ras_points:
            points = prompt.ras_points
            jump_to(self.scene, tuple(sum(p[axis] for p in points) / len(points) for axis in range(3)))  # type: ignore[arg-type]

    # Running -----------------------------------------------------------------------------------------------------

    def pump(self) -> Update:
        """Call it from a timer: takes answers, user edits, downloads and loaded models."""
        messages = self.models.pump()
        if self.session is not None and self.session.closed:
            self._close_session()
        self._follow()
        messages += self.lesions.pump()
        update = self.session.pump() if self.session is not None else Update()
        self._encode_what_is_seen()
        update.messages = [*messages, *self.organs.pump(), *update.messages]
        self.answers.update(update.answers)
        if update.answers or update.prompts_changed:
            self.select_segment(self.parameters.segment)
        return update

    def _encode_what_is_seen(self) -> None:
        """Encode the slice the user looks at in the background, so that a first click only runs the decoder."""
        if self.session is None or self.session.closed or self.session.is_running:
            return
        seen = slice_in_view(self.scene, self.session.volume)
        if seen is not None and (self.session, seen) != self._seen:
            self._seen = self.session, seen
            self.session.focus(*seen)

    def finish(self, timeout: float = 60.0) -> Update:
        """Pump until nothing runs, for scripts; returns everything that came.

        Raises:
            TimeoutError: it still runs.
        """
        total, deadline = Update(), time.monotonic() + timeout
        while True:
            busy = self.is_busy
            update = self.pump()
            total.answers.update(update.answers)
            total.messages += update.messages
            if not busy and not update.answers and not self.is_busy:
                return total
            if time.monotonic() > deadline:
                raise TimeoutError(f"Still running after {timeout:.0f} s.")
            time.sleep(0.005)

    @property
    def is_busy(self) -> bool:
        """Whether something is downloaded, loaded or predicted."""
        running = self.session is not None and self.session.is_running
        return running or self.models.progress is not None or self.organs.progress is not None

    @property
    def progress(self) -> tuple[float, str] | None:
        """Fraction (-1: not known) and message of what runs, or None."""
        if self.models.progress is not None:
            return self.models.progress
        if self.organs.progress is not None:
            return self.organs.progress
        if self.session is not None and self.session.is_running:
            return self.session.progress or (-1.0, "Segmenting ...")
        return None

    def cancel(self) -> None:
        """Stop what runs."""
        self.models.cancel_getting()
        self.organs.cancel()
        if self.session is not None:
            self.session.cancel()

    @property
    def overwrite_mode(self) -> str:
        """What a mask does where it meets other segments: "all", "visible" (segments are overwritten) or "none"."""
        return _OVERWRITE[self.writer.editor_node().GetOverwriteMode()]

    @overwrite_mode.setter
    def overwrite_mode(self, mode: str) -> None:
        self.writer.editor_node().SetOverwriteMode(_OVERWRITE.index(mode))

    def drop_engine(self) -> None:
        """Close the session, because its model was removed; prompts and voxels stay in the scene."""
        self._close_session()

    # Looking -----------------------------------------------------------------------------------------------------

    def is_locked(self, segment_id: str) -> bool:
        """Whether a segment is accepted."""
        return is_locked(segment_of(self.parameters.segmentation, segment_id))

    def is_placing(self) -> bool:
        """Whether the next click in a view places something."""
        return is_placing(self.scene)

    def thumbnail(self, answer: Answer, alternative: Alternative) -> bytes:
        """A PNG of what another expert would answer, on the slice of the last prompt; empty without a session."""
        if self.session is None or self.session.closed:
            return b""
        prompts = self.session.safe_prompts(answer.segment)
        return thumbnail(self.session.volume, alternative.patch, prompts[-1] if prompts else None)

    def result(self, segment_id: str) -> SegmentResult | None:
        """The last answer for a segment in this session."""
        answer = self.answers.get(segment_id)
        return answer.result if answer is not None else None

    def show_overlays(self) -> None:
        """Draw or remove the overlays for the selected segment, as the parameters say."""
        answer = self.answers.get(self.parameters.segment)
        volume = self.parameters.volume
        if answer is None or volume is None:
            self.hide_overlays()
            return
        if self.parameters.show_changes:
            self._changes.show(volume, answer.before, answer.result.prediction.patch)
        else:
            self._changes.hide()
        probability = answer.result.prediction.probability
        if self.parameters.show_confidence and probability is not None:
            self._confidence.show(volume, probability)
        else:
            self._confidence.hide()

    def hide_overlays(self) -> None:
        """Remove both overlays."""
        self._changes.hide()
        self._confidence.hide()

    def lesion_table(self) -> list[tuple[str, LesionMeasures]]:
        """Name and measures of every lesion, in the order of :meth:`.LesionList.lesions`."""
        return [(lesion.name, lesion.measures) for lesion in self.lesions.lesions()]

    def lesion_csv(self) -> str:
        """The lesion table as comma-separated values."""
        return table_csv((lesion.name, lesion.measures, lesion.certainty) for lesion in self.lesions.lesions())


def _changes_of(volume: Any, segmentation: Any) -> tuple[int, ...]:
    """Differs after anything changed that may have been the reason why the two did not go together."""
    parents = [node.GetParentTransformNode() for node in (volume, segmentation)]
    changed = [volume, segmentation, segmentation.GetSegmentation(), *(parent for parent in parents if parent)]
    return tuple(int(item.GetMTime()) for item in changed)
