"""Everything a run needs to go on after it was killed, in one file that is replaced whole.

Tensors (pack, best pack, optimizer) are the safetensors; everything else is one JSON text in its header. There is no
state of random generators to keep: all that is random is drawn from (seed, epoch, step or sample).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..core.errors import TrainingError
from ..core.files import atomic_path

_STATE = "moeseg.teach"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A run between two steps.

    Attributes:
        identity: hash of everything that determines the run; another run's checkpoint is not gone on from.
        pack, best: state dicts; best is empty before the first measurement.
        optimizer: state by parameter number, as ``Optimizer.state_dict()["state"]``.
        progress: plain data of the loop (epoch, step, seconds, history ...).
    """

    identity: str
    pack: Mapping[str, Tensor]
    best: Mapping[str, Tensor]
    optimizer: Mapping[int, Mapping[str, Tensor]]
    progress: dict[str, Any]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint at ``path``.

    Raises:
        OutputError: no space or no permission; the earlier checkpoint stays.
    """
    tensors = {f"pack/{name}": value for name, value in checkpoint.pack.items()}
    tensors |= {f"best/{name}": value for name, value in checkpoint.best.items()}
    for number, state in checkpoint.optimizer.items():
        tensors |= {f"optimizer/{number}/{name}": value for name, value in state.items()}
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    state = json.dumps({"identity": checkpoint.identity, "progress": checkpoint.progress})
    with atomic_path(path) as temporary:
        save_file(plain, temporary, {_STATE: state})


def read_checkpoint(path: Path, identity: str) -> Checkpoint | None:
    """The checkpoint of that run, or None when there is none or it is another run's.

    Raises:
        TrainingError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            state = json.loads((file.metadata() or {})[_STATE])
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise TrainingError(
            f"{path} is not a whole checkpoint ({error}). Remove it to start from the beginning."
        ) from error
    if state["identity"] != identity:
        return None
    optimizer: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        kind, _, rest = name.partition("/")
        if kind == "optimizer":
            number, _, key = rest.partition("/")
            optimizer.setdefault(int(number), {})[key] = value
    return Checkpoint(identity, _part(tensors, "pack"), _part(tensors, "best"), optimizer, state["progress"])


def _part(tensors: Mapping[str, Tensor], kind: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(f"{kind}/"): value for name, value in tensors.items() if name.startswith(f"{kind}/")}
