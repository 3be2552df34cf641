"""`kt.repair`: choose and apply repair methods, judged on images that they have not seen."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_taylor._keras.heads import output_kinds
from keras_taylor._keras.inputs import read_inputs
from keras_taylor._keras.program import infer
from keras_taylor._output.tables import render, table
from keras_taylor._plan.pruning_plan import PruningPlan, to_mask
from keras_taylor._rebuild.rebuild import rebuild
from keras_taylor._repair.batchnorm import recalibrate
from keras_taylor._repair.consumers import Consumer, consumers
from keras_taylor._repair.layer_fit import Fit
from keras_taylor._repair.least_squares import refit
from keras_taylor._repair.normal_equations import NormalEquations
from keras_taylor._repair.stepwise_run import Batches, live_bytes
from keras_taylor._trace.graph import ChannelGraph, trace
from keras_taylor._trace.input_range import warn_of_range
from keras_taylor.errors import BadInput, PlanMismatch, unknown_name

METHODS = ("bias", "lstsq", "batchnorm")
_ROUNDS = 2


@dataclass(frozen=True)
class Attempt:
    """One combination of methods that was tried.

    Attributes:
        methods: in the order in which they were applied.
        error: mean squared difference from the original's outputs on held-back examples, relative to their variance.
        agreement: share of held-back examples on which the largest output is the original's.
        passes: passes of its last method over the calibration data.
        seconds: time that its last method took, judging included.
    """

    methods: tuple[str, ...]
    error: float
    agreement: float
    passes: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Repair:
    """Outcome of `kt.repair`; `print(repair)` is a table.

    Attributes:
        model: the repaired model; with `method="auto"` never worse on the held-back examples than the unrepaired one.
        methods: what was applied to it, possibly nothing.
        attempts: all that was tried, the unrepaired model first.
        examples: how many examples were used to repair, and how many were held back.
    """

    model: Any
    methods: tuple[str, ...]
    attempts: tuple[Attempt, ...]
    examples: tuple[int, int]

    def __str__(self) -> str:
        title = f"Repair on {self.examples[0]} examples, judged on {self.examples[1]} others"
        made = table(title, ("methods", "output error>", "top-1 agreement>", "passes>", "seconds>", ""))
        for one in self.attempts:
            numbers = (f"{one.error:.4g}", f"{one.agreement:.3f}", str(one.passes), f"{one.seconds:.1f}")
            made.add_row(" + ".join(one.methods) or "none", *numbers, "chosen" if one.methods == self.methods else "")
        return render(made)


def repair(
    model: Any,
    plan: PruningPlan,
    small: Any,
    data: Any,
    method: str | Sequence[str] = "auto",
    *,
    examples: int = 1024,
    ridge: float = 1e-3,
    rows: int = 30,
    residual: bool = True,
    activation: bool = True,
    batch_size: int = 64,
    frozen: bool = False,
    seed: int = 0,
    verbose: int = 0,
) -> Repair:
    """Refit a pruned model on unlabelled inputs so that it does the work of what was removed. No training, no labels.

    Args:
        model: the original.
        plan: what was removed from it.
        small: the result of `kt.rebuild(model, plan)`; it is not changed.
        data: inputs as `fit` takes them; labels are ignored (a tuple or list of arrays is `(x, y)`: write `([a, b],)` for a
            model of two inputs). Copies of one example count once.
        method: one of, or a sequence of, `"bias"` (what removed channels contributed on average goes into the bias of the
            layer that read them, or into the BatchNormalization that follows), `"lstsq"` (kernels and biases are refitted by
            least squares towards the original's outputs, in topological order) and `"batchnorm"` (statistics are measured
            again, so that normalised outputs get the mean and variance that they have in the original); or `"auto"`, which
            tries them and keeps what agrees best with the original on held-back examples: in the largest output, where a
            softmax or the compiled loss tells that outputs are classes, or else in mean square.
        examples: at most this many examples are used; a fifth of them is held back.
        ridge: pull of `"lstsq"` towards the old kernel, relative to the variance of each of a layer's inputs.
        rows: sampled rows (examples times positions) per unknown of a layer, at least; 0 reads every position. More take
            longer and fit a little better: 120 brought a ResNet-20 .002 on average, and .004 at half its MACs.
        residual: fit towards the original's sum, not its branch, where a layer's outputs go into a residual sum.
        activation: fit towards what passes the ReLU that reads a layer: where the original is below zero, anything below
            zero will do.
        batch_size: for arrays, and for running the models.
        frozen: refit layers too that are not trainable.
        seed: for the choice of examples and positions.
        verbose: 1 shows a progress bar.

    Returns:
        The repaired model and what each method brought.

    Raises:
        PlanMismatch: the plan is of another model, or `small` does not have the shapes that the plan leaves.
        UnknownName: no method has this name.
        BadInput: no data, inputs of another shape, or not enough memory.
        NonFiniteScores: NaN in the inputs of a layer, which is named.

    Example:
        >>> import keras, numpy as np, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(8, 3, activation="relu", name="conv"),
        ...                           keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D()])
        >>> plan = kt.PruningPlan({"conv": (0, 1, 2, 3, 4, 5)})
        >>> x = np.random.default_rng(0).normal(size=(100, 8, 8, 1))
        >>> fixed = kt.repair(model, plan, kt.rebuild(model, plan), x)
        >>> fixed.attempts[0].error > min(attempt.error for attempt in fixed.attempts)
        True
    """
    chains = _chains(method)
    if not isinstance(plan, PruningPlan):
        raise BadInput(f"plan must be a kt.PruningPlan. Received: {plan!r}.")
    if not ridge > 0 or not math.isfinite(ridge) or rows < 0:
        raise BadInput(f"ridge must be above 0, and rows at least 0. Received: ridge={ridge!r}, rows={rows!r}.")
    graph = trace(model)
    keep = graph.keep_labels(to_mask(graph, plan))
    if [tuple(w.shape) for w in small.weights] != [tuple(w.shape) for w in rebuild(model, plan).weights]:
        raise PlanMismatch("small must be kt.rebuild(model, plan). Received: a model whose weights have other shapes.")
    inputs = read_inputs(model, graph.program, data, batch_size, examples, seed)
    held = max(len(inputs[0]) // 5, 1)
    if len(inputs[0]) < 2:
        raise BadInput("data must have at least two examples, one to repair on and one held back. Received: 1.")
    fitted = _batched([x[held:] for x in inputs], batch_size)
    judged = _batched([x[:held] for x in inputs], batch_size)
    warn_of_range(graph.program, judged[0])
    expected = _outputs(graph, judged)
    attempts: list[Attempt] = []
    models: dict[tuple[str, ...], Any] = {(): rebuild(small, PruningPlan({}))}
    for chain in [(), *chains]:
        start, passes = time.perf_counter(), 0
        if chain:
            copy = rebuild(models[chain[:-1]], PruningPlan({}))
            mine = trace(copy)
            progress = _progress(chain, verbose)
            if chain[-1] == "batchnorm":
                passes = recalibrate(graph, keep, mine, fitted, frozen, progress)
            else:
                found = consumers(graph, keep, mine, frozen)
                if not found and consumers(graph, keep, mine, frozen=True):
                    warnings.warn(
                        "All layers to refit are frozen (trainable=False). Pass frozen=True to refit them.", stacklevel=2
                    )
                pull = math.inf if chain[-1] == "bias" else ridge
                fit = Fit(pull, rows, residual, _ROUNDS if activation else 0, seed, progress)
                _foresee_memory(found, mine, len(inputs[0]), fit)
                passes = refit(graph, mine, found, fitted, fit)
            models[chain] = copy
        error, agreement = _distance(expected, _outputs(trace(models[chain]), judged))
        attempts.append(Attempt(chain, error, agreement, passes, time.perf_counter() - start))
    best = _best(attempts, model) if check_method(method) == ("auto",) else attempts[-1]
    return Repair(models[best.methods], best.methods, tuple(attempts), (len(inputs[0]) - held, held))


def _best(attempts: Sequence[Attempt], model: Any) -> Attempt:
    """Of the attempts that are no further from the original than no repair, the one that agrees best with its classes.

    Where the outputs are not known to be classes, and among equals, the one that is closest.
    """
    classes = set(output_kinds(model)) <= {"softmax", "logits"}
    eligible = [one for one in attempts if one.error <= attempts[0].error]
    return min(eligible, key=lambda one: (-one.agreement if classes else 0.0, one.error))


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


def _foresee_memory(found: Sequence[Consumer], small: ChannelGraph, examples: int, fit: Fit) -> None:
    """Raise `BadInput` if the largest fit, all targets, and the activations between two layers do not fit into memory."""
    fits, targets = {}, 0
    for one in found:
        groups, unknowns, outputs = one.linear_small.to_matrix(_kernel(one)).shape
        fits[one.name] = groups * NormalEquations.bytes(unknowns, outputs)
        positions = math.prod(d or 1 for d in one.calls[0][0].outputs[0].shape[1:-1]) * len(one.calls)
        targets += 4 * groups * outputs * min(examples * positions, fit.wanted(unknowns) + examples)
    largest = max(fits, key=lambda name: fits[name], default="")
    activations = live_bytes(small.program, examples)
    needed = fits.get(largest, 0) + targets + activations
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if "SC_AVPHYS_PAGES" in os.sysconf_names else 2**62
    if needed > available:
        raise BadInput(
            f"Memory must suffice for repair. Received: {available:,} bytes available, {needed:,} needed: "
            f"{fits.get(largest, 0):,} for the fit of {largest!r}, {targets:,} for the targets of {len(found)} layers, "
            f"{activations:,} for the activations of {examples} examples. Use fewer examples or rows, or method='batchnorm'."
        )


def _kernel(consumer: Consumer) -> Any:
    return getattr(consumer.small, consumer.linear_small.kernel).numpy()


def _progress(chain: tuple[str, ...], verbose: int) -> Any:
    if not verbose:
        return lambda done, of: None
    print(f"Repair: {' + '.join(chain)}")
    bar: list[Any] = []

    def show(done: int, of: int) -> None:
        if not bar:
            bar.append(keras.utils.Progbar(of, unit_name="layer"))
        bar[0].update(done)

    return show
