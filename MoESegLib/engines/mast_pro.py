"""MAST-Pro as an engine: a phrase says which tumor, organs say where, the answer is every lesion of that type.

Published is the idea (arXiv 2503.14355); network and inference are ours: docs/mast-pro.md.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..core.errors import PromptError
from ..core.lesions import certainty, split_lesions, without_specks
from ..core.memory import check_memory, free_memory
from ..core.prompts import MaskPrompt, Prompt, TextPrompt
from ..core.results import MaskPatch, Prediction
from ..core.tumor_records import TumorRecord
from ..core.tumors import TumorBook, TumorMatch
from ..core.volume import Volume
from ..models.mast_pro import MastPro
from .anatomy3d import REACH_MM, Anatomy3D, anatomy_on_grid
from .assemble3d import VolumeReader
from .cache import content_key
from .canvas3d import CHOSEN, Canvas, Lattice
from .placement import check_prompts
from .protocol import Context, ExpertLogits, Extent3D
from .sliding import FAR, Question, import_monai, slide, window_count, windows_at_once
from .tumor_image import as_scalar, tumor_grid
from .tumor_notes import Doubt, answer_of, doubt_note, match_notes, modality_note
from .tumor_search import CHANNELS, Search, plan_search

NEAR_MM = 10.0
"""Millimeters around the organs in which a tumor of theirs may lie."""
OVERLAP = 0.25
_READ = 0.1
"""Share of the time that reading the image takes."""
_WINDOW_CHANNELS = 200
"""Float32 numbers a voxel that the network holds at once; measured with the compact one (``benchmarks``)."""
_EXAMPLES = '"liver tumor", "left kidney tumor", "lung tumor"'


@dataclass(frozen=True)
class Cost:
    """What a search will take.

    Attributes:
        windows: patches that the network looks at, at most.
        bytes: of memory, beside the image.
        free: bytes that are free now, or None where that is not known.
    """

    windows: int
    bytes: int
    free: int | None


class MastProEngine:
    """Finds the lesions of one tumor type in a region of a volume, or in a single slice.

    Prompts: one :class:`TextPrompt` names the tumor (several of the same are one); ``MaskPrompt(role="anatomy")`` are
    organs, on any grid; a :class:`BoxPrompt` is the region to search instead of the surroundings of the organs. A
    phrase with a point (``ras``) is about that slice alone.

    A tumor that lies in organs only is not looked for where organs were given and its own is not among them: the answer
    is empty and says so, rather than a guess.

    Args:
        network: in eval mode, on its device.
        weights_id: identifies the weights in cache keys.
        book: looks phrases up.
        overlap: share of a window that its neighbor sees too; 0.5 takes 3.4 times as long as 0.25 in a large volume.
        restrict: keep nothing farther than 10 mm from the organs that were given.
        taught: DICOM codes of the images that a tumor was learned in, by its id; for others its record counts.
        in_slices: ids of the tumors that were learned in single slices, alone or too. A volume thinner than a window is
            searched slice by slice for them.
        doubt: from where on findings can be relied on; None where it was not measured.
        notes: said with every answer.

    Raises:
        ResourceError: MONAI is not installed.
    """

    name = "mast-pro"
    understands = frozenset({"text", "mask", "box"})

    def __init__(
        self,
        network: MastPro,
        weights_id: str,
        book: TumorBook,
        *,
        overlap: float = OVERLAP,
        restrict: bool = True,
        taught: Mapping[str, Sequence[str]] | None = None,
        in_slices: Collection[str] = (),
        doubt: Doubt | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        import_monai()
        self.network, self.weights_id, self.book = network, weights_id, book
        self.taught, self.in_slices, self.notes = dict(taught or {}), frozenset(in_slices), tuple(notes)
        self.overlap, self.restrict, self.doubt = _checked_overlap(overlap), restrict, doubt

    def with_options(self, *, overlap: float | None = None, restrict: bool | None = None) -> MastProEngine:
        """The same engine with other options; the network is shared.

        Raises:
            PromptError: the overlap is not from 0 to below 1.
        """
        other = copy.copy(self)
        other.overlap = self.overlap if overlap is None else _checked_overlap(overlap)
        other.restrict = self.restrict if restrict is None else restrict
        return other

    @property
    def records(self) -> tuple[TumorRecord, ...]:
        """The tumor types that the network was taught."""
        return tuple(record for record in self.book.records if record.id in self.network.tumors)

    def check(self, volume: Volume, prompts: Sequence[Prompt], extent: Extent3D) -> None:
        """See :meth:`MoESegLib.engines.protocol.Engine.check`."""
        for prompt in prompts:
            if prompt.kind not in self.understands:
                raise PromptError(
                    f"{self.name} does not understand {prompt.kind} prompts; it takes a phrase, organs and a box. To "
                    "correct its lesions with clicks, start segmote-lite or sam-med3d from them."
                )
            if isinstance(prompt, MaskPrompt) and prompt.role != "anatomy":
                raise PromptError(
                    f"{self.name} cannot start from a first guess; it takes masks of organs (role='anatomy')."
                )
        match = self._match(prompts)
        if match is None and any(not isinstance(prompt, MaskPrompt) for prompt in prompts):
            raise PromptError(f"{self.name} looks for what a phrase names. Type for example {_EXAMPLES}.")
        as_scalar(volume)
        check_prompts(volume, prompts)
        if match is not None:
            modality_note(volume, match.record, self.taught)

    def predict(self, volume: Volume, prompts: Sequence[Prompt], context: Context) -> Prediction:
        """See :meth:`MoESegLib.engines.protocol.Engine.predict`; the expert is the one that served most."""
        match = self._match(prompts)
        if match is None:
            return Prediction(notes=(f"Type what to look for, for example {_EXAMPLES}.",))
        if context.expert is not None:
            raise PromptError(f"The router of {self.name} chooses the experts itself. Leave the choice to it.")
        volume, gray_note = as_scalar(volume)
        is_taught = match.record.id in self.network.tumors
        notes = [
            *self.notes,
            gray_note,
            *match_notes(match, is_taught),
            modality_note(volume, match.record, self.taught),
        ]
        search, anatomy = self._plan(volume, prompts, match, context)
        notes += anatomy.notes
        if anatomy.is_absent:
            return Prediction(notes=_told(notes))
        self._check_memory(search)
        answer = self._look(search, anatomy, match, context)
        lattice = Lattice(
            (search.limit[0].start, search.limit[1].start, search.limit[2].start), 1, 1, search.grid.shape
        )
        reader = VolumeReader(volume, search.grid, lattice, search.slices, check=context.cancel.check)
        found = reader.prediction(Canvas(layers={CHOSEN: answer.logits}), (answer,), [])
        context.cancel.check()
        patch, count = without_specks(found.patch, self.voxel_volume(volume))
        lesions = "Nothing was found." if count == 0 else f"{count} separate lesion{'s' * (count > 1)}."
        return replace(
            found, patch=patch, notes=_told([lesions, self._doubts(match, patch, found), *notes, *answer.notes])
        )

    def preview(self, volume: Volume, prompts: Sequence[Prompt], extent: Extent3D = "volume") -> Cost | None:
        """What :meth:`predict` would take; None where there is nothing to look for.

        Raises:
            PromptError: as :meth:`check`.
        """
        match = self._match(prompts)
        if match is None:
            return None
        search, anatomy = self._plan(as_scalar(volume)[0], prompts, match, Context(extent))
        return None if anatomy.is_absent else self._cost(search)

    def prefetch(self, volume: Volume, axis: int, index: int, context: Context) -> None:
        """Nothing: a search is about a whole region."""

    def is_prefetched(self, volume: Volume, axis: int, index: int, context: Context) -> bool:
        """True, since there is nothing to prepare."""
        return True

    def voxel_volume(self, volume: Volume) -> float:
        """Cubic millimeters of one voxel; a single slice counts as thick as the network sees it."""
        spacing = self.network.config.spacing_mm
        shares = [spacing / step for step, size in zip(volume.spacing, volume.size, strict=True) if size == 1]
        return volume.voxel_volume * float(np.prod(shares))

    def _match(self, prompts: Sequence[Prompt]) -> TumorMatch | None:
        """What the phrases look for, or None without any."""
        found = [self.book.find(prompt.text) for prompt in prompts if isinstance(prompt, TextPrompt)]
        if len({(match.record.id, match.side) for match in found}) > 1:
            said = " and ".join(f'"{match.phrase}"' for match in found)
            raise PromptError(f"{said} are different tumors. Look for one at a time, each in a segment of its own.")
        return found[0] if found else None

    def _plan(
        self, volume: Volume, prompts: Sequence[Prompt], match: TumorMatch, context: Context
    ) -> tuple[Search, Anatomy3D]:
        grid = tumor_grid(volume, self.network.config.spacing_mm)
        organs = (prompt for prompt in prompts if isinstance(prompt, MaskPrompt) and context.cancel.check() is None)
        anatomy = anatomy_on_grid(volume, grid, organs, match.record, match.side)
        in_slices = match.record.id in self.in_slices
        return plan_search(volume, grid, anatomy, prompts, self.network.config, context.extent, in_slices), anatomy

    def _cost(self, search: Search) -> Cost:
        """Measured peaks: ``benchmarks/time_tumors.py``."""
        seen = int(np.prod(search.shape))
        window = int(np.prod(search.window)) * windows_at_once(self.network.config, search.window)
        limit = np.prod([float(part.stop - part.start) for part in search.limit])
        # The answer is read back at the image's own voxels: mask, logits, and a share of them while they are made.
        back = limit * self.network.config.spacing_mm**3 / self.voxel_volume(search.volume)
        most = 4 * (seen * (CHANNELS + 4) + window * _WINDOW_CHANNELS + 4 * min(back, search.volume.array.size))
        windows = window_count(search.shape, search.window, self.overlap)
        return Cost(windows, int(most), free_memory())

    def _check_memory(self, search: Search) -> None:
        cost = self._cost(search)
        shape = " x ".join(map(str, search.shape))
        check_memory(
            cost.bytes,
            cost.free,
            f"Searching {shape} voxels",
            "Give the organ of the tumor or draw a box, so that less is searched, or close other programs.",
        )

    def _look(self, search: Search, anatomy: Anatomy3D, match: TumorMatch, context: Context) -> ExpertLogits:
        """Logits of the limit ``[r, a, s]`` and who gave them, from the cache or the network."""
        restricted = self.restrict and anatomy.is_known and match.record.is_within_organs
        where = repr((search.limit, search.start, search.shape, search.window, self.overlap, restricted))
        organs = anatomy.labels.tobytes(), anatomy.target.tobytes()
        asked = match.record.id, match.embedding.tobytes()
        key = content_key(self.weights_id, search.volume.content_id, *asked, where, *organs)
        known = context.cache.decoded.get(key)
        if known is not None:
            return known[0]
        progress = context.progress or (lambda done, text: None)
        progress(0.0, "reading the image")
        inputs = search.read(anatomy, self.network.config, context.cancel.check)
        question = self._question(match, anatomy, -NEAR_MM / REACH_MM if restricted else None)
        d, h, w = (search.window[axis] for axis in search.order)
        logits, tally = slide(
            self.network,
            inputs,
            question,
            (d, h, w),
            self.overlap,
            context.cancel,
            lambda done, text: progress(_READ + (1 - _READ) * done, text),
        )
        logits = search.back(logits)
        if question.nearest is not None:
            logits = np.where(search.back(inputs[3]) >= question.nearest, logits, np.float32(FAR))
        answer = answer_of(np.ascontiguousarray(logits), tally, match.record)
        context.cache.decoded.put(key, (answer,), answer.logits.nbytes)
        return answer

    def _doubts(self, match: TumorMatch, patch: MaskPatch, found: Prediction) -> str:
        """About tumors of the base; of others it was not measured."""
        if self.doubt is None or found.probability is None or match.record.id not in self.network.config.tumors:
            return ""
        return doubt_note([certainty(part, found.probability) for part in split_lesions(patch, 1.0, 0)], self.doubt)

    def _question(self, match: TumorMatch, anatomy: Anatomy3D, nearest: float | None) -> Question:
        taught = match.record.id if match.record.id in self.network.tumors else None
        number = int(self.network.tumor_numbers([taught])[0])
        return Question(match.embedding, number, bool(anatomy.present), nearest)


def _checked_overlap(overlap: float) -> float:
    if not 0 <= overlap <= 0.9:
        raise PromptError(f"Windows can overlap by 0 to 0.9 of their width, not by {overlap:g}.")
    return overlap


def _told(notes: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(note for note in notes if note))
