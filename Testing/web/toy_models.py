"""All models at once, without weights: MAST-Pro, SAM-Med3D and models of slices that take what is bright."""

from __future__ import annotations

import dataclasses

from fakes import ThresholdModel
from fakes3d import BrightRegion
from tumor_tools import BrightLesions, engine_with
from web_tools import EVERYTHING, FakeModels

from MoESegLib.engines.protocol import Embedding, Engine, ExpertLogits, ModelPrompt
from MoESegLib.engines.slice_engine import SliceEngine
from MoESegLib.engines.volume_engine import VolumeEngine
from MoESegLib.experts.store import packs_home


class TaughtExperts(ThresholdModel):
    """Two experts, and one under the name of every expert that was taught and kept."""

    def __init__(self) -> None:
        self.own = sorted(path.stem for path in packs_home().glob("*.safetensors"))
        super().__init__(native=EVERYTHING, experts=2 + len(self.own))

    def decode(self, embedding: Embedding, prompt: ModelPrompt) -> tuple[ExpertLogits, ...]:
        names = {f"expert{2 + number}": name for number, name in enumerate(self.own)}
        asked = next((old for old, new in names.items() if new == prompt.expert), prompt.expert)
        answers = super().decode(embedding, dataclasses.replace(prompt, expert=asked))
        return tuple(dataclasses.replace(answer, expert=names.get(answer.expert, answer.expert)) for answer in answers)


class ToyModels(FakeModels):
    """A model library.

    Args:
        missing: a model that is not on this computer.
    """

    def __init__(self, missing: str = "") -> None:
        super().__init__()
        self.not_here = missing
        self._load = self.load

    def load(self, name: str) -> Engine:
        if name == "mast-pro":
            return engine_with(BrightLesions())
        is_3d = self.card(name).dimension == "3d"
        return VolumeEngine(BrightRegion()) if is_3d else SliceEngine(TaughtExperts())

    def state(self, name: str) -> str:
        return "missing" if name == self.not_here else "installed"
