"""Teach an expert through the panel on five patients: ``python benchmarks/panel_teaching.py DATA [PICTURE]``.

The real panel on its harness, the real LiteMedSAM and abdominal CT slices of the first five training patients of BTCV,
as a user would have them: a folder a patient, images beside their labels. Prints what the panel says at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "Testing" / "panel"), str(ROOT / "Testing")]
STRUCTURE, NAME = "liver", "liver-five"


def main() -> None:
    """Fill a folder, teach, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder of the manifest")
    parser.add_argument("picture", type=Path, nargs="?", help="screenshot of the section at the end")
    parser.add_argument("--patients", type=int, default=5)
    parser.add_argument("--minutes", type=int, default=8)
    args = parser.parse_args()
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder) / "patients", args.data, args.patients)
        use_own_home(Path(folder) / "home")
        teach(Path(folder) / "patients", args.minutes, args.picture)


def fill(folder: Path, data: Path, patients: int) -> None:
    """Images and labels of the first patients as a user would have them."""
    manifest = json.loads((data / "manifest.json").read_text())
    cases = [case for case in manifest["cases"] if case["set"] == "btcv" and case["split"] == "train"]
    groups = list(dict.fromkeys(case["group"] for case in cases))[:patients]
    for case in cases:
        if case["group"] in groups:
            own = folder / str(case["group"])
            own.mkdir(parents=True, exist_ok=True)
            for kind, ending in (("image", "img"), ("label", "lab")):
                source = data / case[kind]
                shutil.copy(source, own / f"{case['case']}_{ending}{source.suffix}")
    names = manifest["sets"]["btcv"]["labels"]
    (folder / "labels.json").write_text(json.dumps(names))


def use_own_home(home: Path) -> None:
    """Nothing is installed among the user's own experts, and every slice is encoded anew."""
    from MoESegLib.weights.store import models_home

    home.mkdir()
    for name in ("models", "runtime"):
        (home / name).symlink_to(models_home() / name)
    os.environ["MOESEG_HOME"] = str(home)


def teach(folder: Path, minutes: int, picture: Path | None) -> None:
    """As a user does it."""
    from panel_harness import Harness
    from panel_helpers import make_panel

    from MoESegLib import load_engine
    from MoESegLib.training.desk import TeachingDesk

    harness = Harness.start()
    panel = make_panel(harness, None, None, 1, lambda name: load_engine("lite-medsam"))
    view = panel.loaded.widget.panel.teaching
    view.use_desk(TeachingDesk())
    panel.ui.teachSection.collapsed = False
    harness.pump(0.5)
    began = time.monotonic()
    harness.dialogs.answer("getExistingDirectory", str(folder))
    harness.click(panel.ui.teachFolderButton)
    harness.pump(60, until=lambda: panel.ui.teachClassesList.count > 0)
    tick_only(panel, STRUCTURE)
    harness.type(panel.ui.teachNameEdit, NAME)
    panel.ui.teachMinutesSpinBox.value = minutes
    harness.click(panel.ui.teachButton)
    harness.pump(60 + 60 * minutes, until=lambda: not view.is_busy())
    harness.pump(0.5)
    print(f"{time.monotonic() - began:.0f} s from the folder to the result\n{panel.ui.teachResultLabel.text}")
    if picture is not None:
        panel.ui.teachSection.grab().save(str(picture))
    harness.check()


def tick_only(panel, structure: str) -> None:
    """Leave one structure ticked."""
    import qt

    listing = panel.ui.teachClassesList
    for row in range(listing.count):
        item = listing.item(row)
        item.setCheckState(qt.Qt.Checked if item.text().split(" (")[0] == structure else qt.Qt.Unchecked)
    panel.harness.pump(0.2)


if __name__ == "__main__":
    main()
