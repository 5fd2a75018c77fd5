"""Train the compact SAM-Med3D that ships with MoESeg, on one CPU core.

``python benchmarks/train_compact_base.py --data DATA --out FILE [--steps 4800] [--minutes 80]`` learns from the
training splits of a manifest and from synthetic volumes, prints a line with held-out Dice every 250 steps, and writes
half-precision weights and, beside them, a report. The same command goes on after it was stopped.

``--overfit N`` instead checks that every part can learn: four synthetic crops, N steps.
``python benchmarks/install_compact_base.py FILE`` then makes them part of MoESeg.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from MoESegLib.core.cancel import CancelToken
from MoESegLib.core.files import atomic_path
from MoESegLib.core.volume import Volume
from MoESegLib.engines.sam_med3d import SPACING
from MoESegLib.training.base3d import COMPACT, BaseData, BasePlan, BaseTraining, fresh_network
from MoESegLib.training.case_files import find_cases
from MoESegLib.training.cases import Case, split_cases
from MoESegLib.training.crops3d import CropPlan, cached_crops
from MoESegLib.training.rounds3d import Batch3D, clicked_dice
from MoESegLib.training.synthetic3d import anatomy_of, synthetic_target
from MoESegLib.weights.safe_load import load_into, load_state_dict

SETS = ("sts_ct", "sts_mr_t1", "sts_pet", "ms_flair", "ms_t1")
"""CC-BY sets with a license that was read; their validation splits are never used (:func:`find_cases`)."""


def main() -> None:
    """Train, or check that training works."""
    options = arguments()
    torch.set_num_threads(options.threads)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if options.overfit:
        overfit(options.overfit, options.out)
        return
    learn, held = split_cases(find_cases(options.data, options.sets))
    anatomies = [anatomy_of(Volume.read(path), SPACING) for path in options.anatomy]
    data = BaseData(crops(learn, options, clicks=6), crops(held, options, clicks=1), anatomies)
    print(f"{len(data.train)} crops of {count(learn)} patients, {len(data.held_out)} of {count(held)} held out")
    how = {} if options.rate is None else {"rate": options.rate}
    plan = BasePlan(options.steps, options.minutes, seed=options.seed, measure_every=250, synthetic=0.6, **how)
    network = fresh_network(COMPACT, options.seed)
    if options.start is not None:
        load_into(network, load_state_dict(options.start), str(options.start))
    training = BaseTraining(network, data, plan, options.out.with_suffix(".checkpoint"))
    history = training.run(lambda fraction, message: print(f"{fraction:.3f} {message}", flush=True), CancelToken())
    with atomic_path(options.out) as temporary:
        save_file({name: value.half().contiguous() for name, value in network.state_dict().items()}, temporary)
    report = {
        "steps": training.at.step,
        "rate": plan.rate,
        "started": options.start is not None,
        "minutes": round(training.at.seconds / 60),
        "data": {name: [count(cases_of(name, learn)), count(cases_of(name, held))] for name in options.sets},
        "licenses": sorted({case.license for case in learn}),
        "anatomies": [path.name for path in options.anatomy],
        "history": history,
    }
    options.out.with_suffix(".report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of a manifest")
    parser.add_argument("--sets", nargs="*", default=SETS, help="of the manifest; default: %(default)s")
    parser.add_argument(
        "--anatomy", type=Path, nargs="*", default=(), help="label maps to paint synthetic volumes from"
    )
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors to write")
    parser.add_argument("--start", type=Path, help="weights to begin with, of an earlier run")
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--minutes", type=float, default=None)
    parser.add_argument("--rate", type=float, help="of learning, at its highest")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--overfit", type=int, default=0, metavar="N")
    options = parser.parse_args()
    if not options.overfit and (options.data is None or (options.steps is None and options.minutes is None)):
        parser.error("give --data, and --steps or --minutes")
    return options


def crops(cases: list[Case], options: argparse.Namespace, clicks: int) -> list:
    """Crops of some cases, cut once."""
    folder = options.out.with_suffix(f".crops-{clicks}")
    return cached_crops(folder, cases, CropPlan(COMPACT.image_size, SPACING, clicks=clicks))


def cases_of(dataset: str, cases: list[Case]) -> list[Case]:
    """Those of one set."""
    return [case for case in cases if case.dataset == dataset]


def count(cases: list[Case]) -> int:
    """Patients."""
    return len({case.patient for case in cases})


def overfit(steps: int, out: Path) -> None:
    """Learn four crops by heart; prints their Dice after one and after three clicks."""
    crops = [synthetic_target(np.random.default_rng((5, number)), COMPACT.image_size) for number in range(4)]
    network = fresh_network(COMPACT, 0)
    plan = BasePlan(steps=steps, targets=1, warm_up=20, synthetic=0.0)
    training = BaseTraining(network, BaseData(crops), plan, out.with_suffix(".overfit"))
    training.draw = lambda source: [crops[source.integers(len(crops))]]
    training.run(lambda fraction, message: print(message), CancelToken())
    dice = clicked_dice(network, Batch3D.of(crops, COMPACT.mask_size), 3)
    print("Dice after one click:", dice[:, 0].round(3), "after three:", dice[:, 2].round(3))


if __name__ == "__main__":
    main()
