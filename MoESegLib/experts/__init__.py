"""Packs of taught experts: cards, files, and where they lie on this machine."""

from .card import ExpertCard, ExpertClass, PackSizes, TrainingData
from .card_rules import BaseModel, Measurement
from .store import InstalledPack, find_pack, import_pack, install_pack, list_packs

__all__ = [
    "BaseModel",
    "ExpertCard",
    "ExpertClass",
    "InstalledPack",
    "Measurement",
    "PackSizes",
    "TrainingData",
    "find_pack",
    "import_pack",
    "install_pack",
    "list_packs",
]
