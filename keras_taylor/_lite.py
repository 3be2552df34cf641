"""A `.tflite` file as a function, run by LiteRT."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from keras_taylor.errors import BadInput


class LiteModel:
    """A `.tflite` file in LiteRT, called like a function.

    Args:
        model: the bytes of the file, or its path.
        inputs: names of the model's inputs in the order in which arrays are passed; needed with several inputs.
        threads: of the interpreter.

    Raises:
        BadInput: several inputs and no order, or names that the file does not have.

    Example:
        >>> import keras, numpy as np, tempfile, pathlib, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> file = kt.export_tflite(model, pathlib.Path(tempfile.mkdtemp()) / "model.tflite")
        >>> kt.LiteModel(file.path)([np.ones((5, 4))])[0].shape
        (5, 3)
    """

    def __init__(self, model: bytes | str | Path, inputs: Sequence[str] | None = None, threads: int = 1) -> None:
        source = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
        self._interpreter = Interpreter(num_threads=threads, **source)
        self._interpreter.allocate_tensors()
        runner = self._interpreter.get_signature_runner()
        self._inputs, outputs = runner.get_input_details(), runner.get_output_details()
        self._outputs = [outputs[name]["index"] for name in sorted(outputs, key=lambda name: int(name.rsplit("_", 1)[-1]))]
        self._order = list(inputs) if inputs is not None else list(self._inputs)
        if set(self._order) != set(self._inputs) or (inputs is None and len(self._inputs) > 1):
            raise BadInput(f"inputs must name the file's inputs in order. Received: {inputs!r}; it has {list(self._inputs)}.")

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """The outputs, in the Keras model's order, for arrays of any batch size."""
        self._feed(inputs if isinstance(inputs, (list, tuple)) else [inputs])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]

    def latency_ms(self, inputs: Sequence[Any], runs: int = 50, warm_up: int = 5) -> float:
        """Median time of one invocation in milliseconds, after warm-up."""
        self._feed(inputs)
        times = []
        for i in range(warm_up + runs):
            start = time.perf_counter()
            self._interpreter.invoke()
            if i >= warm_up:
                times.append(time.perf_counter() - start)
        return 1000.0 * statistics.median(times)

    def _feed(self, inputs: Sequence[Any]) -> None:
        arrays = [(self._inputs[name], np.asarray(x)) for name, x in zip(self._order, inputs, strict=True)]
        for details, array in arrays:
            self._interpreter.resize_tensor_input(details["index"], array.shape)
        self._interpreter.allocate_tensors()
        for details, array in arrays:
            self._interpreter.set_tensor(details["index"], array.astype(details["dtype"]))
