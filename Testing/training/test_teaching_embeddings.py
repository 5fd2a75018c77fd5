"""Embeddings on disk: computed once, found again, whole or not there; and samples that are what the engine sees."""

from __future__ import annotations

import collections
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_teaching import SIDE, ball_cases, tiny_engine

from MoESegLib.core.cancel import CancelToken
from MoESegLib.core.errors import Cancelled, OutputError
from MoESegLib.core.prompts import BoxPrompt
from MoESegLib.engines.cache import EngineCache
from MoESegLib.engines.protocol import Context
from MoESegLib.training.embeddings import EmbeddingStore, embedding_key
from MoESegLib.training.held_out import measure, summarize
from MoESegLib.training.samples import Collecting, collect_probes, collect_samples


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


def test_every_slice_is_encoded_once_and_never_again(tmp_path: Path) -> None:
    engine, cases = tiny_engine(), ball_cases(3)
    samples = collect_samples(engine, cases, EmbeddingStore(tmp_path))
    keys = {sample.embedding for sample in samples}
    assert engine.model.encoder.calls == len(keys) == len(files(tmp_path))
    other = tiny_engine()
    assert len(collect_samples(other, cases, EmbeddingStore(tmp_path))) == len(samples)
    assert other.model.encoder.calls == 0


def test_an_embedding_is_the_engines_own_in_half_precision(tmp_path: Path) -> None:
    engine, (case, *_) = tiny_engine(), ball_cases(1)
    store = EmbeddingStore(tmp_path)
    keys = {sample.embedding for sample in collect_samples(engine, [case], store)}
    context, axis = Context(), case.image.acquisition_axis
    found = set()
    for index in range(case.image.size[axis]):
        prepared = engine.prepare(case.image, (axis, index))
        stored = store.get(embedding_key(engine, prepared))
        if stored is not None:
            found.add(embedding_key(engine, prepared))
            own = engine.embedding(prepared, context)
            assert stored["image"].dtype == stored["early"].dtype == torch.float16
            assert all(torch.equal(stored[name], own[name]) for name in ("image", "early"))
    assert found == keys != set()


def test_stopped_in_the_middle_it_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    engine, cases, cancel = tiny_engine(), ball_cases(2), CancelToken()
    seen = collections.Counter()

    def stop(fraction, message, metrics) -> None:
        seen["slices"] += 1
        if seen["slices"] == 5:
            cancel.cancel()

    with pytest.raises(Cancelled):
        collect_samples(engine, cases, EmbeddingStore(tmp_path), progress=stop, cancel=cancel)
    kept = len(files(tmp_path))
    assert kept == engine.model.encoder.calls > 0
    collect_samples(engine, cases, EmbeddingStore(tmp_path))
    assert engine.model.encoder.calls == len(files(tmp_path)) > kept


def test_a_damaged_file_is_encoded_again(tmp_path: Path) -> None:
    engine, cases = tiny_engine(), ball_cases(1)
    store = EmbeddingStore(tmp_path)
    sample, *_ = collect_samples(engine, cases, store)
    whole = next(path for path in files(tmp_path) if path.stem == sample.embedding)
    content = whole.read_bytes()
    whole.write_bytes(content[:1000])
    assert store.get(sample.embedding) is None
    before = engine.model.encoder.calls
    collect_samples(engine, cases, store)
    assert engine.model.encoder.calls == before + 1
    assert whole.read_bytes() == content


def test_a_full_disk_is_said_and_what_is_there_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, cases, store = tiny_engine(), ball_cases(1), EmbeddingStore(tmp_path)
    collect_samples(engine, cases, store, Collecting(max_slices=2))
    kept = files(tmp_path)
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 1000))
    with pytest.raises(OutputError, match="no space.*--cache"):
        collect_samples(engine, cases, store)
    assert files(tmp_path) == kept


def test_targets_lie_where_the_engine_puts_its_answers(tmp_path: Path) -> None:
    engine, (case,) = tiny_engine(), ball_cases(1)
    samples = collect_samples(engine, [case], EmbeddingStore(tmp_path))
    volume, (structure,) = case.image, case.labels
    mask = structure.patch.to_array(volume.shape)
    scale = SIDE / max(volume.size[:2])
    for sample in samples:
        assert sample.target.shape == (SIDE, SIDE)
        assert not sample.target[sample.used[0] :].any()
        assert sample.used == (round(volume.size[1] * scale), SIDE)
    areas = sorted(int(mask[k].sum()) for k in range(len(mask)) if mask[k].sum() >= 10)
    assert np.allclose(sorted(sample.target.sum() for sample in samples), np.array(areas) * scale**2, rtol=0.1)


def test_a_probe_is_answered_as_its_slice_in_the_volume(tmp_path: Path) -> None:
    engine, cases = tiny_engine(), ball_cases(2)
    for probe in collect_probes(engine, cases, 6):
        case = next(case for case in cases if case.patient == probe.patient)
        index = round(float(case.image.ras_to_ijk(probe.volume.to_ras([0, 0, 0]))[2]))
        own = engine.prepare(case.image, (2, index))
        assert engine.prepare(probe.volume, (2, 0)).key == own.key
        mask = case.labels[0].patch.to_array(case.image.shape)
        assert (probe.mask[0] == mask[index]).all()
        corners = case.image.to_ras([[5, 5, index], [30, 30, index]])
        box = BoxPrompt(tuple(corners[0]), tuple(corners[1]))
        whole = engine.predict(case.image, [box], Context()).patch.to_array(case.image.shape)[index]
        single = engine.predict(probe.volume, [box], Context()).patch.to_array(probe.volume.shape)[0]
        assert (whole == single).all()


def test_every_second_probe_of_a_varied_lesson_lies_elsewhere_in_other_grays() -> None:
    engine, cases = tiny_engine(), ball_cases(2)
    plain = collect_probes(engine, cases, 6)
    varied = collect_probes(engine, cases, 6, Collecting(varied=1))
    assert [probe.structure for probe in varied] == [probe.structure for probe in plain]
    for number, (before, after) in enumerate(zip(plain, varied, strict=True)):
        same = (before.volume.array == after.volume.array).all()
        assert same == (number % 2 == 0)
        assert (before.mask == after.mask).all() == same
        overlap = after.volume.array[after.mask].mean() - after.volume.array[~after.mask].mean()
        assert overlap > 0  # the balls are bright: the mask moved with the image


def test_measuring_reads_the_store_and_fills_it(tmp_path: Path) -> None:
    engine, cases, store = tiny_engine(), ball_cases(2), EmbeddingStore(tmp_path)
    probes = collect_probes(engine, cases, 4)
    first = measure(engine, probes, store)
    calls = engine.model.encoder.calls
    assert measure(engine, probes, store) == first
    assert engine.model.encoder.calls == calls == len(files(tmp_path))
    scores = (("a", 1.0, 0.5), ("a", 0.0, 0.5), ("b", 1.0, 0.0))
    result = summarize([(who, {"box": box, "click": click}) for who, box, click in scores])
    assert (result.box, result.click, result.masks, result.patients) == (0.75, 0.25, 3, 2)
    assert EngineCache(disk=store).get_embedding("missing") is None
