"""What lesions of each kind look like in portal venous CT, as far as it can be drawn: site, size, density, margin.

Ranges are those that radiology textbooks and the public tumor data sets describe; they are wide on purpose, since a
network that has seen too much of one look does not find the others. They are a description for drawing, not a
reference for diagnosis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Site = Literal["inside", "bulging", "beside"]
Range = tuple[float, float]


@dataclass(frozen=True)
class Density:
    """Hounsfield units of a lesion.

    Attributes:
        level: drawn from this range; against the organ around it, or absolute.
        is_absolute: the level does not depend on the organ (fluid, soft tissue in fat or air).
        texture: standard deviation of patches of a few millimeters.
        enhancing: how often it is brighter than the organ instead, by ``bright``.
        bright: against the organ.
    """

    level: Range
    is_absolute: bool = False
    texture: float = 6.0
    enhancing: float = 0.0
    bright: Range = (25.0, 60.0)


@dataclass(frozen=True)
class LesionKind:
    """One kind of lesion.

    Attributes:
        name: a tumor id of ``core.tumors``, or a look-alike: an organ id of ``core.organs`` where there is one.
        organs: organ ids in which it lies; any of them.
        size: diameters in millimeters; drawn evenly on a logarithmic scale.
        density: what it looks like.
        site: surrounded by the organ, bulging out of it, or beside it in the fat.
        count: the fewest and the most in one patient.
        edge: millimeters over which the margin fades; small is sharp.
        roughness: of the outline, as a share of the radius.
        elongation: of the half axes (logarithm).
        necrosis, rim, calcium: how often it has a core of low density, a capsule, specks of calcium.
        mass_effect: how far the surface pushes tissue away, as a share of the radius.
        is_tumor: a target; otherwise a look-alike, which is never one.
    """

    name: str
    organs: tuple[str, ...]
    size: Range
    density: Density
    site: Site = "inside"
    count: tuple[int, int] = (1, 1)
    edge: float = 1.5
    roughness: float = 0.15
    elongation: float = 0.2
    necrosis: float = 0.0
    rim: float = 0.0
    calcium: float = 0.0
    mass_effect: float = 0.0
    is_tumor: bool = True


_FLUID = Density((-4, 18), is_absolute=True, texture=1.0)

TUMORS: tuple[LesionKind, ...] = (
    LesionKind(
        "liver_tumor", ("liver",), (8, 70), Density((-75, -28), enhancing=0.12), count=(1, 4), edge=2.0, necrosis=0.3,
        rim=0.25, mass_effect=0.12,
    ),
    LesionKind(
        "pancreatic_tumor", ("pancreas",), (12, 45), Density((-60, -25)), site="bulging", edge=2.5, roughness=0.2,
        elongation=0.25, necrosis=0.15, mass_effect=0.05,
    ),
    LesionKind(
        "kidney_tumor", ("kidney",), (14, 75), Density((-110, -40), texture=16, enhancing=0.1), site="bulging",
        edge=1.5, necrosis=0.5, rim=0.3, calcium=0.1, mass_effect=0.15,
    ),
    LesionKind(
        "spleen_lesion", ("spleen",), (8, 50), Density((-75, -28)), count=(1, 3), edge=2.0, necrosis=0.2,
        mass_effect=0.08,
    ),
    LesionKind(
        "hepatic_vessel_tumor", ("portal_vein",), (8, 26), Density((-100, -50), texture=5), edge=1.2, elongation=0.3,
    ),
    LesionKind(
        "adrenal_tumor", ("adrenal_gland",), (12, 45), Density((5, 75), is_absolute=True, texture=8), site="bulging",
        edge=1.2, roughness=0.1, elongation=0.15, necrosis=0.1, mass_effect=0.1,
    ),
    LesionKind(
        "gastric_tumor", ("stomach",), (15, 55), Density((55, 105), is_absolute=True, texture=8), site="bulging",
        edge=2.0, roughness=0.2, elongation=0.35, necrosis=0.15,
    ),
    LesionKind(
        "colon_tumor", ("colon",), (15, 55), Density((55, 105), is_absolute=True, texture=8), site="bulging", edge=2.0,
        roughness=0.2, elongation=0.35, necrosis=0.15,
    ),
    LesionKind(
        "lung_tumor", ("lung",), (6, 50), Density((0, 70), is_absolute=True, texture=8), edge=0.8, roughness=0.22,
        necrosis=0.15, calcium=0.1,
    ),
    LesionKind(
        "lymph_node_metastasis", ("aorta", "inferior_vena_cava"), (10, 32),
        Density((55, 105), is_absolute=True, texture=5), site="beside", count=(1, 3), edge=1.0, roughness=0.06,
        elongation=0.3, necrosis=0.15,
    ),
)  # fmt: skip

LOOK_ALIKES: tuple[LesionKind, ...] = (
    LesionKind(
        "liver_cyst", ("liver",), (5, 40), _FLUID, count=(1, 3), edge=0.6, roughness=0.04, elongation=0.12,
        mass_effect=0.1, is_tumor=False,
    ),
    LesionKind(
        "kidney_cyst", ("kidney",), (7, 50), _FLUID, site="bulging", count=(1, 2), edge=0.6, roughness=0.03,
        elongation=0.1, calcium=0.05, mass_effect=0.15, is_tumor=False,
    ),
    LesionKind(
        "spleen_cyst", ("spleen",), (8, 35), _FLUID, edge=0.6, roughness=0.04, elongation=0.12, mass_effect=0.1,
        is_tumor=False,
    ),
    LesionKind(
        "pancreas_cyst", ("pancreas",), (8, 30), _FLUID, site="bulging", edge=0.8, roughness=0.06, elongation=0.2,
        mass_effect=0.1, is_tumor=False,
    ),
)  # fmt: skip


def kind_named(name: str) -> LesionKind:
    """The kind of a tumor id or look-alike.

    Raises:
        KeyError: no such kind can be drawn.
    """
    return {kind.name: kind for kind in (*TUMORS, *LOOK_ALIKES)}[name]


def look_alikes_of(kind: LesionKind) -> tuple[LesionKind, ...]:
    """Look-alikes in the same organs."""
    return tuple(other for other in LOOK_ALIKES if set(other.organs) & set(kind.organs))
