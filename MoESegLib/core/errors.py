"""Errors a user can act on.

Every message says what was wrong, what was expected and what to do next. The command line prints the message alone and
exits with status 2; anything that is not a :class:`MoESegError` is a bug and keeps its traceback.
"""

from __future__ import annotations


class MoESegError(Exception):
    """Base class of every error that a user's input, file or machine can cause."""


class VolumeError(MoESegError):
    """An image cannot be used: missing, truncated, 4D, empty, or holding voxels that are not finite."""


class PromptError(MoESegError):
    """A prompt cannot be used: outside the volume, of zero size, contradictory, or not understood by the model."""


class GeometryError(MoESegError):
    """Two images that must lie on the same voxel grid do not, or a matrix is not invertible."""


class WeightsError(MoESegError):
    """Weights are missing, truncated, tampered with, of the wrong architecture, or cannot be fetched or stored."""


class WeightsMissingError(WeightsError):
    """The model is known but its weights are not on this machine yet."""


class UnknownModelError(MoESegError, ValueError):
    """No model of that name is known; the message lists the names that are."""


class TrainingError(MoESegError):
    """An expert cannot be taught from these cases: none, of one patient only, empty, or of the wrong modality."""


class LockedError(MoESegError):
    """The segment is locked, so its prompts and its mask do not change until it is unlocked."""


class OutputError(MoESegError):
    """A result cannot be written: no permission, no space, or a file type that is not known."""


class ResourceError(MoESegError):
    """The machine ran out of memory (or another resource) during a prediction."""


class Cancelled(MoESegError):  # noqa: N818 - a request by the user, not a fault
    """The user (or a newer request) cancelled the work; nothing was changed."""
