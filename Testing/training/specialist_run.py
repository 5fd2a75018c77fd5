"""Teach the toy in a process of its own: ``specialist_run.py BASE CACHE RESULT``; prints every step."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from safetensors.torch import load_file, save_file
from specialist_toy import teach_toy, toy_base

from MoESegLib.training import learning


def main() -> None:
    base, cache, result = sys.argv[1:]
    torch.set_num_threads(1)
    learning._SAVE_SECONDS = 0.0
    done = teach_toy(Path(cache), toy_base(load_file(base)), progress=lambda _, message, __: print(message, flush=True))
    save_file(done.decoder, result)


if __name__ == "__main__":
    main()
