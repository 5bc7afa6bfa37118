"""ONNX Runtime with a pinned profile, so that the same weights give the same results on every provider.

Measured: results are bit-equal over thread counts but not over graph-optimisation levels, so the level is part of a
model's declared profile ("cpu/threads-1/graph-extended/fp32"), not a setting of the host. Over batch sizes, scores
differ in their last bit (1.2e-7), so a model whose calls are batched declares only its label or passages as exact, not
its scores. Alone, because every kind of model runs through it.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from ledger.core.values.errors import Rejected

Arrays = Mapping[str, NDArray[np.generic]]


class Engine:
    """One model's session. Threads may share it: `run` releases the GIL and keeps no state."""

    def __init__(self, path: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.log_severity_level = 4  # what goes wrong is in the error
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises one pybind class per reason, with no common public base
            said = f"{path} is not a model onnxruntime can load: {str(error).strip()}"
            if "locale" in said:
                said += "; or export it with the locale C (skl2onnx: options={TfidfVectorizer: {'locale': 'C'}})"
            raise Rejected(said, path=str(path)) from error
        self.inputs = [(value.name, value.type, tuple(value.shape)) for value in self._session.get_inputs()]
        self.outputs = [(value.name, value.type, tuple(value.shape)) for value in self._session.get_outputs()]

    def run(self, feeds: Arrays) -> dict[str, NDArray[np.generic]]:
        """All outputs by name."""
        names = [name for name, _, _ in self.outputs]
        return dict(zip(names, self._session.run(names, dict(feeds)), strict=True))
