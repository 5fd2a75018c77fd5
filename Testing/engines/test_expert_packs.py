"""Packs from the disk on the real base: they answer, and neither the base nor another pack can tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from expert_tools import LITE_SHA256, card_for, random_pack

from MoESegLib import BoxPrompt, PointPrompt, Prompt, Session
from MoESegLib.core.errors import PromptError, UnknownModelError, WeightsError
from MoESegLib.core.volume import Volume
from MoESegLib.engines import load_engine
from MoESegLib.engines.cache import EngineCache
from MoESegLib.engines.expert_loading import LoadedPacks, load_packs
from MoESegLib.engines.protocol import Context, ExpertLogits
from MoESegLib.engines.segmote_lite import SegMoTELite, traits_of
from MoESegLib.engines.slice_engine import SliceEngine
from MoESegLib.experts import store
from MoESegLib.experts.card import BaseModel, Measurement
from MoESegLib.experts.pack_file import write_pack
from MoESegLib.experts.store import find_pack, import_pack, set_enabled
from MoESegLib.models.segmote.asymmetric import AsymmetricSegMoTE
from MoESegLib.models.segmote.scope import Scope

pytestmark = pytest.mark.weights

CACHE = EngineCache()
"""Embeddings of the slices, which all engines here share: they do not depend on packs."""


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three packs with random weights: "box", "click" and "refine"."""
    folder, made = tmp_path_factory.mktemp("packs"), {}
    for seed, prompts in enumerate((("box",), ("box", "point"), ("box", "point", "mask"))):
        pack = random_pack(seed, width=256, early=160, num_experts=2 + seed, rank=4)
        for parameter in pack.parameters():
            parameter.data.mul_(0.3)
        name = ("box", "click", "refine")[seed]
        made[name] = folder / f"{name}.safetensors"
        write_pack(made[name], pack, card_for(pack, name, prompts=prompts))
    return made


@pytest.fixture(scope="module")
def load(lite_engine: SliceEngine, packs: dict[str, Path]) -> Callable[..., SliceEngine]:
    """Engines with packs on the network and the encoder of ``lite_engine``, as load_engine puts them together."""
    engines: dict[tuple[str, ...], SliceEngine] = {}
    base = lite_engine.model

    def with_packs(*names: str) -> SliceEngine:
        if names not in engines:
            mixture = AsymmetricSegMoTE(base.decoder.network).eval()
            loaded = load_packs(mixture, "lite-medsam", LITE_SHA256, [packs[name] for name in names])
            traits = {card.name: traits_of(card) for card in loaded.cards}
            engines[names] = SliceEngine(SegMoTELite(mixture, base.encoder, LITE_SHA256, loaded.id, traits))
        return engines[names]

    return with_packs


@pytest.fixture(scope="module")
def prompts(demo_volume: Volume) -> dict[str, list[Prompt]]:
    a, b = demo_volume.to_ras([[292, 243, 10], [394, 379, 10]])
    box = BoxPrompt(tuple(a), tuple(b), plane="axial")
    click = PointPrompt(tuple(demo_volume.to_ras([332, 349, 10])))
    outside = PointPrompt(tuple(demo_volume.to_ras([300, 250, 10])), positive=False)
    return {"box": [box], "click": [click], "clicks": [click, outside], "box and clicks": [box, click, outside]}


def answers(
    engine: SliceEngine, volume: Volume, given: list[Prompt], expert: str | None = None
) -> dict[str, ExpertLogits]:
    """By expert, the one that counts first."""
    from MoESegLib.engines.placement import place_prompts

    placed = place_prompts(volume, given)
    ((key, on_slice),) = placed.slices.items()
    found = engine.answer(volume, key, on_slice, Context(cache=CACHE, expert=expert))
    assert found is not None
    return {entry.expert: entry for entry in found.experts}


def same(one: ExpertLogits, other: ExpertLogits) -> bool:
    return np.array_equal(one.logits, other.logits) and one.quality == other.quality


