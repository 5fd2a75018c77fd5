"""The image encoder in OpenVINO: the fast way on a CPU. Converted once, checked against PyTorch, kept on disk.

Measured on two cores, one 256 x 256 slice of LiteMedSAM: PyTorch 0.83 s, OpenVINO float32 0.58 s (largest relative
difference 6e-6), OpenVINO int8 0.23 s.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.cancel import CancelToken
from ..core.errors import ResourceError
from .cache import content_key
from .protocol import Embedding

if TYPE_CHECKING:
    from torch import Tensor, nn

LARGEST_DIFFERENCE = 1e-3
"""Relative difference from PyTorch on the probe image above which float32 is not used (6e-6 measured)."""
LARGEST_INT8_ERROR = 0.35
"""Root-mean-square difference relative to the embedding above which int8 is not used (0.17 measured)."""
POLL_MS = 10

_log = logging.getLogger(__name__)


def import_openvino() -> Any:
    """The openvino package without its telemetry.

    Importing it otherwise loads ``openvino-telemetry``, which reports the use to Google Analytics and leaves an ID in
    the user's home; nothing is ever sent from MoESeg. Both openvino and nncf work without it.

    Raises:
        ImportError: OpenVINO is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


class OpenVinoEncoder:
    """Runs a converted encoder; cancelling interrupts it within ``POLL_MS``.

    Args:
        path: the ``.xml`` file of the model.
        runtime: "openvino-fp32" or "openvino-int8".
    """

    def __init__(self, path: Path, runtime: str) -> None:
        openvino = import_openvino()

        # Without the hint OpenVINO computes in bfloat16 on processors that can: answers would depend on the machine.
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        self.runtime = runtime
        self._request: Any = openvino.Core().compile_model(str(path), "CPU", options).create_infer_request()

    def encode(self, pixels: NDArray[np.float32], cancel: CancelToken) -> Embedding:
        """See :meth:`MoESegLib.engines.encoders.SliceEncoder.encode`."""
        import torch

        cancel.check()
        self._request.start_async({0: pixels[None]})
        while not self._request.wait_for(POLL_MS):
            if cancel.cancelled:
                self._request.cancel()
                self._drain()
                cancel.check()
        outputs = [torch.from_numpy(np.array(self._request.get_output_tensor(i).data)) for i in range(2)]
        return {"image": outputs[0], "early": outputs[1]}

    def _drain(self) -> None:
        """Wait for a cancelled request, which reports its cancellation as an error."""
        try:
            self._request.wait()
        except RuntimeError as error:
            if "cancel" not in str(error).lower():
                raise


def runtime_folder(cache: Path, name: str, weights_id: str) -> Path:
    """Where the converted model of those weights and this OpenVINO version lies."""
    openvino = import_openvino()

    return cache / "runtime" / f"{name}-{content_key(weights_id, openvino.__version__)[:12]}"


def convert_encoder(
    encoder: nn.Module, side: int, folder: Path, calibration: Sequence[NDArray[np.float32]] = ()
) -> OpenVinoEncoder:
    """Convert an encoder, check it against PyTorch on one image, and keep it in ``folder``.

    Args:
        encoder: has ``encode(x) -> (embedding, early feature)``; float32 on the CPU.
        side: pixels of the square model image.
        calibration: model images ``[3, S, S]`` for int8 quantization; none makes a float32 model.

    Raises:
        ResourceError: the converted model does not agree with PyTorch; nothing was kept.
        OSError: the folder cannot be written.
    """
    openvino = import_openvino()
    import torch

    precision = "int8" if calibration else "fp32"
    # An int8 model is only as good as what it was calibrated for, so it is judged on such an image.
    probe = calibration[0] if calibration else probe_image(side)
    with torch.inference_mode():
        expected = encoder.encode(torch.from_numpy(probe)[None])[0].numpy()  # type: ignore[operator]
        model = openvino.convert_model(
            _as_module(encoder), example_input=torch.from_numpy(probe)[None], input=[1, 3, side, side]
        )
    if calibration:
        model = _quantize(model, calibration)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".converting-", dir=folder.parent))
    try:
        openvino.save_model(model, str(temporary / f"{precision}.xml"), compress_to_fp16=False)
        candidate = OpenVinoEncoder(temporary / f"{precision}.xml", f"openvino-{precision}")
        _check(candidate.encode(probe, CancelToken())["image"].numpy(), expected, precision)
        folder.mkdir(exist_ok=True)
        for suffix in (".bin", ".xml"):  # the .xml is what a reader looks for, so it comes last
            os.replace(temporary / f"{precision}{suffix}", folder / f"{precision}{suffix}")  # noqa: PTH105
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return candidate


def ready_encoder(folder: Path) -> OpenVinoEncoder | None:
    """The fastest encoder that was converted before: int8 where the user asked for it once, else float32."""
    for precision in ("int8", "fp32"):
        path = folder / f"{precision}.xml"
        if path.exists():
            try:
                return OpenVinoEncoder(path, f"openvino-{precision}")
            except RuntimeError as error:
                _log.warning("Ignoring the damaged converted model %s (%s)", path, error)
    return None


def probe_image(side: int) -> NDArray[np.float32]:
    """A fixed smooth image ``[3, S, S]`` with values in [0, 1], as different from flat as a scan is."""
    from scipy import ndimage

    noise = np.random.default_rng(0).normal(size=(side, side))
    smooth = np.sum([ndimage.gaussian_filter(noise, sigma) * sigma for sigma in (1, 4, 16)], axis=0)
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return np.repeat(smooth[None].astype(np.float32), 3, axis=0)


def _check(found: NDArray, expected: NDArray, precision: str) -> None:
    if precision == "fp32":
        difference, limit = float(np.abs(found - expected).max() / np.abs(expected).max()), LARGEST_DIFFERENCE
    else:
        difference = float(np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)))
        limit = LARGEST_INT8_ERROR
    if not difference <= limit:
        raise ResourceError(
            f"The converted {precision} encoder differs from PyTorch by {difference:.2g} on the probe image (limit "
            f"{limit:g}), so it is not used. PyTorch answers instead; updating OpenVINO may help."
        )


def _quantize(model: Any, calibration: Sequence[NDArray[np.float32]]) -> Any:
    import_openvino()  # nncf would load the telemetry too
    import nncf

    dataset = nncf.Dataset([image[None] for image in calibration])
    return nncf.quantize(model, dataset, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(calibration))


def _as_module(encoder: nn.Module) -> nn.Module:
    """The ``encode`` method as the forward of a module, which is what can be converted."""
    from torch import nn

    class Encode(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, x: Tensor) -> Any:
            return self.encoder.encode(x)  # type: ignore[operator]

    return Encode().eval()
