"""What a `.tflite` file is worth: accuracy, size, latency, MACs and bit operations."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.table import Table
from typing_extensions import Self

from keras_taylor._keras.batches import batches, count_batches, joined
from keras_taylor._keras.model import feed
from keras_taylor._keras.program import functional
from keras_taylor._keras.progress import progress_bar
from keras_taylor._keras.serving import argument
from keras_taylor._measure.bops import file_bops
from keras_taylor._output.deprecations import renamed, renamed_attributes
from keras_taylor._output.results import StoredResult
from keras_taylor._output.tables import table
from keras_taylor._quantize.tflite_file import TFLiteFile
from keras_taylor._trace.graph import ChannelGraph, as_graph
from keras_taylor.errors import BadInput, shown
from keras_taylor.litert import Latency, LiteModel
from keras_taylor.litert._flatbuffer import file_bytes, note_in
from keras_taylor.litert._latency import check_runs
from keras_taylor.quantizers import Quantizer, quantizer_for, registered

Metric = Callable[[Any, Any], Any]


@renamed_attributes(bytes="size", gzip_bytes="gzip_size", to_dict="fields")
@dataclass(frozen=True)
class Measurement(StoredResult):
    """What `kt.measure` found; `print(measurement)` is a table.

    Attributes:
        size: of the file in bytes.
        gzip_size: of the file when compressed, as in an app package, in bytes.
        latency: of one example in LiteRT.
        metric: name of the metric.
        value: mean of the metric over the examples; None without data.
        examples: how many examples the metric was measured on.
        macs: multiply-accumulates per example (1 MAC is 1); None without a model.
        params: parameters; None without a model.
        bops: bit operations of the file, MACs x weight bits x activation bits of its operations; None without a model.
        precision: name of the quantizer that the file was made with.
    """

    kind = "A measurement"

    size: int
    gzip_size: int
    latency: Latency
    metric: str
    value: float | None = None
    examples: int = 0
    macs: int | None = None
    params: int | None = None
    bops: int | None = None
    precision: str = "float32"

    def fields(self) -> Mapping[str, Any]:
        """All of it as plain numbers and text, for JSON."""
        return asdict(self)

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Self:
        """The measurement that `fields` describes."""
        return cls(**{**fields, "latency": Latency(**fields["latency"])})

    def parts(self) -> Sequence[Table | str]:
        """A table."""
        made = table("Measured in LiteRT", ("", "value"))
        if self.value is not None:
            made.add_row(self.metric, f"{self.value:.4f} ({self.examples:,} examples)")
        made.add_row("latency", str(self.latency))
        made.add_row("bytes", f"{self.size:,} ({self.gzip_size:,} with gzip)")
        if self.macs is not None:
            made.add_row("MACs (1 MAC = 1)", f"{self.macs:,}")
            made.add_row("parameters", f"{self.params:,}")
            made.add_row(f"BOPs ({self.precision})", f"{self.bops:,}")
        return [made]


@renamed(data="x")
def measure(
    file: bytes | str | Path | TFLiteFile,
    x: Any = None,
    y: Any = None,
    *,
    model: Any = None,
    quantizer: str | Quantizer | None = None,
    metric: str | Metric = "accuracy",
    examples: int | None = None,
    batch_size: int = 32,
    threads: int = 1,
    runs: int = 50,
    warm_up: int = 10,
    seed: int = 0,
    verbose: Any = "auto",
) -> Measurement:
    """Measure a `.tflite` file as LiteRT runs it.

    Args:
        file: path or bytes of a `.tflite` file, or what `kt.quantize` returned, which also says `model` and `quantizer`.
            Integer inputs and outputs are scaled as the file says.
        x: data as `fit` takes them; without, only sizes and latency are measured.
        y: labels, integer or one-hot, where `x` is inputs alone.
        model: the Keras model that the file was made of, or what `kt.trace` made of it: adds MACs, parameters and bit
            operations. With several inputs, the model says in which order the data are passed.
        quantizer: what tables call the precision; by default what the note of `kt.export_tflite` in the file says, or float32.
            Bit operations are counted from the file itself.
        metric: `"accuracy"`, or a function `(y, outputs)` that gives one value per example, as the functions of
            `keras.metrics` do. With several outputs it is given a list.
        examples: measure on at most this many (drawn at random from arrays).
        batch_size: for arrays.
        threads: of the interpreter.
        runs: calls with one example that are timed.
        warm_up: untimed calls before them.
        seed: for the random choice of `examples` from arrays.
        verbose: 0 is silent; 1 and `"auto"` show a progress bar where there are data.

    Returns:
        The numbers, with the device and how they were taken.

    Raises:
        BadInput: no such file, data without labels, or a metric that is not one value per example.
        UnknownName: an unknown quantizer.
        MissingPackage: LiteRT is not installed.

    Example:
        >>> import keras, numpy as np, tempfile, pathlib, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> path = kt.export_tflite(model, pathlib.Path(tempfile.mkdtemp()) / "model.tflite").path
        >>> x, y = np.random.default_rng(0).normal(size=(32, 4)), np.zeros(32)
        >>> found = kt.measure(path, x, y, model=model, runs=3, verbose=0)
        >>> found.examples, found.macs, found.bops == 4 * 2 * 32 * 8
        (32, 8, True)
    """
    check_runs(batch_size=batch_size, threads=threads, runs=runs, warm_up=warm_up)
    data = joined(x, y)
    if isinstance(file, (keras.Model, ChannelGraph)):
        raise BadInput(
            f"file must be a .tflite file. Received: the model {file.name!r}. Convert it first: kt.measure(kt.quantize(model), "
            "x, y); a Keras model itself is measured by model.evaluate(x, y)."
        )
    if isinstance(file, TFLiteFile):
        model, quantizer = model or file.model, quantizer or file.quantizer
        file = file.content
    content = file_bytes(file)
    given = None if quantizer is None else quantizer_for(quantizer)
    if metric != "accuracy" and not callable(metric):
        raise BadInput(f"metric must be 'accuracy' or a function of labels and outputs. Received: {shown(metric)}.")
    graph = None if model is None else as_graph(model)
    source = None if graph is None else functional(graph.model)
    names = [argument(one.name) for one in source.inputs] if source is not None and len(source.inputs) > 1 else None
    lite = LiteModel(content, names, threads)
    noted = (note_in(content) or {}).get("quantizer")
    precision = given or quantizer_for(noted if noted in registered() else None)
    values, weights = [], []
    if data is not None:
        total = count_batches(data, batch_size=batch_size, examples=examples)
        bar = progress_bar(total, verbose)
        for inputs, labels, weight in batches(data, batch_size=batch_size, examples=examples, seed=seed, name="x"):
            outputs = lite(keras.tree.flatten(inputs) if source is None else feed(source, inputs))
            values.append(_each(metric, labels, outputs))
            weights.append(np.ones(len(values[-1])) if weight is None else np.asarray(weight, float).reshape(-1))
            bar.add(1)
    found = np.concatenate(values) if values else None
    sizes = {} if graph is None else {"macs": graph.macs, "params": graph.params, "bops": file_bops(content, graph.macs)}
    return Measurement(
        size=len(content),
        gzip_size=len(gzip.compress(content, mtime=0)),
        latency=lite.latency(runs=runs, warm_up=warm_up),
        metric=metric if isinstance(metric, str) else getattr(metric, "__name__", type(metric).__name__),
        value=None if found is None else float(np.average(found, weights=np.concatenate(weights))),
        examples=0 if found is None else len(found),
        precision=precision.name,
        **sizes,
    )


def _each(metric: str | Metric, y: Any, outputs: list[Any]) -> Any:
    """One value per example."""
    count, function = len(outputs[0]), _accuracy if isinstance(metric, str) else metric
    found = np.asarray(function(y, outputs[0] if len(outputs) == 1 else outputs), float)
    if found.shape != (count,):
        raise BadInput(f"metric must give one value per example, shape ({count},). Received: shape {found.shape}.")
    return found


def _accuracy(y: Any, outputs: Any) -> Any:
    """What Keras means by "accuracy", for integer, one-hot and binary labels; averaged over positions."""
    if isinstance(outputs, list):
        raise BadInput(f"metric must be a function for {len(outputs)} outputs. Received: 'accuracy'. Pass one of (y, outputs).")
    labels = np.asarray(y)
    if labels.ndim == outputs.ndim and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if outputs.shape[-1] == 1:
        raise BadInput(
            "metric must be a function for a single output unit, which may be a probability, a logit or a quantity. "
            "Received: 'accuracy'. Pass a function, for example lambda y, out: (out[:, 0] > 0.5) == y."
        )
    classes = labels.argmax(-1) if labels.ndim == outputs.ndim else labels
    if classes.shape != outputs.shape[:-1] or (labels.ndim == outputs.ndim and labels.shape != outputs.shape):
        raise BadInput(
            f"y must be classes of shape {outputs.shape[:-1]}, or one-hot labels of shape {outputs.shape}. Received: labels of "
            f"shape {np.shape(y)}."
        )
    right = outputs.argmax(-1) == classes
    return right.reshape(len(right), -1).mean(-1)
