"""Tumor types that the user taught MAST-Pro (``moeseg teach --method tumor``): one file each in the user's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import OutputError, WeightsError
from ..weights import models_home

if TYPE_CHECKING:
    from ..models.mast_pro import MastPro

SUFFIX = ".safetensors"


def taught_home() -> Path:
    """The folder of the files; it may not be there yet."""
    return models_home() / "tumors"


def taught_path(tumor: str) -> Path:
    """Where the file of a tumor id lies or would lie."""
    return taught_home() / f"{tumor}{SUFFIX}"


def taught_files(base: str) -> dict[str, Path]:
    """Files by tumor id, in a fixed order; those for another base, and damaged ones, are left out.

    Args:
        base: :func:`~MoESegLib.models.mast_pro.base_sha256` of the network that they are for.
    """
    from ..models.mast_pro import read_meta

    found = {}
    for path in sorted(taught_home().glob(f"*{SUFFIX}")):
        try:
            meta = read_meta(path, "tumor")
        except WeightsError:
            continue
        if meta["base"] == base and isinstance(meta.get("tumor"), str):
            found[meta["tumor"]] = path
    return found


def install_taught(
    network: MastPro, tumor: str, details: Mapping[str, Any] | None = None, replace: bool = False
) -> Path:
    """Write what an added tumor brings into the user's folder; returns the file.

    Args:
        network: whose added parts are rounded to half precision.
        details: as of :func:`~MoESegLib.models.mast_pro.write_delta`.
        replace: overwrite an earlier file for this tumor.

    Raises:
        WeightsError: there is a file for this tumor already.
        OutputError: it cannot be written; an earlier file stays.
    """
    from ..models.mast_pro import write_delta

    path = taught_path(tumor)
    check_free(tumor, replace)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {path.parent} cannot be made: {error.strerror}.") from error
    write_delta(path, network, tumor, details)
    return path


def check_free(tumor: str, replace: bool = False) -> None:
    """Say before an hour of teaching what would be said after it.

    Raises:
        WeightsError: there is a file for this tumor already.
    """
    path = taught_path(tumor)
    if path.exists() and not replace:
        raise WeightsError(f"{tumor} was taught before: {path}. Add --replace to teach it anew.")
