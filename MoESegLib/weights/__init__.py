"""Model cards, and weights that arrive, are checked and can be removed."""

from .cards import ModelCard, model_card, model_cards
from .store import ensure_weights, get_model, models_home

__all__ = ["ModelCard", "ensure_weights", "get_model", "model_card", "model_cards", "models_home"]
