"""The undo stack of the embedded Segment Editor, shared by prompts and brush strokes."""


class WidgetHistory:
    """Lends the editor widget's undo stack to the writer (see :class:`MoESegLib.mrml.writer.History`).

    The widget does not tell whether there is something to undo, so steps are counted; a step back that
    finds nothing does nothing.
    """

    def __init__(self, editor):
        self._editor = editor
        self._done = 0
        self._undone = 0
        self._segmentation = None

    def attach(self, editorNode, segmentation, volume):
        """Show and hold this segmentation."""
        self._editor.setMRMLSegmentEditorNode(editorNode)
        self._editor.setSegmentationNode(segmentation)
        self._editor.setSourceVolumeNode(volume)
        self._editor.undoEnabled = True
        self._editor.maximumNumberOfUndoStates = 31  # the present one counts too
        if segmentation is not self._segmentation:
            self._segmentation, self._done, self._undone = segmentation, 0, 0

    def save_state(self):
        self._editor.saveStateForUndo()
        self._done, self._undone = self._done + 1, 0

    def undo(self):
        self._editor.undo()
        self._done, self._undone = max(0, self._done - 1), self._undone + 1

    def redo(self):
        self._editor.redo()
        self._done, self._undone = self._done + 1, max(0, self._undone - 1)

    @property
    def can_undo(self):
        # Brush strokes save states that are not counted here, so undo is always worth a try.
        return self._segmentation is not None

    @property
    def can_redo(self):
        return self._undone > 0
