"""Stand-ins for ``slicer.i18n``, ``slicer.packaging`` and the ``PyTorchUtils`` of SlicerPyTorch."""

from __future__ import annotations

import importlib.util
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# ruff: noqa: N802 - Slicer's names


@dataclass
class Packaging:
    """What the panel asked to install, and how the installation ends.

    ``missing`` makes ``pip_check`` say no until it is installed; ``error`` is raised by every installation.
    """

    calls: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)
    error: Exception | None = None
    on_install: Callable[[tuple[str, ...]], None] | None = None

    def reset(self) -> None:
        self.calls.clear()
        self.missing.clear()
        self.error = self.on_install = None

    def count(self, function: str) -> int:
        return sum(name == function for name, _ in self.calls)

    def install(self, function: str, requirements: Any) -> None:
        names = (requirements,) if isinstance(requirements, str) else tuple(str(item) for item in requirements)
        self.calls.append((function, names))
        if self.error is not None:
            raise self.error
        if self.on_install is not None:
            self.on_install(names)
        self.missing -= set(names)


packaging = Packaging()


def _pip_ensure(
    requirements: Any,
    constraints: Any = None,
    skip_packages: Any = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> list[str]:
    # The real one does nothing in testing mode; here the call is what a test wants to see.
    packaging.install("pip_ensure", requirements)
    return []


def _pip_check(req: Any, _seen: Any = None) -> bool:
    names = [req] if isinstance(req, str) else [str(item) for item in req]
    packaging.calls.append(("pip_check", tuple(names)))
    return not packaging.missing & set(names)


def _pip_install(
    requirements: Any,
    constraints: Any = None,
    no_deps_requirements: Any = None,
    skip_packages: Any = None,
    blocking: bool = True,
    show_progress: bool = True,
    requester: str | None = None,
    logCallback: Any = None,
    completedCallback: Any = None,
) -> list[str]:
    packaging.install("pip_install", requirements)
    return []


def _pip_uninstall(
    requirements: Any, blocking: bool = True, logCallback: Any = None, completedCallback: Any = None
) -> None:
    packaging.calls.append(("pip_uninstall", (str(requirements),)))


def _load_requirements(path: Any) -> list[str]:
    lines = (line.split("#")[0].strip() for line in Path(path).read_text("utf-8").splitlines())
    return [line for line in lines if line]


def _load_pyproject_dependencies(path: Any) -> list[str]:
    import tomllib

    return list(tomllib.loads(Path(path).read_text("utf-8"))["project"].get("dependencies", []))


def _translate(context: str, text: str) -> str:
    return text


def _tr(text: str) -> str:
    return text


def _get_context(sourceFile: str) -> str:
    return Path(sourceFile).stem


def make_packaging() -> types.ModuleType:
    module = types.ModuleType("slicer.packaging")
    module.__dict__.update(
        pip_ensure=_pip_ensure,
        pip_check=_pip_check,
        pip_install=_pip_install,
        pip_uninstall=_pip_uninstall,
        load_requirements=_load_requirements,
        load_pyproject_dependencies=_load_pyproject_dependencies,
        isPipInstallInProgress=lambda: False,
    )
    return module


def make_i18n() -> types.ModuleType:
    module = types.ModuleType("slicer.i18n")
    module.__dict__.update(tr=_tr, translate=_translate, getContext=_get_context)
    return module


class PyTorchUtilsLogic:
    """The logic of SlicerPyTorch; finds the torch of this environment and installs nothing."""

    def torchInstalled(self) -> bool:
        return "torch" not in packaging.missing and importlib.util.find_spec("torch") is not None

    def installTorch(
        self,
        askConfirmation: bool = False,
        forceComputationBackend: str | None = None,
        torchVersionRequirement: str | None = None,
        torchvisionVersionRequirement: str | None = None,
    ) -> Any:
        packaging.install("installTorch", ["torch"])
        return self.importTorch()

    def importTorch(self) -> Any:
        return importlib.import_module("torch")

    @property
    def torch(self) -> Any:
        return self.importTorch()

    @property
    def cuda(self) -> bool:
        return False


def make_pytorch_utils() -> types.ModuleType:
    module = types.ModuleType("PyTorchUtils")
    module.__dict__["PyTorchUtilsLogic"] = PyTorchUtilsLogic
    return module
