"""The project keeps its own promises."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "MoESegLib").rglob("*.py"))


def test_ci_runs_the_test_command_of_the_readme() -> None:
    commands = re.findall(r"```bash\n(pip install .*)\n```", (ROOT / "README.md").read_text())
    assert len(commands) == 2
    demo, tests = commands
    assert demo.endswith("moeseg demo")
    assert tests.endswith("pytest")
    assert tests in (ROOT / ".ci" / "run").read_text()


def test_importing_the_package_is_quick_and_loads_no_heavy_library() -> None:
    code = "import sys, MoESegLib; print([m for m in ('torch', 'SimpleITK', 'scipy', 'openvino') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_the_fixed_names_are_there() -> None:
    import MoESegLib

    for name in MoESegLib.__all__:
        assert getattr(MoESegLib, name).__name__
    with pytest.raises(AttributeError):
        MoESegLib.nothing  # noqa: B018


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_short_and_say_what_they_are(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 500
    assert text.startswith('"""')


def test_links_in_the_documents_lead_somewhere() -> None:
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if not target.startswith("http"):
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_model_with_a_network_can_be_named() -> None:
    from MoESegLib.weights import model_cards

    networks = {"lite_medsam", "segmote_lite", "segmote", "sam_vit_b", "sam_vit_l", "sam_vit_h", "minilm"}
    networks |= {"sam_med3d", "sam_med3d_moe", "mast_pro"}
    assert {card.architecture for card in model_cards().values()} <= networks
