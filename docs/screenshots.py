"""Make the pictures of the Slicer module: ``python docs/screenshots.py [PAGE ...]``.

A scripted user drives the real panel on the demo CT with the real LiteMedSAM, as the tests do: mouse and keyboard on
the module's own widgets (``Testing/panel/panel_harness``), views filled by Slicer's own displayable managers
(``Testing/panel/views``). Nothing is drawn by hand; sections of the panel are only put beside a view. What the Slicer
application adds around them (menus, toolbars, its own style) is not in the pictures.

Needs ``pip install -e ".[test]"``, the weights (``moeseg models get lite-medsam``), and offscreen OpenGL.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TESTING = HERE.parent / "Testing"
sys.path[:0] = [str(TESTING), str(TESTING / "panel")]

import numpy as np  # noqa: E402
from panel_harness import Harness  # noqa: E402
from panel_harness.values import unwrap  # noqa: E402
from panel_helpers import MODULE, OpenPanel, add_volume  # noqa: E402
from PIL import Image  # noqa: E402
from PySide6 import QtCore, QtWidgets  # noqa: E402
from views import FourViews  # noqa: E402
from views.frame import HEADER  # noqa: E402

from MoESegLib.core.resample import resample_nearest  # noqa: E402
from MoESegLib.core.results import MaskPatch  # noqa: E402
from MoESegLib.core.volume import Volume  # noqa: E402
from MoESegLib.mrml.segmentations import COMPLETED, create_segmentation, set_status  # noqa: E402
from MoESegLib.mrml.volumes import local_ijk_to_ras  # noqa: E402
from MoESegLib.mrml.writer import oriented_image  # noqa: E402
from MoESegLib.resources import resource_path  # noqa: E402

Point = tuple[float, float, float]

VIEWS = (1240, 940)
CENTER: Point = (30.0, 150.0, -784.5)
LIVER: tuple[Point, Point] = ((-15.1, 70.3, -784.5), (147.0, 248.1, -784.5))
TIGHT: tuple[Point, Point] = ((5.0, 85.0, -784.5), (147.0, 248.1, -784.5))
PORTAL_VEIN: Point = (51.3, 182.6, -784.5)
VERTEBRA: Point = (12.2, 117.0, -784.5)
CAVA: Point = (37.6, 152.4, -784.5)
CAVA_BOX: tuple[Point, Point] = ((26.5, 144.0, -784.5), (49.5, 161.5, -784.5))
VEIN_BOX: tuple[Point, Point] = ((39.0, 170.5, -784.5), (64.5, 196.0, -784.5))
LONGEST = 300.0  # seconds for a prediction on a slow computer
MINUTES = 8  # of teaching
MOST_BYTES = 400_000


class Studio:
    """The opened panel, the four views of the same scene, and what a user does in them."""

    def __init__(self) -> None:
        self.harness = Harness.start()
        self.center, self.zoom = CENTER, 1.35
        self.harness.reset()
        self.harness.main_window.resize(1400, 1500)
        loaded = self.harness.load_module(MODULE)
        self.panel = OpenPanel(self.harness, loaded, None, None)  # type: ignore[arg-type]
        self.ui = loaded.ui
        self.harness.enter(loaded)
        self.harness.pump(0.3)

    def open_ct(self) -> None:
        """Load the demo CT as Sample Data does, and choose it."""
        volume = Volume.read(resource_path("Demo", "ct"))
        node = add_volume(self.harness.scene, volume, name="MoESegDemoCT")
        node.GetDisplayNode().AutoWindowLevelOff()
        node.GetDisplayNode().SetWindowLevel(400, 40)  # as the preset for the abdomen
        self.panel.volume = node
        self.harness.choose(self.ui.volumeSelector, "MoESegDemoCT")
        self.settle()
        self.harness.slice_logics["Red"].GetSliceCompositeNode().SetBackgroundVolumeID(node.GetID())

    def settle(self) -> None:
        """Wait until nothing runs."""
        self.panel.settle(LONGEST)

    # Doing

    def box(self, corners: tuple[Point, Point]) -> None:
        """Draw a box in the axial view."""
        self.harness.click(self.ui.boxTool)
        self.harness.place_box(*corners)
        self.settle()

    def click(self, *places: Point) -> None:
        """Click with the tool "Inside", then put it away."""
        self.harness.click(self.ui.positiveTool)
        for ras in places:
            self.harness.place_point(ras)
            self.settle()
        self.harness.click(self.ui.positiveTool)
        self.settle()

    def press(self, button: str) -> None:
        """Click a button or check box."""
        self.harness.click(getattr(self.ui, button))
        self.settle()

    # Looking

    def picture_of_views(self, view: str = "") -> Image.Image:
        """The four views, or one of them with its header, as they are now.

        The views are made anew for each picture: offscreen, those made before go on drawing markups that are gone.
        """
        logic = self.harness.slice_logics["Red"].GetMRMLApplicationLogic()
        with FourViews(self.harness.scene, logic, VIEWS) as views:
            views.three_d.node.SetBoxVisible(False)
            views.three_d.node.SetAxisLabelsVisible(False)
            views.show(self.panel.volume)
            for slices in views.slices.values():
                slices.node.JumpSliceByCentering(*self.center)
            views.jump_to(self.center)
            views.zoom(self.zoom)
            views.three_d.look(25, 35)
            picture = Image.fromarray(views.image())
            if not view:
                return picture
            left, top, width, height = views.area(view)
            return picture.crop((left, top - HEADER, left + width, top + height))

    def widget(self, name: str) -> Image.Image:
        """A picture of one widget of the panel."""
        self.harness.pump(0.1)
        return picture_of(getattr(self.ui, name))

    def column(self, *names: str) -> Image.Image:
        """Widgets of the panel one below the other."""
        return stacked([self.widget(name) for name in names], "down", self.background())

    def whole(self) -> Image.Image:
        """The whole panel, without the empty space below it."""
        self.harness.pump(0.3)
        panel, last = unwrap(self.panel.loaded.representation), unwrap(self.ui.disclaimerLabel)
        picture = picture_of(panel)
        bottom = last.mapTo(panel, last.rect().bottomLeft()).y() + 14
        return picture.crop((0, 0, picture.width, min(picture.height, bottom)))

    def background(self) -> tuple[int, int, int]:
        """The panel's color."""
        color = unwrap(self.harness.main_window).palette().window().color()
        return color.red(), color.green(), color.blue()

    def beside(self, *names: str) -> Image.Image:
        """Sections of the panel, and to their right the axial view."""
        return stacked([self.column(*names), self.picture_of_views("Red")], "right", self.background())

    def with_tooltip(self, name: str, section: str) -> Image.Image:
        """A section with the tooltip of one of its controls below it, as the mouse shows it."""
        control, whole = unwrap(getattr(self.ui, name)), unwrap(getattr(self.ui, section))
        QtWidgets.QToolTip.showText(control.mapToGlobal(QtCore.QPoint(10, 10)), control.toolTip(), control)
        self.harness.pump(0.3)
        picture = self.widget(section)
        tip = picture_of(
            next(w for w in QtWidgets.QApplication.topLevelWidgets() if w.objectName() == "qtooltip_label")
        )
        corner = control.mapTo(whole, QtCore.QPoint(16, control.height() - 8))
        picture.paste(tip, (min(corner.x(), picture.width - tip.width), corner.y()))
        QtWidgets.QToolTip.hideText()
        return picture


