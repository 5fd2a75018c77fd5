"""Kill ``moeseg teach`` at random moments on real data; it must end in the pack of an undisturbed run.

    python benchmarks/kill_teaching.py DATA --set btcv --class liver --patients 4 --epochs 2

Runs the command once in peace and once with SIGKILL after random seconds, each with a folder of its own, and compares
the packs bit by bit. After every kill no expert may be installed, since none is finished.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from MoESegLib.experts.pack_file import read_pack
from MoESegLib.weights.store import models_home

NAME = "killed"
_MOESEG = (sys.executable, "-c", "import sys; from MoESegLib.cli import main; sys.exit(main())")


def main() -> int:
    """Run, kill, compare; returns 1 if the packs differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--longest", type=float, default=40.0, help="seconds before a kill, at most")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args, rest = parser.parse_known_args()
    command = [*_MOESEG, "teach", "--data", str(args.data), "--name", NAME, "--threads", "1", *rest]
    with tempfile.TemporaryDirectory() as folder:
        homes = [_home(Path(folder) / name) for name in ("peace", "killed")]
        subprocess.run(command, env=_environment(homes[0]), check=True, stdout=subprocess.DEVNULL)
        kills = _with_kills(command, homes[1], args.kills, args.longest, random.Random(args.seed))
        packs = [_digest(home / "experts" / f"{NAME}.safetensors") for home in homes]
    print(f"killed after {', '.join(f'{seconds:.0f}' for seconds in kills)} s")
    print(f"undisturbed {packs[0]}\nkilled      {packs[1]}\n{'equal' if packs[0] == packs[1] else 'DIFFERENT'}")
    return int(packs[0] != packs[1])


def _with_kills(command: Sequence[str], home: Path, kills: int, longest: float, moments: random.Random) -> list[float]:
    """Start the command again and again; returns the seconds after which it was killed."""
    done: list[float] = []
    while True:
        process = subprocess.Popen(command, env=_environment(home), stdout=subprocess.DEVNULL)
        seconds = moments.uniform(1, longest) if len(done) < kills else None
        try:
            if process.wait(seconds):
                raise SystemExit(f"moeseg teach failed with {process.returncode}.")
            return done
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            done.append(seconds or 0.0)
            left = [path.name for path in (home / "experts").glob("*.safetensors")]
            if left:
                raise SystemExit(f"A killed run left {left} among the experts.") from None


def _home(folder: Path) -> Path:
    """A data folder with the models of this machine and nothing else."""
    shutil.copytree(models_home() / "models", folder / "models")
    if (models_home() / "runtime").exists():
        shutil.copytree(models_home() / "runtime", folder / "runtime")
    return folder


def _environment(home: Path) -> dict[str, str]:
    return {**os.environ, "MOESEG_HOME": str(home)}


def _digest(path: Path) -> str:
    """Hash of the tensors of a pack."""
    _, state = read_pack(path)
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode() + state[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
