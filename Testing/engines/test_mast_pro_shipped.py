"""The MAST-Pro that ships, on the CT that ships: the lesion of the browser demo's story is found."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from fakes3d import dice
from numpy.typing import NDArray

from MoESegLib.core.errors import PromptError
from MoESegLib.core.lesions import certainty, split_lesions
from MoESegLib.core.organs import organ_ids, organ_labels
from MoESegLib.core.prompts import MaskPrompt, TextPrompt
from MoESegLib.core.resample import resample_nearest
from MoESegLib.core.volume import Volume
from MoESegLib.engines import load_engine
from MoESegLib.engines.mast_pro import MastProEngine
from MoESegLib.engines.protocol import Context
from MoESegLib.resources import resource_path
from MoESegLib.training.tumor_kinds import kind_named
from MoESegLib.training.tumor_synthesis import OrganBody, with_lesions

LIVER = 1 + organ_ids().index("liver")
PLACE = 95.0, 165.0, -784.5
"""In RAS; the story's (``MoESegLib/web/story_lesion.py``). Elsewhere it is found less well: ``docs/results.md``."""
Case = tuple[Volume, NDArray[np.bool_], NDArray[np.bool_]]


@pytest.fixture(scope="module")
def case() -> Case:
    """The demo's CT with a lesion in its liver; liver and lesion ``[k, j, i]``."""
    ct = Volume.read(resource_path("Demo", "ct"))
    labels = Volume.read(resource_path("Demo", "labels.nii.gz"))
    organs = organ_labels(resample_nearest(labels.array, labels.ijk_to_ras, ct).astype(np.uint8), "total")
    liver = organs == LIVER
    k, j, i = (slice(int(found.min()), int(found.max()) + 1) for found in np.nonzero(liver))
    part = dataclasses.replace(ct, array=ct.array[k, j, i])
    body, random = OrganBody.of(part, organs[k, j, i]), np.random.default_rng(4)
    near = ct.ras_to_ijk(PLACE)[::-1] - (k.start, j.start, i.start)
    drawn = with_lesions(body, [kind_named("liver_tumor")], random, near=near, counts=[1])
    voxels, lesion = ct.array.copy(), np.zeros(ct.shape, bool)
    voxels[k, j, i], lesion[k, j, i] = np.rint(drawn.image), drawn.lesions["liver_tumor"]
    return dataclasses.replace(ct, array=voxels), liver, lesion


def test_the_lesion_of_the_story_is_found_and_no_tumor_of_an_organ_that_was_not_given(case: Case) -> None:
    volume, liver, lesion = case
    engine = load_engine("mast-pro", runtime="torch")
    prompts = [TextPrompt("liver tumor"), MaskPrompt(mask=liver, role="anatomy", structure="liver")]
    answer = engine.predict(volume, prompts, Context("volume"))
    found = answer.patch.to_array(volume.shape) != 0
    assert dice(found, lesion) > 0.5
    assert isinstance(engine, MastProEngine) and engine.doubt is not None and answer.probability is not None
    sure = [certainty(part, answer.probability) for part in split_lesions(answer.patch, volume.voxel_volume, 0)]
    weak = sum(percent < engine.doubt.below for percent in sure)
    assert any(note.startswith(("Doubtful", f"{weak} of them doubtful")) for note in answer.notes) == (weak > 0)
    assert max(sure) >= engine.doubt.below
    other = [TextPrompt("kidney tumor"), *prompts[1:]]
    assert not engine.predict(volume, other, Context("volume")).patch.to_array(volume.shape).any()


def test_mammograms_are_searched_for_breast_tumors_and_refused_for_others() -> None:
    engine = load_engine("mast-pro", runtime="torch")
    picture = Volume(np.random.default_rng(0).integers(0, 255, (1, 96, 96)).astype(np.uint8), np.eye(4), "MG")
    engine.check(picture, [TextPrompt("breast tumor")], "volume")
    with pytest.raises(PromptError, match="looked for in CT"):
        engine.check(picture, [TextPrompt("liver tumor")], "volume")