def picture_of(widget: Any) -> Image.Image:
    """A widget as the screen would show it."""
    data = QtCore.QByteArray()
    buffer = QtCore.QBuffer(data)
    buffer.open(QtCore.QIODevice.OpenModeFlag.WriteOnly)
    unwrap(widget).grab().save(buffer, "PNG")
    return Image.open(io.BytesIO(bytes(data.data()))).convert("RGB")


def stacked(pictures: list[Image.Image], way: str, background: tuple[int, int, int], gap: int = 8) -> Image.Image:
    """Pictures one below ("down") or beside ("right") the other."""
    down = way == "down"
    along = sum((p.height if down else p.width) for p in pictures) + gap * (len(pictures) - 1)
    across = max((p.width if down else p.height) for p in pictures)
    result = Image.new("RGB", (across, along) if down else (along, across), background)
    place = 0
    for picture in pictures:
        result.paste(picture, (0, place) if down else (place, 0))
        place += (picture.height if down else picture.width) + gap
    return result


def save(picture: Image.Image, name: str) -> None:
    """Write a PNG for the documents, with 256 colors when it would be too large."""
    path = HERE / f"{name}.png"
    picture.save(path, optimize=True)
    if path.stat().st_size > MOST_BYTES:
        picture.quantize(256).save(path, optimize=True)
    size = path.stat().st_size
    print(f"{path.name}: {picture.width} x {picture.height}, {size // 1000} kB", flush=True)
    if size > MOST_BYTES:
        raise SystemExit(f"{path.name} is larger than {MOST_BYTES // 1000} kB; make the picture smaller.")


def demo_point(segment: str) -> Point:
    """The click of the demo case in a structure."""
    demo = json.loads(resource_path("Demo", "demo.json").read_text(encoding="utf-8"))
    found = next(item for item in demo["segments"] if item["segment"] == segment)
    return tuple(found["prompts"][0]["ras"])  # type: ignore[return-value]


