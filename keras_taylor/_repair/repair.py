"""`kt.repair`: choose and apply repair methods, judged on images that they have not seen."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import psutil
import tensorflow as tf
from rich.table import Table

from keras_taylor._keras.heads import output_kinds
from keras_taylor._keras.inputs import read_inputs
from keras_taylor._keras.program import infer
from keras_taylor._keras.progress import verbosity
from keras_taylor._output.deprecations import renamed
from keras_taylor._output.results import Result
from keras_taylor._output.tables import table
from keras_taylor._plan.pruning_plan import PruningPlan, to_mask
from keras_taylor._rebuild.rebuild import copy_model, rebuild
from keras_taylor._repair.batchnorm import recalibrate
from keras_taylor._repair.consumers import Consumer, consumers
from keras_taylor._repair.layer_fit import FitOptions
from keras_taylor._repair.least_squares import least_squares
from keras_taylor._repair.normal_equations import NormalEquations
from keras_taylor._repair.stepwise_run import Batches, live_bytes
from keras_taylor._repair.tune import Judge, Tuning, tune
from keras_taylor._trace.graph import ChannelGraph, as_graph, trace
from keras_taylor._trace.input_range import warn_of_range
from keras_taylor.errors import BadInput, PlanMismatch, unknown_name, warn, whole_number
from keras_taylor.rules import Keep

METHODS = ("bias", "lstsq", "batchnorm", "tune")
_ROUNDS = 2


@dataclass(frozen=True)
class Attempt:
    """One combination of methods that was tried.

    Attributes:
        methods: what was applied, in this order.
        error: mean squared difference from the original's outputs on held-back examples, relative to their variance.
        agreement: share of held-back examples on which the largest output is the original's.
        passes: passes of its last method over the calibration data.
        seconds: time that its last method took, with judging.
    """

    methods: tuple[str, ...]
    error: float
    agreement: float
    passes: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Repair(Result):
    """Outcome of `kt.repair`; `print(repair)` is a table.

    Attributes:
        model: the repaired model; with `method="auto"` never worse on the held-back examples than the unrepaired one.
        methods: what was applied to it, in this order; nothing, where that was best.
        attempts: all that was tried, the unrepaired model first.
        examples: how many examples were used to repair, and how many were held back.
    """

    model: Any
    methods: tuple[str, ...]
    attempts: tuple[Attempt, ...]
    examples: tuple[int, int]

    def parts(self) -> Sequence[Table]:
        """A table of all that was tried."""
        title = f"Repair on {self.examples[0]} examples, judged on {self.examples[1]} others"
        made = table(title, ("methods", "output error>", "top-1 agreement>", "passes>", "seconds>", ""))
        for one in self.attempts:
            numbers = (f"{one.error:.4g}", f"{one.agreement:.3f}", str(one.passes), f"{one.seconds:.1f}")
            made.add_row(" + ".join(one.methods) or "none", *numbers, "chosen" if one.methods == self.methods else "")
        return [made]


@renamed(data="x")
def repair(
    model: Any,
    plan: PruningPlan,
    small: Any,
    x: Any,
    *,
    method: str | Sequence[str] = "auto",
    examples: int = 2048,
    ridge: float = 1e-3,
    rows: int = 30,
    residual: bool = True,
    activation: bool = True,
    passes: int = 40,
    seconds: float | None = None,
    learning_rate: float = 3e-3,
    augment: Any = "images",
    weights: Mapping[str, float] | None = None,
    batch_size: int = 32,
    frozen: bool = False,
    seed: int = 0,
    verbose: str | int = "auto",
) -> Repair:
    """Refit a pruned model on unlabelled inputs so that it does the work of what was removed. No training, no labels.

    Args:
        model: the original, or its graph.
        plan: what was removed from it.
        small: the result of `kt.rebuild(model, plan)`; it is not changed.
        x: inputs as `fit` takes them; labels are ignored (a tuple or list of arrays is `(x, y)`: write `([a, b],)` for a
            model of two inputs). Copies of one example count once.
        method: one of, or a sequence of, `"bias"` (what removed channels contributed on average goes into the bias of the
            layer that read them, or into the BatchNormalization that follows), `"lstsq"` (kernels and biases are refitted by
            least squares towards the original's outputs, in topological order), `"batchnorm"` (statistics are measured
            again, so that normalised outputs get the mean and variance that they have in the original) and `"tune"` (all layers
            at once learn to compute what the original does, wherever channels are read; alone it begins with `"lstsq"`; it
            takes minutes, not seconds); or `"auto"`, which tries all but the last and keeps what agrees best with the original
            on held-back examples: in the largest output, where a softmax or the compiled loss tells that outputs are classes,
            or else in mean square.
        examples: at most this many examples are used; a fifth of them is held back.
        ridge: pull of `"lstsq"` towards the old kernel, relative to the variance of each of a layer's inputs.
        rows: sampled rows (examples times positions) per unknown of a layer, at least; 0 reads every position. More take
            longer and fit a little better: 120 brought a ResNet-20 .002 on average, and .004 at half its MACs.
        residual: fit towards the original's sum, not its branch, where a layer's outputs go into a residual sum.
        activation: fit towards what passes the ReLU that reads a layer: where the original is below zero, anything below
            zero will do.
        passes: how often `"tune"` goes over the examples, at most.
        seconds: budget of time for `"tune"`, judging included. Where it is too short for one pass, that is said, and
            the result of `"lstsq"` stays.
        learning_rate: of `"tune"`'s Adam after its warm-up; it falls linearly to 0.
        augment: for `"tune"`: `"images"` (flips and shifts of inputs that are images), None, or a function that takes a batch
            of what the model takes and returns the same shapes. Labels are not needed, so any input is fair.
        weights: for `"tune"`: what counts more or less than 1, by name of the layer that reads; outputs are called
            `"output of head"`.
        batch_size: number of examples in a batch, for arrays and for running the models.
        frozen: refit layers too that are not trainable.
        seed: for the choice of examples and positions.
        verbose: 1 shows a progress bar for each combination of methods, 2 a line, 0 nothing; "auto" is 1.

    Returns:
        The repaired model and what each method brought.

    Raises:
        PlanMismatch: the plan is of another model, or `small` does not have the shapes that the plan leaves.
        UnknownName: no method has this name.
        BadInput: no examples, inputs of another shape, or not enough memory.
        NonFiniteScores: NaN in the inputs of a layer, which is named.

    Example:
        >>> import keras, numpy as np, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(8, 3, activation="relu", name="conv"),
        ...                           keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D()])
        >>> plan = kt.PruningPlan({"conv": (0, 1, 2, 3, 4, 5)})
        >>> x = np.random.default_rng(0).normal(size=(100, 8, 8, 1))
        >>> fixed = kt.repair(model, plan, kt.rebuild(model, plan), x, verbose=0)
        >>> fixed.attempts[0].error > min(attempt.error for attempt in fixed.attempts)
        True
    """
    chains, verbose = _chains(method), verbosity(verbose)
    _check_options(plan, x, ridge=ridge, seconds=seconds, learning_rate=learning_rate)
    passes = whole_number("passes", passes)
    rows, examples = whole_number("rows", rows, least=0), whole_number("examples", examples)
    graph = as_graph(model)
    keep = graph.keep_labels(to_mask(graph, plan))
    if [tuple(w.shape) for w in small.weights] != [tuple(w.shape) for w in rebuild(graph, plan).weights]:
        raise PlanMismatch("small must be kt.rebuild(model, plan). Received: a model whose weights have other shapes.")
    inputs = read_inputs(graph.model, graph.program, x, batch_size, examples, seed)
    held = max(len(inputs[0]) // 5, 1)
    if len(inputs[0]) < 2:
        raise BadInput("x must have at least two examples, one to repair on and one held back. Received: 1.")
    fitted = _batched([array[held:] for array in inputs], batch_size)
    judged = _batched([array[:held] for array in inputs], batch_size)
    warn_of_range(graph.program, judged[0])
    options = FitOptions(ridge, rows, residual, _ROUNDS if activation else 0, seed, verbose)
    tuning = Tuning(passes, seconds, learning_rate, batch_size, augment, weights, frozen, seed, verbose)
    expected = _outputs(graph, judged)
    attempts: list[Attempt] = []
    graphs: dict[tuple[str, ...], ChannelGraph] = {(): trace(small)}
    for chain in [(), *chains]:
        start, made = time.perf_counter(), 0
        if chain:
            if verbose:
                print(f"Repair: {' + '.join(chain)}")
            graphs[chain] = trace(copy_model(graphs[chain[:-1]]))
            if chain[-1] == "tune":
                arrays = [array[held:] for array in inputs]
                made = tune(graph, keep, graphs[chain], arrays, _judge(graph, graphs[chain], judged, expected), tuning)
            else:
                made = _apply(chain[-1], graph, keep, graphs[chain], fitted, frozen, options)
        error, agreement = _distance(expected, _outputs(graphs[chain], judged))
        attempts.append(Attempt(chain, error, agreement, made, time.perf_counter() - start))
    best = _best(attempts, graph.model) if check_method(method) == ("auto",) else attempts[-1]
    repaired = graphs[best.methods].model if best.methods else copy_model(graphs[()])
    return Repair(repaired, best.methods, tuple(attempts), (len(inputs[0]) - held, held))


def _check_options(plan: Any, x: Any, **positive: float | None) -> None:
    if not isinstance(plan, PruningPlan):
        raise BadInput(f"plan must be a kt.PruningPlan. Received: {plan!r}.")
    names = x if isinstance(x, (list, tuple)) else (x,)
    if names and all(isinstance(name, str) for name in names):
        raise BadInput(f"x must be inputs as `fit` takes them. Received: {x!r}. Pass the method by name: method={x!r}.")
    for name, value in positive.items():
        if value is not None and (not value > 0 or not math.isfinite(value)):
            raise BadInput(f"{name} must be above 0 and finite. Received: {value!r}.")


def _apply(
    method: str, graph: ChannelGraph, keep: Keep, small: ChannelGraph, batches: Batches, frozen: bool, options: FitOptions
) -> int:
    """Repair the model of `small` by one method, in place; the number of passes over the data that this took."""
    if method == "batchnorm":
        return recalibrate(graph, keep, small, batches, frozen, options.verbose)
    found = consumers(graph, keep, small, frozen)
    if not found and consumers(graph, keep, small, frozen=True):
        warn("All layers to refit are frozen (trainable=False). Pass frozen=True to refit them.")
    options = replace(options, ridge=math.inf) if method == "bias" else options
    _foresee_memory(found, small, sum(len(batch[0]) for batch in batches), options)
    return least_squares(graph, small, found, batches, options)


def _best(attempts: Sequence[Attempt], model: Any) -> Attempt:
    """Of the attempts that are no further from the original than no repair, the one that agrees best with its classes.

    Where the outputs are not known to be classes, and among equals, the one that is closest.
    """
    eligible = [one for one in attempts if one.error <= attempts[0].error]
    return min(eligible, key=lambda one: _badness(model, one.error, one.agreement))


def _badness(model: Any, error: float, agreement: float) -> tuple[float, float]:
    """What the better of two small models has less of."""
    classes = set(output_kinds(model)) <= {"softmax", "logits"}
    return (-agreement if classes else 0.0, error)


def _judge(graph: ChannelGraph, small: ChannelGraph, batches: Batches, expected: Sequence[Any]) -> Judge:
    run = tf.function(lambda batch: small.program.run(batch, infer))

    def judge() -> tuple[float, ...]:
        columns = zip(*([np.asarray(y, np.float64) for y in run(batch)] for batch in batches), strict=True)
        return _badness(graph.model, *_distance(expected, [np.concatenate(column) for column in columns]))

    return judge


def check_method(method: str | Sequence[str]) -> tuple[str, ...]:
    """The methods that `method` names.

    Raises:
        UnknownName: no method has this name.
        BadInput: no method at all.
    """
    names = (method,) if isinstance(method, str) else tuple(method) if isinstance(method, Sequence) else ()
    if not names:
        raise BadInput(f"method must name at least one of {(*METHODS, 'auto')}. Received: {method!r}.")
    for name in names:
        if name == "auto" and len(names) > 1:
            raise BadInput(f"'auto' chooses by itself, and goes with no other method. Received: {method!r}.")
        if name not in METHODS and name != "auto":
            raise unknown_name("method of repair", name, (*METHODS, "auto"))
    return names


def _chains(method: str | Sequence[str]) -> list[tuple[str, ...]]:
    """The combinations to try, each after the shorter one that it continues."""
    names = check_method(method)
    if names == ("auto",):
        return [("batchnorm",), ("bias",), ("lstsq",), ("lstsq", "batchnorm")]
    if names == ("tune",):
        names = ("lstsq", "tune")
    return [names[: i + 1] for i in range(len(names))]


def _batched(arrays: Sequence[Any], size: int) -> Batches:
    return [
        [keras.ops.convert_to_tensor(array[start : start + size]) for array in arrays]
        for start in range(0, len(arrays[0]), size)
    ]


def _outputs(graph: ChannelGraph, batches: Batches) -> list[Any]:
    parts = [[np.asarray(y, np.float64) for y in graph.program.run(batch, infer)] for batch in batches]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def _distance(expected: Sequence[Any], received: Sequence[Any]) -> tuple[float, float]:
    """Mean squared difference relative to the variance of the expected outputs, and top-1 agreement; means over outputs."""
    errors, agreements = [], []
    for a, b in zip(expected, received, strict=True):
        spread = float(((a - a.mean(axis=0)) ** 2).mean()) or float((a**2).mean()) or 1.0
        errors.append(float(((a - b) ** 2).mean()) / spread)
        if a.shape[-1] > 1:
            agreements.append(float((a.argmax(-1) == b.argmax(-1)).mean()))
    error = float(np.mean(errors))
    return error if math.isfinite(error) else math.inf, float(np.mean(agreements)) if agreements else math.nan


def _foresee_memory(found: Sequence[Consumer], small: ChannelGraph, examples: int, options: FitOptions) -> None:
    """Raise `BadInput` if the largest fit, all targets, and the activations between two layers do not fit into memory."""
    fits, targets = {}, 0
    for one in found:
        groups, unknowns, outputs = one.linear_small.to_matrix(_kernel(one)).shape
        fits[one.name] = groups * NormalEquations.memory(unknowns, outputs)
        positions = math.prod(d or 1 for d in one.calls[0][0].outputs[0].shape[1:-1]) * len(one.calls)
        targets += 4 * groups * outputs * min(examples * positions, options.wanted(unknowns) + examples)
    largest = max(fits, key=lambda name: fits[name], default="")
    activations = live_bytes(small.program, examples)
    needed = fits.get(largest, 0) + targets + activations
    available = psutil.virtual_memory().available
    if needed > available:
        raise BadInput(
            f"Memory must suffice for repair. Received: {available:,} bytes available, {needed:,} needed: "
            f"{fits.get(largest, 0):,} for the fit of {largest!r}, {targets:,} for the targets of {len(found)} layers, "
            f"{activations:,} for the activations of {examples} examples. Use fewer examples or rows, or method='batchnorm'."
        )


def _kernel(consumer: Consumer) -> Any:
    return getattr(consumer.small, consumer.linear_small.kernel).numpy()
