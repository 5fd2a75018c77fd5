"""A proposal as the start of a click session."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from fakes import ThresholdModel
from fakes3d import CENTER, BrightRegion, at, bright_ball, dice
from tumor_tools import BrightLesions, engine_with, find, inside, organ, ramp_volume

from MoESegLib.core.errors import Cancelled, PromptError
from MoESegLib.core.prompts import TextPrompt
from MoESegLib.core.results import MaskPatch
from MoESegLib.core.volume import Volume
from MoESegLib.engines.slice_engine import SliceEngine
from MoESegLib.engines.volume_engine import VolumeEngine
from MoESegLib.session import Session
from MoESegLib.session.refine import refine, start_prompt

AXIAL = np.diag([-1.0, -1.0, 2.0, 1.0])


@pytest.fixture
def volume() -> Volume:
    return bright_ball(AXIAL, (24, 48, 48), 10.0)


def test_a_proposal_of_mast_pro_starts_a_session_of_sam_med3d_that_clicks_correct() -> None:
    centers = CENTER + (-14, 0, 0), CENTER + (14, 0, 0)
    volume = ramp_volume((24, 48, 72), AXIAL, [(centers[0], 9.0), (centers[1], 7.0)])
    proposal = find(engine_with(), volume)
    engine = VolumeEngine(BrightRegion(crop_size=32, spacing=2.0))
    with refine(volume, engine, proposal.patch, prefetch=False) as session:
        session.wait()
        assert session.segments == ("Lesion_1", "Lesion_2")
        (first,) = session.prompts("Lesion_1")
        assert first.kind == "mask"
        assert dice(session.mask("Lesion_1"), inside(volume, centers[0], 9.0)) > 0.9
        assert dice(session.mask("Lesion_2"), inside(volume, centers[1], 7.0)) > 0.85
        before = session.mask("Lesion_1")
        session.add(at(centers[0] + (0, 7, 0), positive=False, segment="Lesion_1"))
        session.wait()
        assert session.mask("Lesion_1").sum() < before.sum()
        assert session.undo()
        session.wait()
        np.testing.assert_array_equal(session.mask("Lesion_1"), before)


def test_a_search_that_is_cancelled_leaves_the_mask_and_an_undone_one_brings_it_back() -> None:
    volume = ramp_volume((24, 48, 48), AXIAL)
    network, started, go_on = BrightLesions(), threading.Event(), threading.Event()
    with Session(volume, engine_with(network), extent="volume", prefetch=False) as session:
        liver = organ(volume, segment="A")
        session.set_segment("A", [TextPrompt("liver tumor", segment="A"), liver])
        session.wait()
        before, windows = session.mask("A"), len(network.seen)
        assert dice(before, inside(volume)) > 0.97
        network.before = lambda: (started.set(), go_on.wait(30))
        session.set_segment("A", [TextPrompt("liver tumor", segment="A"), organ(volume, radius=7.0, segment="A")])
        assert started.wait(30)
        session.cancel()
        go_on.set()
        with pytest.raises(Cancelled):
            session.wait()
        np.testing.assert_array_equal(session.latest("A").prediction.patch.to_array(volume.shape), before)
        assert len(network.seen) == windows + 1
        network.before = lambda: None
        assert session.undo()
        session.wait()
        np.testing.assert_array_equal(session.mask("A"), before)


def test_a_slice_model_starts_from_every_slice_of_a_lesion(volume: Volume) -> None:
    ball = inside(volume, CENTER, 10.0)
    engine = SliceEngine(ThresholdModel(frozenset({"point", "box", "mask"})))
    lesion = MaskPatch.of(ball)
    name = "liver tumor {}".format
    with refine(volume, engine, [lesion], name, prefetch=False) as session:
        session.wait()
        assert session.segments == ("liver tumor 1",)
        assert dice(session.mask("liver tumor 1"), ball) > 0.8


def test_the_first_guess_is_as_small_as_the_lesion_and_lies_where_it_is(volume: Volume) -> None:
    ball = inside(volume, CENTER, 6.0)
    lesion = MaskPatch.of(ball)
    prompt = start_prompt(volume, lesion, "A")
    assert prompt.mask.shape == lesion.voxels.shape
    assert prompt.role == "start"
    np.testing.assert_allclose(prompt.ijk_to_ras[:3, 3], volume.to_ras(np.array(lesion.extent[::2])))


def test_an_engine_that_takes_no_masks_is_refused(volume: Volume) -> None:
    engine = SliceEngine(ThresholdModel(frozenset({"point"})))
    with pytest.raises(PromptError, match="does not understand mask prompts"):
        refine(volume, engine, MaskPatch.of(inside(volume)), prefetch=False)


def test_an_empty_proposal_is_an_empty_session(volume: Volume) -> None:
    assert refine(volume, SliceEngine(ThresholdModel()), MaskPatch(), prefetch=False).segments == ()
