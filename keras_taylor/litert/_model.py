"""A `.tflite` file as a function, run by LiteRT."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_taylor._keras.fixed_batch import in_batches
from keras_taylor._output.optional import optional
from keras_taylor.errors import BadInput, whole_number
from keras_taylor.litert._flatbuffer import File, bounded_steps, file_bytes, float_operations, input_steps, note_in
from keras_taylor.litert._latency import Latency, check_runs


def interpreter_class() -> Any:
    """LiteRT's interpreter.

    Raises:
        MissingPackage: LiteRT is not installed.
    """
    return optional("ai_edge_litert.interpreter", "litert").Interpreter


class LiteModel:
    """A `.tflite` file in LiteRT, called like a function. It takes and returns floats, whatever the file stores.

    Args:
        model: the file: its path, its bytes, or what `kt.export_tflite` returned.
        inputs: names of the model's inputs in the order in which arrays are passed; needed with several inputs.
        threads: of the interpreter.

    Raises:
        BadInput: no such file, or names that it does not have; when called, several inputs and no order.
        MissingPackage: LiteRT is not installed.

    Example:
        >>> import keras, numpy as np, tempfile, pathlib, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> file = kt.export_tflite(model, pathlib.Path(tempfile.mkdtemp()) / "model.tflite")
        >>> kt.litert.LiteModel(file)([np.ones((5, 4))])[0].shape
        (5, 3)
    """

    def __init__(self, model: File, inputs: Sequence[str] | None = None, threads: int = 1) -> None:
        self._content = file_bytes(model)
        self.threads = whole_number("threads", threads)
        self._load()
        runner = self._interpreter.get_signature_runner()
        given, outputs = runner.get_input_details(), runner.get_output_details()
        self._outputs = [outputs[name] for name in sorted(outputs, key=_number)]
        self._names = list(given)
        self._order = list(inputs) if inputs is not None else list(given)
        self._known = inputs is not None or len(given) == 1
        if set(self._order) != set(given):
            raise self._unordered()
        self._given = [given[name] for name in self._order]
        batch = int(self._given[0]["shape_signature"][0])
        self._batch = None if batch == -1 else batch

    def _load(self) -> None:
        self._interpreter = interpreter_class()(model_content=self._content, num_threads=self.threads)
        self._interpreter.allocate_tensors()

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """The outputs, in the Keras model's order, for arrays of any batch size.

        A file whose batch size is fixed is run as often as that takes; one that gets no memory for a batch, example by example.
        """
        if not self._known:
            raise self._unordered()
        arrays = [np.asarray(x) for x in (inputs if isinstance(inputs, (list, tuple)) else [inputs])]
        if len({len(x) for x in arrays}) > 1:
            raise BadInput(f"Inputs must have one batch size. Received: {[x.shape for x in arrays]}.")
        if self._batch is None:
            try:
                return self._run(arrays)
            except RuntimeError:
                if len(arrays[0]) == 1:
                    raise
            self._batch = 1
            self._load()
        return in_batches(self._run, arrays, self._batch)

    @property
    def output_steps(self) -> list[float]:
        """For each output: the distance between two of its values, where LiteRT prescribes it for the function; else 0."""
        steps = bounded_steps(self._content)
        return [steps[int(details["index"])] for details in self._outputs]

    @property
    def input_steps(self) -> list[float]:
        """For each input: the distance between two values that the file can tell apart; 0 where it computes in float."""
        steps = input_steps(self._content)
        return [steps[int(details["index"])] for details in self._given]

    @property
    def batch_size(self) -> int | None:
        """How many examples the file takes at a time, no more and no less; None for any number."""
        return self._batch

    @property
    def note(self) -> dict[str, Any]:
        """What `kt.export_tflite` noted in the file; empty where there is no note. See `kt.litert.read_note`."""
        return note_in(self._content) or {}

    @property
    def float_operations(self) -> dict[str, int]:
        """How many operations of each kind the file computes in float32."""
        return float_operations(self._content)

    def _unordered(self) -> BadInput:
        given = self._order if self._known else None
        return BadInput(f"inputs must name the file's inputs in order. Received: {given!r}; it has {self._names}.")

    def latency(self, inputs: Sequence[Any] | None = None, *, runs: int = 50, warm_up: int = 10) -> Latency:
        """How long one call takes; the copying of inputs and outputs is not part of it.

        Args:
            inputs: arrays as in a call; by default one random example.
            runs: calls to time.
            warm_up: calls before them.
        """
        check_runs(runs=runs, warm_up=warm_up)
        self.prepare(inputs)
        for _ in range(warm_up):
            self._interpreter.invoke()
        return Latency.of(self.timed(runs), warm_up, self.threads)

    def prepare(self, inputs: Sequence[Any] | None = None) -> None:
        """Set the inputs (one random example by default), so that `timed` has only to run."""
        self._feed(self._example() if inputs is None else [np.asarray(x) for x in inputs])

    def timed(self, runs: int) -> list[float]:
        """Seconds of each of that many calls on the inputs that are set."""
        seconds = []
        for _ in range(runs):
            start = time.perf_counter()
            self._interpreter.invoke()
            seconds.append(time.perf_counter() - start)
        return seconds

    def _example(self) -> list[Any]:
        """Noise where the file takes numbers, and zeros where it takes indices."""
        rng = np.random.default_rng(0)
        shapes = [[max(int(d), 1) for d in details["shape_signature"]] for details in self._given]
        numbers = [details["quantization"][0] or details["dtype"] == np.float32 for details in self._given]
        return [rng.normal(size=s) if n else np.zeros(s) for s, n in zip(shapes, numbers, strict=True)]

    def _run(self, arrays: Sequence[Any]) -> list[Any]:
        self._feed(arrays)
        self._interpreter.invoke()
        return [_from_file(self._interpreter.get_tensor(details["index"]), details) for details in self._outputs]

    def _feed(self, arrays: Sequence[Any]) -> None:
        for details, array in zip(self._given, arrays, strict=True):
            self._interpreter.resize_tensor_input(details["index"], array.shape)
        self._interpreter.allocate_tensors()
        for details, array in zip(self._given, arrays, strict=True):
            self._interpreter.set_tensor(details["index"], _to_file(array, details))


def _number(name: str) -> int:
    """The position in a name like `output_2`."""
    tail = name.rsplit("_", 1)[-1]
    return int(tail) if tail.isdecimal() else -1


def _to_file(array: Any, details: dict[str, Any]) -> Any:
    scale, zero_point = details["quantization"]
    if not scale:
        return array.astype(details["dtype"])
    bounds = np.iinfo(details["dtype"])
    return np.clip(np.round(array / scale) + zero_point, bounds.min, bounds.max).astype(details["dtype"])


def _from_file(array: Any, details: dict[str, Any]) -> Any:
    scale, zero_point = details["quantization"]
    return np.float32(scale) * (array.astype(np.float32) - zero_point) if scale else array
