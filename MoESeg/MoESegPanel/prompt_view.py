"""Tools that place prompts, and the list of prompts."""

import qt
from slicer.i18n import tr as _

from .widgets import cell, connect, enable, set_silently

ICONS = {
    "positive": "PointPositive.png",
    "negative": "PointNegative.png",
    "box": "Box.png",
    "scribble": "Scribble.png",
    "exclude": "Exclude.png",
    "lasso": "Lasso.png",
}
KINDS = {"positive": "point", "negative": "point", "box": "box", "scribble": "scribble", "exclude": "scribble"}


class PromptView:
    """Starts tools, runs, undoes, and lists the prompts of the selected segment."""

    def __init__(self, ui, panel, icons):
        self.ui = ui
        self.panel = panel
        self.tools = {
            "positive": ui.positiveTool,
            "negative": ui.negativeTool,
            "box": ui.boxTool,
            "scribble": ui.scribbleTool,
            "exclude": ui.excludeTool,
            "lasso": ui.lassoTool,
        }
        self.active = ""
        self._completer = None
        self._listed = None
        click = _("Click inside the target in a slice view, again for more. Right-click ends.")
        line = _("Click along a line in a slice view; right-click or double-click to end it.")
        self._hints = {
            "positive": click,
            "negative": _("Click what does not belong to the target, in a slice view. Right-click ends."),
            "box": _("Click two opposite corners around the target, in one slice view."),
            "scribble": line,
            "exclude": line,
            "lasso": _("Click around the target in a slice view; right-click or double-click to close the outline."),
        }
        for name, button in self.tools.items():
            button.setIcon(icons(ICONS[name]))
            connect(button, "clicked(bool)", lambda on, name=name: self.onTool(name, on))
        self.connect_buttons(icons)
        self.connect_switches()
        self.prepare_table()

    def connect_buttons(self, icons):
        """What each button does, and its icon."""
        ui = self.ui
        buttons = {
            ui.automaticButton: (self.onAutomatic, "Automatic.png"),
            ui.textButton: (self.onText, "Text.png"),
            ui.fromSegmentButton: (self.onFromSegment, "FromSegment.png"),
            ui.markupsButton: (self.onMarkups, ""),
            ui.runButton: (self.onRun, "Run.png"),
            ui.cancelButton: (self.onCancel, "Cancel.png"),
            ui.undoButton: (self.onUndo, "Undo.png"),
            ui.redoButton: (self.onRedo, "Redo.png"),
            ui.jumpButton: (self.onJump, ""),
            ui.flipButton: (self.onFlip, ""),
            ui.deleteButton: (self.onDelete, ""),
        }
        for button, (slot, icon) in buttons.items():
            connect(button, "clicked()", slot)
            if icon:
                button.setIcon(icons(icon))

    def connect_switches(self):
        """Fields, switches and selectors."""
        ui = self.ui
        connect(ui.textEdit, "returnPressed()", self.onText)
        connect(ui.markupsSelector, "currentNodeChanged(vtkMRMLNode*)", lambda node: self.refresh_tools())
        connect(ui.sliceButton, "toggled(bool)", self.onExtent)
        connect(ui.autoRunCheckBox, "toggled(bool)", self.onAutoRun)
        connect(ui.lesionsCheckBox, "toggled(bool)", self.onLesions)

    def prepare_table(self):
        """Columns of the list of prompts."""
        table = self.ui.promptTable
        connect(table, "cellDoubleClicked(int,int)", lambda row, column: self.onJump())
        connect(table, "itemSelectionChanged()", self.refresh_buttons)
        table.setColumnCount(3)
        table.setHorizontalHeaderLabels([_("Prompt"), _("Where (R A S, mm)"), _("View")])
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        table.horizontalHeader().setStretchLastSection(True)
        table.verticalHeader().setVisible(False)

    # Tools

    def onTool(self, name, on):
        if not on:
            self.stop()
            return
        if self.panel.run(lambda: self.panel.workbench.start_tool(name)):
            self.active = name
            self.ui.statusLabel.text = self._hints[name]
        else:
            self.active = ""
        self.refresh_tools()

    def toggle(self, name):
        """What a shortcut does."""
        if self.tools[name].enabled:
            self.onTool(name, self.active != name)

    def stop(self):
        """Back to ordinary clicks."""
        self.end_tool()
        self.panel.workbench.stop_tool()
        self.refresh_tools()

    def end_tool(self):
        """Forget the tool and its hint."""
        self.active = ""
        if self.ui.statusLabel.text in self._hints.values():
            self.ui.statusLabel.text = ""

    def onText(self):
        phrase = self.ui.textEdit.text.strip()
        if phrase and self.panel.run(lambda: self.panel.workbench.add_text(phrase)):
            self.ui.textEdit.clear()

    def onAutomatic(self):
        if self.ui.automaticButton.enabled:
            self.panel.run(self.panel.workbench.add_automatic)

    def onFromSegment(self):
        segment = self.panel.workbench.parameters.segment
        self.panel.run(lambda: self.panel.workbench.ready().start_from_segment(segment))

    def onMarkups(self):
        node = self.ui.markupsSelector.currentNode()
        segment = self.panel.workbench.selected_segment()
        self.panel.run(lambda: self.panel.workbench.ready().use_markups(segment, node))

    # Running

    def onExtent(self, _checked):
        extent = "slice" if self.ui.sliceButton.checked else "volume"
        self.panel.run(lambda: self.panel.workbench.select(extent=extent))

    def onAutoRun(self, checked):
        self.panel.workbench.parameters.auto_run = checked
        self.panel.refresh()

    def onLesions(self, checked):
        self.panel.workbench.parameters.lesions = checked
        if checked:
            self.ui.lesionSection.collapsed = False
        if self.active:
            self.onTool(self.active, True)

    def onRun(self):
        if self.panel.install_dependencies():
            self.panel.run(lambda: self.panel.workbench.ready().retry())

    def onCancel(self):
        self.panel.workbench.cancel()
        self.panel.say(_("Cancelled. Prompts and segments are as they were; press Run to go on."))
        self.panel.refresh()

    def onUndo(self):
        session = self.panel.workbench.session
        if session is not None:
            self.panel.run(session.undo)

    def onRedo(self):
        session = self.panel.workbench.session
        if session is not None:
            self.panel.run(session.redo)

    # List

    def selected(self):
        """The prompt of the selected row, or None."""
        row = self.ui.promptTable.currentRow()
        prompts = self.panel.prompts_of_selected()
        return prompts[row] if 0 <= row < len(prompts) else None

    def onJump(self):
        prompt = self.selected()
        if prompt is not None:
            self.panel.workbench.jump_to(prompt)

    def onFlip(self):
        import dataclasses

        prompt = self.selected()
        if prompt is not None:
            flipped = dataclasses.replace(prompt, positive=not prompt.positive)
            self.panel.run(lambda: self.panel.workbench.ready().replace(prompt.segment, prompt.id, flipped))

    def onDelete(self):
        prompt = self.selected()
        if prompt is not None:
            self.panel.run(lambda: self.panel.workbench.ready().remove(prompt.segment, prompt.id))

    # Showing

    def refresh(self):
        """Show tools, switches, progress and prompts."""
        workbench = self.panel.workbench
        parameters = workbench.parameters
        button = self.ui.sliceButton if parameters.extent == "slice" else self.ui.volumeButton
        if not button.checked:
            set_silently(self.ui.sliceButton, lambda: button.setChecked(True))
        for box, value in (
            (self.ui.autoRunCheckBox, parameters.auto_run),
            (self.ui.lesionsCheckBox, parameters.lesions),
        ):
            if box.checked != value:
                set_silently(box, lambda box=box, value=value: box.setChecked(value))
        if self._completer is None:
            self._completer = self.panel.structure_completer(self.ui.textEdit)
        self.refresh_tools()
        self.refresh_list()
        self.refresh_buttons()

    def refresh_tools(self):
        """Enable what the model understands, and say why the rest is not."""
        if self.active and not self.panel.workbench.is_placing():
            self.end_tool()  # the user finished the shape or chose another tool of Slicer
        reason = self.panel.workbench.why_not()
        session = self.panel.workbench.session
        understands = session.engine.understands if session is not None else frozenset()
        for name, button in self.tools.items():
            kind = KINDS.get(name, "polygon")
            missing = "" if reason or kind in understands else _("The chosen model does not understand this prompt.")
            enable(button, reason or missing)
            if button.checked != (name == self.active):
                set_silently(button, lambda button=button, name=name: button.setChecked(name == self.active))
        finds = self.panel.workbench.search.is_chosen
        text = "" if reason or "text" in understands else _("The chosen model does not understand text.")
        if finds:
            text = _("Type what to look for under 'Find lesions'.")
        enable(self.ui.textEdit, reason or text)
        enable(self.ui.textButton, reason or text)
        automatic = ""
        if not reason and "automatic" not in understands:
            automatic = _(
                "The chosen model has no expert that segments without a prompt. Teach one, or place a prompt."
            )
        enable(self.ui.automaticButton, reason or automatic)
        no_segment = "" if self.panel.has_segment() else _("Select a segment first.")
        if finds:
            no_segment = _("The chosen model takes organs, not a first guess. Give organs under 'Find lesions'.")
        enable(self.ui.fromSegmentButton, reason or no_segment)
        no_markups = _("Choose markups first.") if self.ui.markupsSelector.currentNode() is None else ""
        enable(self.ui.markupsButton, reason or no_markups)

    def refresh_buttons(self):
        """Enable the buttons for which there is something to do."""
        workbench = self.panel.workbench
        session = workbench.session
        unanswered = self.panel.has_unanswered()
        enable(self.ui.runButton, "" if unanswered else _("Every prompt is answered."))
        enable(self.ui.cancelButton, "" if workbench.is_busy else _("Nothing runs."))
        enable(self.ui.undoButton, "" if session is not None and session.can_undo else _("There is nothing to undo."))
        enable(self.ui.redoButton, "" if session is not None and session.can_redo else _("There is nothing to redo."))
        prompt = self.selected()
        none = _("Select a prompt in the list first.") if prompt is None else ""
        for button in (self.ui.jumpButton, self.ui.deleteButton):
            enable(button, none)
        sign = "" if hasattr(prompt, "positive") else _("Only points and scribbles have a sign.")
        enable(self.ui.flipButton, none or sign)

    def refresh_list(self):
        """List the prompts of the selected segment."""
        prompts = self.panel.prompts_of_selected()
        if prompts == self._listed:
            return
        self._listed = prompts
        table = self.ui.promptTable
        row = table.currentRow()
        set_silently(table, lambda: table.setRowCount(len(prompts)))
        for index, prompt in enumerate(prompts):
            for column, text in enumerate((self.title(index, prompt), self.place(prompt), prompt.plane or "")):
                table.setItem(index, column, cell(text))
        if 0 <= row < len(prompts):
            table.selectRow(row)

    def title(self, index, prompt):
        """Kind and sign of a prompt in words."""
        if getattr(prompt, "role", "") == "anatomy":
            return _("{number}. Organ").format(number=index + 1)
        names = {
            "point": _("Point"),
            "box": _("Box"),
            "scribble": _("Scribble"),
            "polygon": _("Outline"),
            "text": _("Text"),
            "mask": _("Start from segment"),
            "automatic": _("Without prompt"),
        }
        sign = ""
        if hasattr(prompt, "positive"):
            sign = _("inside (+)") if prompt.positive else _("outside (\N{MINUS SIGN})")
        return f"{index + 1}. {names[prompt.kind]} {sign}".strip()

    def place(self, prompt):
        """Where a prompt is, or what it says."""
        if prompt.kind == "text":
            return prompt.text
        if getattr(prompt, "role", "") == "anatomy":
            return prompt.structure.replace("_", " ")
        points = prompt.ras_points
        if not points:
            return _("all slices") if prompt.kind == "automatic" else ""
        center = [sum(point[axis] for point in points) / len(points) for axis in range(3)]
        return "  ".join(f"{value:.1f}" for value in center)
