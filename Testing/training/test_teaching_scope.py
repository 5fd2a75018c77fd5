"""A pack learns what it does not know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_teaching import ball_cases, teach_tiny, tiny_engine

from MoESegLib.core.errors import WeightsError
from MoESegLib.engines.prompt_features import feature_width, prompt_features
from MoESegLib.engines.protocol import ModelPrompt
from MoESegLib.training import reference
from MoESegLib.training.embeddings import EmbeddingStore
from MoESegLib.training.familiarity import fit_familiarity
from MoESegLib.training.reference import ReferencePrompts, load_reference, none_known
from MoESegLib.training.samples import collect_samples
from MoESegLib.training.scope import Evidence, fit_scope, gather_evidence


def clouds(distance: float, count: int = 200) -> Evidence:
    """Two clouds of prompts, the one that was taught a quarter of the other."""
    source = torch.Generator().manual_seed(0)
    known = torch.randn(count // 4, 12, generator=source) + distance
    others = torch.randn(count, 12, generator=source)
    patients = [str(number % 5) for number in range(len(known))]
    return Evidence(torch.cat([known, others]), np.arange(count * 5 // 4) < count // 4, known[:, 4:], patients)


def test_the_judge_tells_what_was_taught_from_what_was_not() -> None:
    scope = fit_scope(clouds(2.0))
    fresh = clouds(2.0, 40)
    assert ((scope(fresh.features) > 0).numpy() == fresh.taught).mean() > 0.95


def test_images_of_another_sort_are_strange_whatever_the_linear_judge_says() -> None:
    scope = fit_scope(clouds(2.0))
    known = clouds(2.0, 40)
    mine = known.features[torch.from_numpy(known.taught)]
    assert (scope.familiarity(mine[:, 4:]) >= 0).float().mean() >= 0.9
    elsewhere = mine * torch.tensor([1.0] * 4 + [-1.0, 1.0] * 4) + torch.tensor([0.0] * 4 + [0.0, 6.0] * 4)
    assert (scope.familiarity(elsewhere[:, 4:]) < 0).all()
    assert (scope(elsewhere) < 0).all()
    assert (scope(elsewhere, placed=False) < 0).all()
    far = clouds(20.0, 40).features[:10]  # farther along what tells the two clouds apart
    assert (scope(far) < 0).all()


def test_an_image_of_a_single_patient_stands_for_itself() -> None:
    images = torch.randn(12, 8, generator=torch.Generator().manual_seed(1))
    one, many = fit_familiarity(images, ["a"] * 12), fit_familiarity(images, [f"a {n}" for n in range(12)])
    assert one.limit == many.limit > 0
    most = fit_familiarity(images, ["a"] * 9 + ["b", "c", "d"])  # not: how far "a" is from three images
    assert 0.5 < float(most.limit / many.limit) < 2
    assert (one(images) >= 0).all()
    assert (one(images + 20) < 0).all()


def test_of_two_experts_that_know_the_one_with_more_typical_images_is_surer() -> None:
    near, far = clouds(2.0), clouds(2.0)
    far.features[torch.from_numpy(far.taught), 4:] += 1.0
    far = Evidence(far.features, far.taught, far.images + 1.0, far.patients)
    here = near.features[torch.from_numpy(near.taught)].mean(dim=0, keepdim=True)
    both = [float(fit_scope(evidence)(here)) for evidence in (near, far)]
    assert both[0] > both[1] > 0


def test_where_nothing_can_be_told_the_judge_is_unsure() -> None:
    scope = fit_scope(clouds(0.0))
    assert (((torch.zeros(1, 12) - scope.mean) / scope.scale) @ scope.weight + scope.bias).abs() < 1


def test_the_same_evidence_gives_the_same_judge() -> None:
    first, second = fit_scope(clouds(1.0)).state_dict(), fit_scope(clouds(1.0)).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert all(torch.equal(value, value.half().float()) for value in first.values())  # as small as the rest of a pack


def test_other_places_of_the_same_images_are_not_what_was_taught(tmp_path: Path) -> None:
    engine, store = tiny_engine(), EmbeddingStore(tmp_path)
    samples = collect_samples(engine, ball_cases(4), store)
    evidence = gather_evidence(samples, store, none_known(feature_width(32, 8)), seed=0)
    assert 0.4 < evidence.taught.mean() < 0.8
    scope = fit_scope(evidence)
    embedding, target = store.get(samples[0].embedding), samples[0].target
    rows, columns = np.nonzero(target)
    inside = ModelPrompt(np.array([[columns.mean(), rows.mean()]], np.float32), np.ones(1, np.int64))
    corner = ModelPrompt(np.array([[2, 2]], np.float32), np.ones(1, np.int64))
    assert embedding is not None
    odds = [float(scope(prompt_features(embedding, prompt, 64))) for prompt in (inside, corner)]
    assert odds[0] > 0 > odds[1]
    assert float(scope(prompt_features(embedding, ModelPrompt(), 64), placed=False)) > 0  # a phrase: the image counts


def test_a_taught_pack_has_a_judge_and_a_taught_seed_repeats_it(tmp_path: Path) -> None:
    first, again = (teach_tiny(tmp_path, 1).pack for _ in range(2))
    assert first.scope is not None
    assert first.scope.weight.any()
    assert torch.equal(first.scope.weight, again.scope.weight)


def test_reference_prompts_leave_out_what_is_taught() -> None:
    prompts = ReferencePrompts(np.arange(8, dtype=np.float32).reshape(4, 2), ("a", "a", "b", "c"), tuple("wxyz"))
    assert prompts.without({"a"}, {"z"}).tolist() == [[4, 5]]
    assert len(prompts.without((), ())) == 4


def test_the_shipped_reference_is_of_many_sets_and_of_the_features_of_the_base() -> None:
    shipped = load_reference()
    assert shipped.features.shape == (len(shipped.datasets), feature_width(256, 160))
    assert np.isfinite(shipped.features).all()
    assert len(set(shipped.datasets)) >= 10
    assert len(shipped.structures) == len(shipped.datasets)


def test_a_damaged_reference_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reference.safetensors").write_bytes(b"nothing")
    monkeypatch.setattr(reference, "resource_path", lambda *parts: tmp_path / parts[-1])
    with pytest.raises(WeightsError, match="damaged.*install MoESeg again"):
        load_reference()
