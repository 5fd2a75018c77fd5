"""What a session can call: a backbone, its experts, and the rules that turn prompts into masks."""

from .registry import load_engine

__all__ = ["load_engine"]