@pytest.mark.parametrize("kind", ["box", "click", "box and clicks"])
def test_the_base_answers_to_the_last_bit_as_without_experts(
    kind: str, load, lite_engine: SliceEngine, demo_volume: Volume, prompts
) -> None:
    alone = answers(lite_engine, demo_volume, prompts[kind])["base"]
    for names in ((), ("box", "click", "refine")) if kind == "box" else (("box", "click", "refine"),):
        found = answers(load(*names), demo_volume, prompts[kind])
        assert same(found["base"], alone)
        assert {name.split("/")[0] for name in found} == {"base", *names}
        assert all(not same(entry, alone) for name, entry in found.items() if name != "base")


@pytest.mark.parametrize(("name", "kind"), [("box", "box"), ("click", "click"), ("refine", "clicks")])
def test_a_pack_answers_the_same_whatever_other_packs_are_there(
    name: str, kind: str, load, demo_volume: Volume, prompts
) -> None:
    """To the last bit. One that sees its own earlier answer is asked by name, so that it sees that and no other."""
    expert = f"{name}/1"
    alone = answers(load(name), demo_volume, prompts[kind], expert)[expert]
    assert same(answers(load("box", "click", "refine"), demo_volume, prompts[kind], expert)[expert], alone)


def test_a_click_goes_to_experts_that_were_taught_clicks(load, lite_engine, demo_volume: Volume, prompts) -> None:
    assert load("box").understands == lite_engine.understands
    with Session(demo_volume, load("box", "click"), prefetch=False, cache=CACHE) as session:
        session.add(prompts["click"][0])
        result = session.result("Segment_1")
    assert result.expert.startswith("click/")
    assert {other.expert.split("/")[0] for other in result.alternatives} == {"base", "box", "click"}
    assert not any("box" in note for note in result.notes)
    with Session(demo_volume, load("box"), prefetch=False, cache=CACHE) as session:
        session.add(prompts["click"][0])
        assert any("turned into a box" in note for note in session.result("Segment_1").notes)


def test_a_pack_can_be_asked_by_its_own_name_and_a_wrong_name_lists_all_packs(
    load, demo_volume: Volume, prompts
) -> None:
    engine = load("box", "click", "refine")
    by_gate = answers(load("click"), demo_volume, prompts["click"])
    asked = answers(engine, demo_volume, prompts["click"], "click")
    assert next(iter(asked)) == next(iter(by_gate))
    assert next(iter(asked)).startswith("click/")
    for name in ("heart", "heart/1"):
        with pytest.raises(PromptError, match=f"no expert '{name}'; it has base, box, click, refine"):
            answers(engine, demo_volume, prompts["click"], name)
    with pytest.raises(PromptError, match="no expert 'click/99'; it has .*click/0, click/1"):
        answers(engine, demo_volume, prompts["click"], "click/99")


def test_only_a_pack_that_takes_masks_makes_the_engine_refine(load) -> None:
    assert [load(name).model.refines for name in ("box", "click", "refine")] == [False, False, True]
    assert "mask" in load("refine").model.native
    assert load("click").model.native == {"box", "point"}


@pytest.mark.parametrize(("dice", "knowing", "proven"), [(0.9, True, True), (0.7, True, False), (0.9, False, False)])
def test_a_box_goes_to_a_pack_that_knows_and_was_measured_better_than_the_base(
    dice: float, knowing: bool, proven: bool, lite_engine: SliceEngine, demo_volume: Volume, prompts, tmp_path: Path
) -> None:
    """Though the base expects more of its own mask."""
    pack = random_pack(width=256, early=160, rank=4)
    for parameter in pack.parameters():
        parameter.data.mul_(0.3)
    pack.scope = Scope(672, 416)
    pack.scope.familiarity.limit.fill_(60000.0)
    pack.scope.bias.fill_(3.0 if knowing else -3.0)
    measured = (Measurement("held-out patients", "box", dice, 0.8, 5, "moeseg teach"),)
    write_pack(tmp_path / "liver.safetensors", pack, card_for(pack, "liver", measured=measured))
    base = lite_engine.model
    mixture = AsymmetricSegMoTE(base.decoder.network).eval()
    loaded = load_packs(mixture, "lite-medsam", LITE_SHA256, [tmp_path / "liver.safetensors"])
    traits = {card.name: traits_of(card) for card in loaded.cards}
    engine = SliceEngine(SegMoTELite(mixture, base.encoder, LITE_SHA256, loaded.id, traits))
    found = answers(engine, demo_volume, prompts["box"])
    assert next(iter(found)).startswith("liver/" if proven else "base")
    if knowing:
        assert found["base"].quality > max(entry.quality for name, entry in found.items() if name != "base")


