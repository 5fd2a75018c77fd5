"""The whole way with real weights: the shipped CT, LiteMedSAM and a pack of experts that was never taught."""

from __future__ import annotations

from pathlib import Path

import pytest
from evaluation_tools import add_to_manifest
from expert_tools import card_for, random_pack

from MoESegLib.engines import load_engine
from MoESegLib.engines.slice_engine import SliceEngine
from MoESegLib.evaluation.contestants import Contestant, contestant, parse_engines
from MoESegLib.evaluation.datasets import read_cases
from MoESegLib.evaluation.forgetting import identities
from MoESegLib.evaluation.protocols import parse_protocols
from MoESegLib.evaluation.run import Plan, evaluate
from MoESegLib.evaluation.summary import ALL, summarize
from MoESegLib.experts.pack_file import write_pack
from MoESegLib.resources import resource_path

pytestmark = pytest.mark.weights


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """A manifest around the shipped CT, whose labels are stored in another order of slices."""
    case = {
        "set": "demo", "case": "ct", "group": "one", "split": "demo",
        "image": str(resource_path("Demo", "ct")), "label": str(resource_path("Demo", "labels.nii.gz")),
    }  # fmt: skip
    labels = {"5": "liver", "1": "spleen", "52": "aorta"}
    add_to_manifest(tmp_path, "demo", {"labels": labels, "modality": "CT"}, [case])
    return tmp_path


@pytest.fixture
def with_expert(lite_medsam_path: Path, tmp_path: Path) -> Contestant:
    pack = random_pack(1, width=256, early=160, num_experts=2, rank=4)
    for parameter in pack.parameters():
        parameter.data.mul_(0.3)
    path = tmp_path / "random.safetensors"
    write_pack(path, pack, card_for(pack, "random"))
    name = parse_engines([f"segmote-lite+{path}"])[0]
    return contestant(name, load_engine(name.model, runtime="torch", experts=name.experts))


def test_lite_medsam_boxes_the_demo_well_and_an_expert_leaves_it_as_it_is(
    demo: Path, lite_engine: SliceEngine, with_expert: Contestant
) -> None:
    assert with_expert.label == "segmote-lite+random"
    assert with_expert.packs == {"random": ("liver", "something new")}
    cases = read_cases(demo, "demo", "demo", classes=["liver", "aorta"])
    plan = Plan(tuple(parse_protocols("box,click,scribble")), max_slices=1)
    engines = [Contestant("lite-medsam", lite_engine), with_expert]
    scores = evaluate(engines, cases, plan)
    assert {score.slice for score in scores} == {10}
    rows = {(row.structure, row.protocol, row.click): row.cells for row in summarize(scores)}
    liver = rows["liver", "box", 1][0]
    assert liver.dice is not None
    assert liver.nsd is not None
    assert liver.dice.mean > 0.96
    assert liver.nsd.mean > 0.8
    assert rows[ALL, "box", 1][0].dice.mean > 0.93
    (identity,) = identities(scores, engines)
    assert (identity.compared, identity.same) == (6, 6)