def center_and_size(corners: tuple[Point, Point]) -> tuple[Point, Point]:
    """Of the box between two corners."""
    a, b = np.array(corners)
    return tuple((a + b) / 2), tuple(np.abs(a - b))  # type: ignore[return-value]


# One function a page of the tutorial.


def first_steps(studio: Studio) -> None:
    """Nothing is loaded and the controls say why; then an image, a segment, a box, and what a larger box changes."""
    save(studio.with_tooltip("boxTool", "promptSection"), "tutorial-disabled")
    studio.open_ct()
    studio.panel.add_segment("liver")
    save(studio.column("inputsSection", "modelSection"), "tutorial-start")
    studio.box(TIGHT)
    save(studio.beside("promptSection", "answerSection"), "tutorial-box")
    studio.harness.drag_box(studio.panel.nodes("liver")[0], *center_and_size(LIVER))
    studio.settle()
    studio.press("changesCheckBox")
    save(studio.beside("promptSection", "answerSection"), "tutorial-changes")
    studio.press("changesCheckBox")
    studio.press("acceptButton")
    save(studio.column("inputsSection", "answerSection"), "tutorial-accept")


def clicks(studio: Studio) -> None:
    """Plain LiteMedSAM: a click that works, one that does not, and the box that helps."""
    studio.open_ct()
    studio.harness.choose(studio.ui.modelSelector, "LiteMedSAM")
    studio.settle()
    studio.panel.add_segment("spleen")
    studio.click(demo_point("spleen"))
    save(studio.beside("promptSection", "answerSection"), "tutorial-click")
    studio.panel.add_segment("inferior vena cava")
    studio.click(CAVA)
    wrong = studio.picture_of_views("Red")
    studio.press("undoButton")
    studio.box(CAVA_BOX)
    save(stacked([wrong, studio.picture_of_views("Red")], "right", studio.background()), "tutorial-wrong-click")


def overlap(studio: Studio) -> None:
    """A vein inside the liver, with and without overlap."""
    studio.open_ct()
    studio.center, studio.zoom = PORTAL_VEIN, 3.2
    studio.panel.add_segment("liver")
    studio.box(LIVER)
    studio.panel.add_segment("portal vein")
    studio.panel.choose_overlap("Allow overlap")
    studio.box(VEIN_BOX)
    pictures = []
    for _ in range(2):
        visibility = studio.panel.segmentation.GetDisplayNode()
        visibility.SetSegmentVisibility(studio.panel.segment("portal vein"), False)
        pictures.append(studio.picture_of_views("Red"))
        visibility.SetSegmentVisibility(studio.panel.segment("portal vein"), True)
        studio.press("undoButton")
        studio.panel.choose_overlap("Overwrite visible segments")
        studio.box(VEIN_BOX)
    save(stacked(pictures, "right", studio.background()), "tutorial-overlap")


def lesions(studio: Studio) -> None:
    """Three bright structures stand in for lesions."""
    studio.open_ct()
    studio.press("lesionsCheckBox")
    studio.click(demo_point("aorta"), PORTAL_VEIN, VERTEBRA)
    save(studio.beside("promptSection", "lesionSection"), "tutorial-lesions")


def models(studio: Studio) -> None:
    """The card of a model that is not on this computer."""
    studio.harness.choose(studio.ui.modelSelector, "SAM ViT-B")
    studio.settle()
    save(studio.column("modelSection"), "tutorial-models")


def teaching(studio: Studio) -> None:
    """Three pieces of the sample CT stand in for three patients; an expert is taught for the liver, and kept."""
    from MoESegLib.training.desk import TeachingDesk
    from MoESegLib.weights.store import models_home

    with tempfile.TemporaryDirectory() as home:  # nothing is installed among the user's own experts
        for name in ("models", "runtime"):
            (Path(home) / name).symlink_to(models_home() / name)
        os.environ["MOESEG_HOME"] = home
        view = studio.panel.loaded.widget.panel.teaching
        view.use_desk(TeachingDesk())
        for name, piece in (("Patient A", slice(0, 7)), ("Patient B", slice(7, 14)), ("Patient C", slice(14, 20))):
            finished_liver(studio, name, piece)
        studio.ui.teachSection.collapsed = False
        studio.harness.pump(1.2)
        studio.harness.type(studio.ui.teachNameEdit, "liver-mine")
        studio.ui.teachMinutesSpinBox.value = MINUTES
        studio.press("teachButton")
        studio.harness.pump(600 + 60 * MINUTES, until=lambda: not view.is_busy())
        save(studio.column("teachSection"), "tutorial-teach")
        studio.press("teachKeepButton")
        studio.ui.expertsSection.collapsed = False
        save(studio.column("modelSection"), "tutorial-experts")


