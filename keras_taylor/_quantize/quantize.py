"""`kt.quantize`: a Keras model as a `.tflite` file of a given precision, checked before it is handed out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from keras_taylor._keras.process import unchanged
from keras_taylor._keras.program import functional
from keras_taylor._keras.progress import verbosity
from keras_taylor._keras.serving import argument
from keras_taylor._quantize.agreement import OutputCheck, check_output
from keras_taylor._quantize.columns import unseen_columns
from keras_taylor._quantize.convert import convert
from keras_taylor._quantize.float_parts import say_what_is_float
from keras_taylor._quantize.tflite_file import TFLiteFile
from keras_taylor._rebuild.float32_twin import float32_twin
from keras_taylor._rebuild.verify import relative_error
from keras_taylor._trace.graph import as_graph
from keras_taylor._trace.input_range import warns_once
from keras_taylor.errors import ConversionError, ExportMismatch, listed, warn, whole_number
from keras_taylor.litert._model import interpreter_class
from keras_taylor.quantizers import Prepared, Quantizer, quantizer_for
from keras_taylor.quantizers._checks import check_convertible

_FAR = 0.25
"""An error of which the user should know, relative to the largest output, or to the range of a channel."""
_SPLIT = (
    "Give quantities of different size outputs of their own, or use a finer precision (kt.quantizers.Int16x8PTQ, kt.Float16)."
)
_WRONG = (
    "Check the model for operations that LiteRT lacks, or for NaN; for 8 bits, whether the calibration data are scaled as in "
    "training."
)
_OTHERWISE = (
    "rounding inside the network takes them away. Use a finer precision (kt.quantizers.Int16x8PTQ, kt.Float16); for "
    "kt.Int8QAT, lower its learning rate."
)


@warns_once
def quantize(
    model: Any,
    quantizer: str | Quantizer | None = None,
    *,
    batch_size: int | None = None,
    seed: int = 0,
    verbose: Any = "auto",
) -> TFLiteFile:
    """Convert a model to LiteRT in the given precision, run the file, and compare it with the model.

    Args:
        model: a built Functional or Sequential model, or what `kt.trace` made of it; it is not changed. For `Int8QAT` it
            must be compiled, or the quantizer name a loss. Of mixed or half precision, a copy in float32 with the same weights
            is made, compared with the model, and exported.
        quantizer: `kt.Float16()`, `kt.DynamicRange()`, `kt.Int8PTQ(calibration)`, `kt.Int8QAT(data)` or another one of
            `kt.quantizers`, the name of one that needs no data, or None for float32.
        batch_size: how many examples the file takes at a time. With 1, no operation is there only to find the batch size out
            (`SHAPE`, `PACK`), which runtimes for microcontrollers refuse, and recurrent layers convert. None keeps the batch
            size that the model's inputs fix; where they fix none, the file takes one example at a time, or any number after
            `interpreter.resize_tensor_input`.
        seed: for the random inputs of the check.
        verbose: progress of training for `Int8QAT`, as in `fit`: 0 is silent; nothing else is shown.

    Returns:
        The file, and the model that it came from.

    Raises:
        BadInput: missing or unusable calibration data, an unknown length in an input, or a batch size that the model cannot
            take.
        UnsupportedModel: a layer of half precision cannot be made again in float32; for `Int8QAT`, one has no tf_keras form.
        ConversionError: the converter refuses an operation.
        ExportMismatch: the file computes something else than the model, or a channel of an output that varies in the model is
            constant in the file.
        MissingPackage: LiteRT is not installed, or what trains for `Int8QAT`.

    Example:
        >>> import keras, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> kt.quantize(model, "float16").quantizer
        Float16()
    """
    chosen = quantizer_for(quantizer)
    verbosity(verbose)
    batch_size = None if batch_size is None else whole_number("batch_size", batch_size)
    interpreter_class()  # an error before any work
    graph = as_graph(model)
    check_convertible(graph)
    chosen.check()
    with unchanged():
        graph = float32_twin(graph, seed)
        # Only where it is asked for: a quantizer of a user's own need not know it.
        fixed = {} if batch_size is None else {"batch_size": batch_size}
        prepared = chosen.prepare(graph, seed=seed, verbose=verbose, **fixed)
        content = convert(prepared.function, chosen, graph.program, prepared.examples)
        names = tuple(argument(name) for name in graph.program.input_names)
        made = _checked(TFLiteFile(content, chosen, prepared.model, 0.0, names, weights=prepared.weights), prepared)
        if chosen.integer:
            say_what_is_float(made, [call.name for call in graph.program.calls])
        return made


def _checked(made: TFLiteFile, prepared: Prepared) -> TFLiteFile:
    try:
        outputs = made.lite()(prepared.inputs)
    except RuntimeError as failure:
        raise ConversionError(
            f"LiteRT must be able to run the {made.quantizer.name} file of {made.model.name!r}. Received: "
            f"{' '.join(str(failure).split())}. Replace the operation, or use another precision."
        ) from failure
    name, tolerance = made.model.name, made.quantizer.tolerance
    checks = tuple(_checks(made, prepared, outputs))
    unseen = unseen_columns(made.inputs, prepared.inputs, made.lite().input_steps)
    error = float(np.max([check.error for check in checks]))  # NaN stays NaN
    if not error <= tolerance:
        raise ExportMismatch(
            f"The exported file must compute what {name!r} computes. Received: a relative error of {error:.1e} "
            f"(tolerance {tolerance:.0e}). " + (unseen or _WRONG)
        )
    _check_channels(made, checks, unseen)
    if unseen:
        warn(f"The {made.quantizer.name} file of {name!r} loses a part of its inputs. {unseen}")
    elif error > _FAR:
        warn(
            f"The {made.quantizer.name} file of {name!r} differs from the model by {error:.2f} of the largest "
            "output. Measure its accuracy with kt.measure before you use it; kt.Int8QAT or kt.Float16 come closer."
        )
    return replace(made, max_relative_error=error, checks=checks)


def _checks(made: TFLiteFile, prepared: Prepared, outputs: Sequence[Any]) -> Iterator[OutputCheck]:
    names, steps = functional(made.model).output_names, made.lite().output_steps
    for name, expected, found, step in zip(names, prepared.expected, outputs, steps, strict=True):
        yield check_output(name, relative_error([expected], [found]), expected, found, step)


def _check_channels(made: TFLiteFile, checks: Sequence[OutputCheck], unseen: str) -> None:
    """Raise for channels that are constant in the file alone, and warn of those that are little better.

    `unseen` is the cause, where it is known to be in the inputs.
    """
    quantizer = made.quantizer
    for check in checks:
        if check.constant and not quantizer.allow_constant_channels:
            cause = f"one scale serves the whole output. {_SPLIT}" if check.lost_to_scale else _OTHERWISE
            cause = f"the inputs are the cause. {unseen}" if unseen else cause
            raise ExportMismatch(
                f"What varies in an output of {made.model.name!r} must vary in the {quantizer.name} file. Received: output "
                f"{check.name!r}, of which channels {listed(map(str, check.constant))} are constant in the file. In the model "
                f"they span up to {check.constant_range:.3g}, beside values from {check.low:.3g} to {check.high:.3g}: "
                f"{cause} Or accept it: "
                f"{type(quantizer).__name__}(..., allow_constant_channels=True)."
            )
        bad = [c for c, error in enumerate(check.channels) if error > _FAR and c not in check.constant]
        if bad and not unseen and not check.shares_unit and check.error <= _FAR:
            warn(
                f"In the {quantizer.name} file of {made.model.name!r}, channels {listed(map(str, bad))} of output "
                f"{check.name!r} are off by up to {max(check.channels[c] for c in bad):.2f} of their own range. {_SPLIT}"
            )
