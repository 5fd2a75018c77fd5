"""Teach an expert from finished segmentations (:func:`MoESegLib.training.teach.teach`); the base never changes."""