def test_the_set_of_packs_is_in_the_keys_of_the_cache(load, lite_engine) -> None:
    sets = [(), ("box",), ("click",), ("box", "click")]
    assert len({load(*names).model.decoder_id for names in sets}) == len(sets)
    assert {load(*names).model.encoder_id for names in sets} == {lite_engine.model.encoder_id}


def test_the_order_of_packs_does_not_matter(load) -> None:
    assert load("click", "box").model.decoder_id == load("box", "click").model.decoder_id


@pytest.fixture
def own_packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packs: dict[str, Path]) -> None:
    """The three packs are installed, and no others."""
    monkeypatch.setattr(store, "packs_home", lambda: tmp_path)
    monkeypatch.setattr(store, "shipped_folder", lambda: None)
    for file in packs.values():
        import_pack(file)


def test_switched_on_packs_are_loaded_and_damaged_ones_left_out_with_a_note(own_packs, lite_engine) -> None:
    def loaded(experts: list[str | Path] | None = None) -> LoadedPacks:
        mixture = AsymmetricSegMoTE(lite_engine.model.decoder.network)
        return load_packs(mixture, "lite-medsam", LITE_SHA256, experts)

    def names(packs: LoadedPacks) -> list[str]:
        return [card.name for card in packs.cards]

    assert (names(loaded()), loaded().notes) == (["box", "click", "refine"], ())
    set_enabled("click", False)
    assert (names(loaded()), loaded().notes) == (["box", "refine"], ())
    path = find_pack("box").path
    path.write_bytes(path.read_bytes()[:-4])
    assert names(loaded()) == ["refine"]
    assert "box was left out" in loaded().notes[0]
    assert names(loaded(["click"])) == ["click"]
    with pytest.raises(WeightsError, match="whole expert pack"):
        loaded(["box"])
    with pytest.raises(UnknownModelError, match="heart"):
        loaded(["heart"])


def test_an_engine_comes_with_the_installed_packs_and_their_notes(own_packs, lite_medsam_path: Path) -> None:
    path = find_pack("refine").path
    path.write_bytes(path.read_bytes()[:-4])
    model = load_engine("segmote-lite", runtime="torch").model
    assert {name: trait.kinds for name, trait in model.traits.items()} == {"box": {"box"}, "click": {"box", "point"}}
    assert len(model.notes) == 1
    assert "refine was left out" in model.notes[0]


def test_a_pack_of_another_base_or_other_sizes_is_refused(tmp_path: Path, packs, lite_engine) -> None:
    narrow, path = random_pack(), tmp_path / "odd.safetensors"
    mixture = AsymmetricSegMoTE(lite_engine.model.decoder.network)

    def refused(files: list[Path], reason: str) -> None:
        with pytest.raises(WeightsError, match=reason):
            load_packs(mixture, "lite-medsam", LITE_SHA256, files)

    write_pack(path, narrow, card_for(narrow, "odd"))
    refused([path], "not the experts of odd")
    write_pack(path, narrow, card_for(narrow, "odd", base=BaseModel("lite-medsam", "e" * 64)))
    refused([path], "fits its own base only")
    assert list(mixture.packs) == []
    refused([packs["box"], packs["box"]], "twice")
    with pytest.raises(WeightsError, match="takes no experts"):
        load_engine("lite-medsam", experts=[])


def test_loading_packs_changes_no_weight_of_the_base(load) -> None:
    with_packs, without = (load(*names).model.experts.state_dict() for names in (("box", "click"), ()))
    assert all(torch.equal(with_packs[key], value) for key, value in without.items())
    assert {key.split(".")[1] for key in with_packs if key not in without} == {"box", "click"}
