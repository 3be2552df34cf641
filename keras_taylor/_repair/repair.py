"""`kt.repair`: apply repair methods one after the other, each judged on examples that it has not seen."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from keras_taylor._keras.compilation import restart_averages
from keras_taylor._keras.inputs import read_inputs
from keras_taylor._keras.program import check_model
from keras_taylor._keras.progress import verbosity
from keras_taylor._output.deprecations import renamed
from keras_taylor._plan.pruning_plan import PruningPlan, check_plan, to_mask
from keras_taylor._rebuild.rebuild import copy_model, rebuild
from keras_taylor._repair.attempts import Attempt, Repair
from keras_taylor._repair.judging import Judging
from keras_taylor._repair.method import Options, Work, batched
from keras_taylor._repair.methods import Auto, Chain, Methods, chains_for, methods_for
from keras_taylor._repair.refit import LeastSquares
from keras_taylor._trace.graph import ChannelGraph, as_graph, trace
from keras_taylor._trace.input_range import warn_of_range, warns_once
from keras_taylor.errors import BadInput, PlanMismatch, shown, warn, whole_number
from keras_taylor.rules import Keep

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _takes_old_options(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorator: the options of least squares may be given one by one, as before they were a value; with a warning."""
    names = ("ridge", "rows", "residual", "activation")

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> _R:
        given = {name: kwargs.pop(name) for name in names if name in kwargs}
        if given:
            spelled = f"method=kt.repairs.LeastSquares({', '.join(f'{name}=...' for name in given)})"
            if kwargs.get("method", "auto") != "lstsq":
                raise BadInput(f"repair takes {', '.join(given)} in a method now. Write {spelled}.")
            warn(f"repair takes {', '.join(given)} in a method now: {spelled}.", DeprecationWarning)
            kwargs["method"] = LeastSquares(**given)
        return function(*args, **kwargs)

    return call


@renamed(data="x")
@_takes_old_options
@warns_once
def repair(
    model: Any,
    plan: PruningPlan,
    small: Any,
    x: Any,
    *,
    method: Methods = "auto",
    examples: int = 2048,
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
        method: a name (`"bias"`, `"lstsq"`, `"batchnorm"`, `"tune"`), one of `kt.repairs`, which takes options, or a
            sequence of them, applied in this order. `"auto"` tries the quick ones, goes on from the best with two minutes of
            `"tune"` where there are 512 examples or more, and keeps what agrees best with the original on held-back
            examples: in the largest output, where a softmax or the compiled loss tells that outputs are classes, or else in
            mean square. Another budget: `kt.repairs.Auto(seconds=600)`.
        examples: at most this many examples are used; a fifth of them is held back.
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
    methods, verbose, examples = methods_for(method), verbosity(verbose), whole_number("examples", examples)
    _check(plan, x)
    graph = as_graph(model)
    check_model(small, "small")
    keep = graph.keep_labels(to_mask(graph, plan))
    if [tuple(w.shape) for w in small.weights] != [tuple(w.shape) for w in rebuild(graph, plan).weights]:
        raise PlanMismatch("small must be kt.rebuild(model, plan). Received: a model whose weights have other shapes.")
    inputs = read_inputs(graph.model, graph.program, x, batch_size, examples, seed)
    if len(inputs[0]) < 2:
        raise BadInput("x must have at least two examples, one to repair on and one held back. Received: 1.")
    held = max(len(inputs[0]) // 5, 1)
    judging = Judging(graph, batched([array[:held] for array in inputs], batch_size))
    warn_of_range(graph.program, [array[:held] for array in inputs], graph.model)
    fitted = [array[held:] for array in inputs]
    trial = _Trial(graph, keep, trace(small), fitted, judging, Options(batch_size, frozen, seed, verbose))
    if isinstance(methods, Auto):
        for chain in methods.quick():
            trial.add(chain)
        for chain in methods.thorough(trial.best(), len(inputs[0])):
            trial.add(chain, optional=True)
        chosen = trial.best()
    else:
        for chosen in chains_for(methods):
            trial.add(chosen)
    names = tuple(one.name for one in chosen)
    repaired = trial.graphs[chosen].model if chosen else copy_model(trial.graphs[chosen])
    restart_averages(repaired)
    return Repair(repaired, names, tuple(trial.attempts.values()), (len(fitted[0]), held))


class _Trial:
    """All that is tried on one small model.

    Attributes:
        graphs: of the models that came out, by what was applied; nothing was applied to the first.
        attempts: how well they do, by the same.
    """

    def __init__(
        self, graph: ChannelGraph, keep: Keep, small: ChannelGraph, inputs: Any, judging: Judging, options: Options
    ) -> None:
        self._graph, self._keep, self._inputs, self._judging, self._options = graph, keep, inputs, judging, options
        self.graphs: dict[Chain, ChannelGraph] = {(): small}
        self.attempts: dict[Chain, Attempt] = {(): Attempt((), *judging.distance(small), 0, 0.0)}

    def add(self, chain: Chain, optional: bool = False) -> None:
        """Apply the last method of a chain to what the others made of the small model."""
        start, names = time.perf_counter(), tuple(one.name for one in chain)
        if self._options.verbose:
            print(f"Repair: {' + '.join(names)}")
        now = trace(copy_model(self.graphs[chain[:-1]]))
        work = Work(self._graph, self._keep, now, self._inputs, self._judging.judge(now), self._options, optional)
        passes = chain[-1].apply(work)
        if passes or not optional:
            self.graphs[chain] = now
            self.attempts[chain] = Attempt(names, *self._judging.distance(now), passes, time.perf_counter() - start)

    def best(self) -> Chain:
        """Of what is no further from the original than no repair: what agrees best with it, the closest among equals."""
        eligible = {chain: one for chain, one in self.attempts.items() if one.error <= self.attempts[()].error}
        return min(eligible, key=lambda chain: self._judging.badness(eligible[chain].error, eligible[chain].agreement))


def _check(plan: Any, x: Any) -> None:
    check_plan(plan)
    names = x if isinstance(x, (list, tuple)) else (x,)
    if names and all(isinstance(name, str) for name in names):
        raise BadInput(
            f"x must be inputs as `fit` takes them. Received: {shown(x)}. Pass the method by name: method={shown(x)}."
        )
