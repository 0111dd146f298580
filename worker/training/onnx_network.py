"""An ONNX file in ONNX Runtime, on the CPU."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch


class OnnxNetwork:
    """Answers as a network does that reads values in [0, 1]."""

    version: str = onnxruntime.__version__

    def __init__(self, path: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # An idle session's threads would go on spinning, and take the time of the networks that it is compared with.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, images_NCHW: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        logits_NK: npt.NDArray[np.float32] = self._session.run(None, {self._input: images_NCHW})[0]
        return logits_NK

    def predicted(self, images_NHWC: torch.Tensor) -> torch.Tensor:
        """The class of each of uint8 images."""
        values_NCHW = images_NHWC.numpy().transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
        return torch.from_numpy(self(values_NCHW).argmax(1))
