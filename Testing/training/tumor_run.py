"""Teach the toy MAST-Pro in a process of its own: ``tumor_run.py CHECKPOINT RESULT EPOCHS SAVE_SECONDS``."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from safetensors.torch import save_file
from tumor_toy import PLAN, ToySamples, toy_network, toy_probes

from MoESegLib.core.cancel import CancelToken
from MoESegLib.core.tumors import TumorBook
from MoESegLib.training import learning
from MoESegLib.training.tumor_loop import TumorLoop
from MoESegLib.training.world import World


def main() -> None:
    checkpoint, result, epochs, save_seconds = sys.argv[1:]
    torch.set_num_threads(1)
    learning._SAVE_SECONDS = float(save_seconds)
    world = World.join(torch.device("cpu"))
    plan = dataclasses.replace(PLAN, epochs=int(epochs), slices=2, volumes=2)
    loop = TumorLoop(
        toy_network(), ToySamples(), toy_probes(), TumorBook.load(), plan, "toy", Path(checkpoint), world,
        time.monotonic(),
    )  # fmt: skip
    loop.run(lambda fraction, message, metrics: print(message, flush=True), CancelToken())
    save_file({name: value.contiguous() for name, value in loop.module.state_dict().items()}, f"{result}.{world.rank}")
    world.leave()


if __name__ == "__main__":
    main()
