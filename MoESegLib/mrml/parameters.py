"""The panel's state in its parameter node, typed.

Not ``slicer.parameterNodeWrapper``: it exists in the Slicer application alone, so the code that ships would be code
that no test here runs. The names in the node are plain, so a wrapper could read the same node.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

Value = TypeVar("Value", str, bool, float)


class Parameter(Generic[Value]):
    """One value, kept as text in the node."""

    def __init__(self, default: Value) -> None:
        self.default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Value:
        text = instance.node.GetParameter(self.name)
        if text == "":
            return self.default
        if isinstance(self.default, bool):
            return text == "true"  # type: ignore[return-value]
        return type(self.default)(text)  # type: ignore[return-value]

    def __set__(self, instance: Any, value: Value) -> None:
        text = str(value).lower() if isinstance(self.default, bool) else str(value)
        if instance.node.GetParameter(self.name) != text:
            instance.node.SetParameter(self.name, text)


class NodeReference:
    """One node, kept as a reference, so that it survives saving and importing scenes."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return instance.node.GetNodeReference(self.name)

    def __set__(self, instance: Any, value: Any) -> None:
        if instance.node.GetNodeReference(self.name) is not value:
            instance.node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)


class Parameters:
    """What the panel remembers with the scene.

    Args:
        node: the vtkMRMLScriptedModuleNode of the module.

    Attributes:
        volume, segmentation: the nodes worked on, or None.
        segment: ID of the selected segment.
        model: name as in ``moeseg models list``.
        extent: "slice" or "volume".
        auto_run: predict after every prompt.
        lesions: every click is a new segment.
        show_changes, show_confidence: overlays.
        phrase: what to look for.
        anatomy: the segmentation whose organs guide the search, or None.
        organ_segment, organ: ID of a segment that the user painted as an organ, and which one it is; "" for none.
    """

    volume = NodeReference()
    segmentation = NodeReference()
    segment = Parameter("")
    model = Parameter("segmote-lite")
    extent = Parameter("slice")
    auto_run = Parameter(True)
    lesions = Parameter(False)
    show_changes = Parameter(False)
    show_confidence = Parameter(False)
    phrase = Parameter("")
    anatomy = NodeReference()
    organ_segment = Parameter("")
    organ = Parameter("")

    def __init__(self, node: Any) -> None:
        self.node = node
