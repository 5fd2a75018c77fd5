"""Packs of taught experts: cards, files, and where they lie on this machine."""
