"""ONNX Runtime under a pinned profile, so that the same weights give the same bits on every provider.

Results were found equal over threads but not over graph-optimisation levels; therefore the level is part of a model's
declared profile and not a setting of the host. Over batch sizes scores differ in their last bit (1.2e-7), so a model
whose calls run together declares what is exact of it, its label or its passages, and not its scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from ledger.core.values.errors import Rejected

PROFILE = "cpu/threads-1/graph-extended/fp32"
Arrays = Mapping[str, NDArray[np.generic]]


class Engine:
    """One model's session. Sessions are safe to share: `run` releases the interpreter lock and keeps no state."""

    def __init__(self, path: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except (
            Exception
        ) as error:  # onnxruntime raises its own pybind classes, one per reason, all meaning: not a model
            raise Rejected(f"{path} is not a model onnxruntime can load: {error}", path=str(path)) from error
        self.inputs = [(value.name, value.type, tuple(value.shape)) for value in self._session.get_inputs()]
        self.outputs = [(value.name, value.type, tuple(value.shape)) for value in self._session.get_outputs()]

    def run(self, feeds: Arrays) -> dict[str, NDArray[np.generic]]:
        """All outputs by name."""
        names = [name for name, _, _ in self.outputs]
        return dict(zip(names, self._session.run(names, dict(feeds)), strict=True))
