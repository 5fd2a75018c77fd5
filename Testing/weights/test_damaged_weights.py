"""Whatever the damage, a file of weights is refused with the same kind of error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from MoESegLib.core.errors import WeightsError
from MoESegLib.weights.safe_load import load_state_dict


@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_files_are_refused_whatever_the_damage(zipped: bool, tmp_path: Path) -> None:
    path, random = tmp_path / "model.pth", np.random.default_rng(0)
    torch.save({"a": torch.zeros(50), "b": torch.ones(3)}, path, _use_new_zipfile_serialization=zipped)
    whole = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    refused = 0
    for _ in range(300):
        damaged = whole.copy()
        damaged[random.integers(0, min(len(whole), 500), 4)] = random.integers(0, 256, 4)
        path.write_bytes(damaged.tobytes())
        try:
            load_state_dict(path)
        except WeightsError:
            refused += 1
    assert refused > 150  # a flip may hit padding or a value, but nothing other than WeightsError ever comes out
