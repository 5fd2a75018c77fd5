"""The panel as a whole: its parts, the timer, messages."""

import logging

import qt
import slicer
from slicer.i18n import tr as _

from .answer_view import AnswerView
from .experts_view import ExpertsView
from .lesion_view import LesionView
from .model_view import ModelView
from .prompt_view import PromptView
from .segments_view import SegmentsView
from .shortcuts import Shortcuts
from .teach_view import TeachView
from .tumor_view import TumorView


class Panel:
    """Holds the views together. Every action of the user goes through :meth:`run`."""

    def __init__(self, ui, logic, icon_folder):
        self.ui = ui
        self.logic = logic
        self.entered = False
        self._icons = icon_folder
        self.segments = SegmentsView(ui, self)
        self.models = ModelView(ui, self)
        self.prompts = PromptView(ui, self, self.icon)
        self.tumors = TumorView(ui, self)
        self.answers = AnswerView(ui, self, self.icon)
        self.lesions = LesionView(ui, self)
        self.experts = ExpertsView(ui, self)
        self.teaching = TeachView(ui, self)
        self._views = (
            self.segments,
            self.models,
            self.prompts,
            self.tumors,
            self.answers,
            self.lesions,
            self.experts,
            self.teaching,
        )
        self.shortcuts = Shortcuts(
            {
                **{name: lambda name=name: self.prompts.toggle(name) for name in ("positive", "negative", "box")},
                **{name: lambda name=name: self.prompts.toggle(name) for name in ("scribble", "lasso")},
                "text": self.focus_text,
                "automatic": self.prompts.onAutomatic,
                "accept": self.answers.onAccept,
                "undo": self.prompts.onUndo,
                "redo": self.prompts.onRedo,
            }
        )
        editor = ui.segmentEditor
        editor.segmentationNodeSelectorVisible = False
        editor.sourceVolumeNodeSelectorVisible = False
        editor.switchToSegmentationsButtonVisible = False

    # Life

    def enter(self):
        """The module was opened."""
        self.entered = True
        self.shortcuts.install()
        self.workbench.writer.copy_masking()
        self.ui.segmentEditor.setupViewObservations()
        if self.workbench.parameters.volume is None:
            node = self.ui.volumeSelector.currentNode()
            if node is not None:
                self.segments.onVolume(node)
        self.refresh()

    def exit(self):
        """The module was left."""
        self.shortcuts.remove()
        self.ui.segmentEditor.setActiveEffect(None)
        self.ui.segmentEditor.removeViewObservations()
        if self.logic.workbench is not None and self.entered:
            self.prompts.stop()
            self.workbench.hide_overlays()
            self.workbench.writer.copy_masking(to_segment_editor=True)
        self.entered = False

    def close(self):
        """The module is unloaded: nothing goes on."""
        self.teaching.close()

    def pump(self):
        """What the timer does."""
        if self.logic.workbench is None or slicer.mrmlScene.IsClosing() or slicer.mrmlScene.IsImporting():
            return
        update = self.workbench.pump()
        for message in update.messages:
            self.say(message)
        if update.answers and self.workbench.parameters.lesions:
            self.workbench.select_segment(list(update.answers)[-1])  # so that its answer and its prompt are shown
        self.lesions.pump(update)
        self.refresh_if_changed(bool(update.answers or update.prompts_changed or update.messages))
        self.show_progress()
        self.teaching.pump()

    # Doing

    @property
    def workbench(self):
        """The logic's workbench, opened when it is not."""
        return self.logic.workbench if self.logic.workbench is not None else self.logic.open()

    def run(self, action):
        """Do what the user asked; returns whether it worked. A refusal is said in the status line, not in a dialog."""
        from MoESegLib.core.errors import MoESegError

        self.say("")
        try:
            action()
        except MoESegError as error:
            self.say(str(error))
            self.refresh()
            return False
        self.refresh()
        return True

    def say(self, text):
        """Show a message at the bottom of the panel and in Slicer's status bar."""
        self.ui.statusLabel.text = text
        if text:
            logging.info(text)
            slicer.util.showStatusMessage(text, 5000)

    def install_dependencies(self):
        """Make sure that what the models need is installed, asking first; returns whether it is."""
        if not self.logic.missingDependencies():
            return True
        try:
            return self.logic.installDependencies()
        except RuntimeError as error:
            self.say(str(error))
            return False

    def select_segment(self, segment_id):
        """Make a segment the one that prompts and answers belong to."""
        self.workbench.select_segment(segment_id)
        if self.prompts.active:
            self.run(lambda: self.workbench.start_tool(self.prompts.active))
        self.refresh()

    def remove_model(self, name):
        """Delete a model; predictions that run are given up."""
        self.workbench.cancel()
        freed = self.workbench.models.remove(name)
        self.workbench.drop_engine()
        self.say(_("Removed; {size} MB are free again.").format(size=round(freed / 1e6)))

    def reload_experts(self):
        """Experts were added, removed or switched; predictions that run are given up, prompts and segments stay."""
        if self.workbench.models.takes_experts(self.workbench.parameters.model):
            self.workbench.cancel()
            self.workbench.drop_engine()

    def focus_text(self):
        """Let the user type what to look for."""
        field = self.ui.tumorSelector if self.workbench.search.is_chosen else self.ui.textEdit
        field.setFocus()

    # Looking

    def icon(self, name):
        """An icon of the module."""
        return qt.QIcon(f"{self._icons}/{name}")

    def segment_ids(self):
        """The segments of the chosen segmentation."""
        segmentation = self.workbench.parameters.segmentation
        return list(segmentation.GetSegmentation().GetSegmentIDs()) if segmentation is not None else []

    def segment_name(self, segment_id):
        """The name of a segment of the chosen segmentation."""
        return self.workbench.parameters.segmentation.GetSegmentation().GetSegment(segment_id).GetName()

    def has_segment(self):
        """Whether a segment is selected."""
        return self.workbench.parameters.segment in self.segment_ids()

    def selected_is_locked(self):
        """Whether the selected segment is completed."""
        return self.has_segment() and self.workbench.is_locked(self.workbench.parameters.segment)

    def prompts_of_selected(self):
        """The prompts of the selected segment."""
        session = self.workbench.session
        if session is None or session.closed or not self.has_segment():
            return ()
        return session.safe_prompts(self.workbench.parameters.segment)

    def expert_of_selected(self):
        """The expert chosen for the selected segment, or None."""
        session = self.workbench.session
        if session is None or session.closed or not self.has_segment():
            return None
        return session.expert_of(self.workbench.parameters.segment)

    def has_unanswered(self):
        """Whether some prompts have no answer yet."""
        session = self.workbench.session
        return session is not None and not session.closed and session.has_unanswered()

    def model_title(self):
        """The chosen model's name for people."""
        return self.workbench.models.card(self.workbench.parameters.model).title

    def structure_completer(self, edit):
        """Suggests known structures while the user types."""
        from MoESegLib.core.structures import known_structures

        completer = qt.QCompleter([structure.name for structure in known_structures()], edit)
        completer.setCaseSensitivity(qt.Qt.CaseInsensitive)
        completer.setFilterMode(qt.Qt.MatchContains)
        edit.setCompleter(completer)
        return completer

    # Showing

    def refresh(self):
        """Show the state of the workbench."""
        self._shown = self.state()
        for view in self._views:
            view.refresh()
        self.show_progress()

    def refresh_if_changed(self, certainly=False):
        """Refresh when something that is shown changed."""
        if certainly or self.state() != self._shown:
            self.refresh()

    def state(self):
        """What the controls depend on; cheap enough for the timer."""
        workbench = self.workbench
        parameters = workbench.parameters
        session = workbench.session
        return (
            parameters.volume,
            parameters.segmentation,
            parameters.segment,
            tuple(self.segment_ids()),
            self.selected_is_locked(),
            workbench.why_not(),
            session is not None and (session.can_undo, session.can_redo, session.has_unanswered()),
            workbench.is_busy,
            workbench.is_placing(),
            parameters.anatomy,
            workbench.search.stamp(),
        )

    def show_progress(self):
        """Progress of what runs; the bar is hidden otherwise."""
        progress = self.workbench.progress
        bars = [self.ui.progressBar, self.ui.findProgressBar]
        bar = bars.pop(self.workbench.search.is_chosen)  # the one beside the button that was pressed
        if bars[0].visible:
            bars[0].setVisible(False)
        if bar.visible != (progress is not None):
            bar.setVisible(progress is not None)
        if progress is not None:
            fraction, message = progress
            bar.setMaximum(0 if fraction < 0 else 100)
            bar.setValue(max(0, round(100 * fraction)))
            bar.setFormat(f"{message} %p%" if fraction >= 0 else message)