def finished_liver(studio: Studio, name: str, piece: slice) -> None:
    """Some slices of the sample CT as a patient, whose liver is segmented and accepted."""
    ct = Volume.read(resource_path("Demo", "ct"))
    labels = Volume.read(resource_path("Demo", "labels.nii.gz"))
    values, counts = np.unique(labels.array[labels.array > 0], return_counts=True)
    liver = (labels.array == values[counts.argmax()]).astype(np.uint8)
    matrix = ct.ijk_to_ras.copy()
    matrix[:3, 3] = ct.to_ras([0, 0, piece.start])
    node = add_volume(studio.harness.scene, Volume(ct.array[piece].copy(), matrix, "CT"), name=name)
    segmentation = create_segmentation(studio.harness.scene, node)
    segment = segmentation.GetSegmentation().GetSegment(segmentation.GetSegmentation().AddEmptySegment("", "liver"))
    patch = MaskPatch.of(resample_nearest(liver, labels.ijk_to_ras, ct)[piece] != 0)
    segment.AddRepresentation("Binary labelmap", oriented_image(patch, local_ijk_to_ras(node)))
    set_status(segment, COMPLETED)


def organs(studio: Studio) -> None:
    """Liver, spleen and aorta through the whole volume."""
    studio.open_ct()
    studio.press("volumeButton")
    studio.panel.add_segment("liver")
    studio.box(LIVER)
    # A box that was just drawn is as deep as it is wide; shown anew, as after loading, it is as flat as the prompt.
    studio.press("undoButton")
    studio.press("redoButton")
    for name in ("spleen", "aorta"):
        studio.panel.add_segment(name)
        studio.click(demo_point(name))
    studio.panel.segmentation.CreateClosedSurfaceRepresentation()  # "Show 3D"
    studio.panel.select("liver")
    save(studio.picture_of_views(), "four-view")
    studio.panel.select("aorta")
    studio.settle()
    save(studio.whole(), "panel")
    studio.harness.set_theme("dark")
    save(studio.whole(), "panel-dark")


def tumors(studio: Studio) -> None:
    """MAST-Pro on lesions that are drawn into the liver of the sample CT, and the first of them about to be refined."""
    from MoESegLib.core.anatomy_files import read_anatomy
    from MoESegLib.mrml.organ_task import organ_segmentation

    studio.open_ct()
    draw_lesions(studio)
    scene = studio.harness.scene
    organ_segmentation(scene, "Organs of the CT", read_anatomy(resource_path("Demo", "labels.nii.gz")))
    studio.harness.choose(studio.ui.modelSelector, "MAST-Pro compact (our implementation of the published idea)")
    studio.settle()
    studio.harness.choose(studio.ui.anatomySelector, "Organs of the CT")
    studio.harness.type(studio.ui.tumorSelector, "liver metastases", enter=True)
    studio.press("findButton")
    studio.harness.select_row(studio.ui.lesionTable, 0)
    studio.settle()
    lesion = studio.panel.workbench.lesions.lesions()[0]
    studio.center, studio.zoom = lesion.measures.center_ras or CENTER, 1.35
    save(studio.beside("tumorSection", "answerSection", "lesionSection").quantize(256), "panel-tumors")


def draw_lesions(studio: Studio) -> None:
    """Metastases that no patient has, by the recipe of ``docs/synthetic-tumors.md``, in the image of the scene."""
    from slicer.util import updateVolumeFromArray  # type: ignore[import-not-found]

    from MoESegLib.core.organs import organ_labels
    from MoESegLib.training.tumor_kinds import kind_named
    from MoESegLib.training.tumor_synthesis import OrganBody, with_lesions

    ct = Volume.read(resource_path("Demo", "ct"))
    labels = Volume.read(resource_path("Demo", "labels.nii.gz"))
    organs = organ_labels(resample_nearest(labels.array, labels.ijk_to_ras, ct).astype(np.uint8), "total")
    i, j, k = ct.spacing
    body = OrganBody(ct.array.astype(np.float32), organs, (k, j, i))
    drawn = with_lesions(body, [kind_named("liver_tumor")], np.random.default_rng(5), counts=[3])
    updateVolumeFromArray(studio.panel.volume, drawn.image.round().astype(ct.array.dtype))
    studio.settle()


PAGES = {page.__name__: page for page in (first_steps, clicks, overlap, lesions, models, teaching, organs, tumors)}


def make(name: str) -> None:
    """Make the pictures of one page."""
    studio = Studio()
    PAGES[name](studio)
    studio.harness.reset()


def main(names: list[str]) -> None:
    """Make the pictures of these pages, or of all; each in a process of its own, as after starting Slicer."""
    if len(names) == 1:
        make(names[0])
        return
    for name in names or PAGES:
        subprocess.run([sys.executable, __file__, name], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
