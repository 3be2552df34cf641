"""Does the pruned model compute what the original computes with the removed channels silenced?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_taylor._keras.draws import equal_draws
from keras_taylor._keras.example_inputs import example_inputs
from keras_taylor._keras.fixed_batch import in_batches, own_batch_size
from keras_taylor._keras.model import feed, pack_inputs
from keras_taylor._keras.program import Call, Program, check_model, infer
from keras_taylor._output.deprecations import renamed
from keras_taylor._output.results import Result
from keras_taylor._plan.pruning_plan import PruningPlan, to_mask
from keras_taylor._trace.graph import ChannelGraph, as_graph
from keras_taylor.errors import BadInput, PlanMismatch, in_short, positive
from keras_taylor.rules import Keep


@dataclass(frozen=True)
class Verification(Result):
    """Outcome of `kt.verify`; `print(check)` says it in a line.

    Attributes:
        max_relative_error: the largest difference of an output, relative to the largest magnitude of that output.
        tolerance: the largest error that counts as equal.
        random: whether even the original's own outputs differ from run to run, by more than the tolerance.
    """

    max_relative_error: float
    tolerance: float
    random: bool = False

    @property
    def ok(self) -> bool:
        """Whether the error is within the tolerance (NaN is not)."""
        return self.max_relative_error <= self.tolerance

    def parts(self) -> Sequence[str]:
        """One line."""
        verdict = "equal" if self.ok else "NOT COMPARABLE, the model is random in inference" if self.random else "DIFFERENT"
        return [f"{verdict}: largest relative error {self.max_relative_error:.1e} (tolerance {self.tolerance:.0e})"]


@renamed(pruned="small", inputs="x")
def verify(model: Any, plan: PruningPlan, small: Any, x: Any = None, *, tolerance: float = 1e-4, seed: int = 0) -> Verification:
    """Compare the pruned model with the original whose removed channels are silenced **at the inputs of their consumers**.

    Both must give the same outputs. Besides, the traced graph with nothing silenced must compute what the original does: else
    the comparison would say nothing. Layers that draw random numbers in inference draw the same in both, as far as they
    use `keras.random` with a seed generator or without a seed.

    Call it right after `kt.rebuild`: training or repair changes what the pruned model computes.

    Args:
        model: the original, or its graph.
        plan: what was removed.
        small: the result of `kt.rebuild(model, plan)`.
        x: a batch of inputs as the model takes them; two made-up examples by default.
        tolerance: largest relative error that counts as equal; 1e-4 suits float32.
        seed: for the random examples.

    Returns:
        `check.max_relative_error` and `check.ok`.

    Raises:
        PlanMismatch: the plan is of another model, or the outputs have other shapes.
        UnsupportedModel: `model` or `small` is no model.
        BadInput: `plan` is no plan, `tolerance` no number above 0, `x` does not fit the model, or none is given and the model
            does not run on made-up ones.

    Example:
        >>> import keras, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="conv"),
        ...                           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
        >>> plan = kt.PruningPlan({"conv": (0, 2)})
        >>> kt.verify(model, plan, kt.rebuild(model, plan)).ok
        True
    """
    positive("tolerance", tolerance)
    graph = as_graph(model)
    check_model(small, "small")
    keep = graph.keep_labels(to_mask(graph, plan))
    with equal_draws(graph.model, small) as rewind:

        def drawn(outputs: Callable[[], list[Any]]) -> list[Any]:
            rewind()
            return outputs()

        batch = _invented(graph, seed) if x is None else feed(graph.model, x)
        plain = drawn(lambda: run(graph.model, batch))
        replay = relative_error(plain, drawn(lambda: silenced(graph, np.ones_like(keep), batch)))
        error = relative_error(drawn(lambda: silenced(graph, keep, batch)), drawn(lambda: run(small, batch)))
        worst = float(np.max([replay, error]))  # NaN stays NaN
        random = not worst <= tolerance and relative_error(run(graph.model, batch), run(graph.model, batch)) > tolerance
    return Verification(worst, tolerance, random)


def _invented(graph: ChannelGraph, seed: int) -> list[Any]:
    """Made-up inputs on which the model runs."""
    batch = example_inputs(graph.program, seed)
    try:
        run(graph.model, batch)
    except Exception as error:  # whatever a layer raises that cannot take them
        raise BadInput(
            f"x must be given: {graph.model.name!r} does not run on made-up inputs ({in_short(error)}). Pass real ones."
        ) from error
    return batch


def relative_error(expected: Sequence[Any], received: Sequence[Any]) -> float:
    """The largest difference of an output, relative to the largest magnitude of that output."""
    worst = 0.0
    for a, b in zip(expected, received, strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        if a.shape != b.shape:
            raise PlanMismatch(f"The outputs of both models must have one shape. Received: {a.shape} and {b.shape}.")
        error = np.abs(a - b).max(initial=0.0) / max(np.abs(a).max(initial=0.0), 1e-30)
        worst = float(error) if np.isnan(error) else max(worst, float(error))
        if np.isnan(worst):
            break
    return worst


def silenced(graph: ChannelGraph, keep: Keep, inputs: Sequence[Any]) -> list[Any]:
    """Outputs of the original with the labels that `keep` drops set to zero where a kernel reads them.

    Scoring silences channels at `ReadSites`. This is written a second time on purpose: it judges what those are used for.

    Args:
        graph: of the original.
        keep: a boolean per label.
        inputs: one array per input of the model.
    """
    consumers = {id(step.call): step.inputs[0] for step in graph.steps if step.consumes}

    def masked(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        labels = consumers.get(id(call))
        if labels is not None and labels.axis is not None:
            tensor = args[0]
            shape = [1] * len(tensor.shape)
            shape[labels.axis] = len(labels.ids)
            mask = keras.ops.cast(keep[labels.ids].reshape(shape), tensor.dtype)
            # where, not multiply: a removed channel may be infinite
            args = (keras.ops.where(mask > 0, tensor, keras.ops.zeros_like(tensor)), *args[1:])
        return infer(call, args, kwargs)

    return [keras.ops.convert_to_numpy(x) for x in graph.program.run(_tensors(graph.program, inputs), masked)]


def run(model: Any, inputs: Sequence[Any]) -> list[Any]:
    """Outputs of a functional model in inference, as a flat list of arrays, for any number of examples."""

    def once(flat: list[Any]) -> list[Any]:
        packed = pack_inputs(model, [keras.ops.convert_to_tensor(x) for x in flat])
        return [keras.ops.convert_to_numpy(x) for x in keras.tree.flatten(model(packed, training=False))]

    return in_batches(once, inputs, own_batch_size(model))


def _tensors(program: Program, inputs: Sequence[Any]) -> list[Any]:
    return [keras.ops.convert_to_tensor(x, dtype=t.dtype) for x, t in zip(inputs, program.inputs, strict=True)]
