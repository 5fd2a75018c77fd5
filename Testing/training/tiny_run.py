"""Teach the tiny model in a process of its own: ``tiny_run.py CACHE RESULT EPOCHS SAVE_SECONDS``; prints every step."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from safetensors.torch import save_file
from tiny_teaching import teach_tiny

from MoESegLib.training import learning


def main() -> None:
    cache, result, epochs, save_seconds = sys.argv[1:]
    torch.set_num_threads(1)
    learning._SAVE_SECONDS = float(save_seconds)
    done = teach_tiny(Path(cache), int(epochs), progress=lambda fraction, message, metrics: print(message, flush=True))
    rank = os.environ.get("RANK", "0")
    curve = {f"curve/{epoch.epoch}": torch.tensor([epoch.held_out.box, epoch.held_out.click]) for epoch in done.history}
    save_file({**done.pack.state_dict(), **curve}, f"{result}.{rank}")


if __name__ == "__main__":
    main()
