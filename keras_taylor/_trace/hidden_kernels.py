"""Kernels that no rule names: in layers without a rule, sublayers, products of tensors. They are counted, not followed.

Such a call is run on placeholders in a graph of its own, and the operations of that graph are counted. Nothing is computed,
and no variable, loss or seed of the user's layers changes. Most models have no such call, and pay nothing.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import tensorflow as tf

from keras_taylor._keras.model import layers_of
from keras_taylor._keras.program import Call, Program, Tensor, infer
from keras_taylor._trace.op_macs import OpMacs
from keras_taylor.errors import listed
from keras_taylor.rules import LayerRule, Step
from keras_taylor.rules._activation import mixes_channels

_OWN_RULES = "keras_taylor.rules."


@dataclass
class HiddenKernels:
    """What counting found; keys are ids of calls.

    Attributes:
        macs: multiply-accumulates per example of each call that may have kernels which its rule does not name.
        real: the calls as they are for `batch` examples: positions that the model moves into the batch axis are seen there.
        batch: the number of examples in `real`.
        uncounted: by name of the call, why its kernels cannot all be counted.
    """

    macs: dict[int, float] = field(default_factory=dict)
    real: dict[int, Call] = field(default_factory=dict)
    batch: int = 1
    uncounted: dict[str, str] = field(default_factory=dict)

    def uses(self, step: Step) -> float:
        """How often each element of a kernel of a ruled call is used per example."""
        call = self.real.get(id(step.call))
        if call is None:
            return step.rule.positions(step.call)
        return step.rule.positions(call) * (call.outputs[0].shape[0] or 0) / self.batch


def hidden_kernels(program: Program, steps: Sequence[Step]) -> HiddenKernels:
    """Count what no rule names, and find out which calls see several rows per example.

    Args:
        program: the flattened model.
        steps: its calls with their rules.
    """
    hiding = [step for step in steps if _may_hide(step)]
    known = not any(None in tensor.shape[1:] for tensor in program.inputs)
    moved = any(type(step.rule) is not LayerRule and step.call.inputs and step.rule.moves_rows(step.call) for step in steps)
    if not moved and not (known and any(map(_open_ended, steps))):
        found = _Counting(program, hiding, known).one_by_one() if hiding else HiddenKernels()
        if found is not None:
            return found
    return _Counting(program, hiding, known).all_together(steps)


def _may_hide(step: Step) -> bool:
    """Whether a call may have kernels that its rule does not name."""
    rule, operation = step.rule, step.call.operation
    if type(rule) is LayerRule or not type(rule).__module__.startswith(_OWN_RULES):
        return True
    if callable(getattr(operation, "activation", None)) and mixes_channels(operation):
        return True
    if rule.kernels or not isinstance(operation, keras.Layer):
        return False
    return len(list(layers_of(operation))) > 1 or any(len(w.shape) > 1 for w in operation.weights)


def _open_ended(step: Step) -> bool:
    return any(None in tensor.shape[1:] for tensor in (*step.call.inputs, *step.call.outputs))


class _Counting:
    """One count of a model: `hiding` are the calls that may have kernels which no rule names."""

    def __init__(self, program: Program, hiding: Sequence[Step], known: bool) -> None:
        self._program = program
        self._hiding = {id(step.call) for step in hiding}
        self._known = known
        batches = {tensor.shape[0] for tensor in program.inputs}
        self._batch: int = next(iter(batches)) or 1 if len(batches) == 1 else 1
        self._found = HiddenKernels(batch=self._batch)
        self._graph = tf.__internal__.FuncGraph("count")
        self._ops = OpMacs(self._graph)
        self._failed = False

    def one_by_one(self) -> HiddenKernels | None:
        """Run each call alone, on one row per example; None where the calls before it have to be run to know its inputs."""
        with _untouched(self._graph):
            for call in self._program.calls:
                if id(call) not in self._hiding:
                    continue
                args, kwargs = call.fill({tensor.index: self._placeholder(tensor) for tensor in call.inputs})
                made = self._call(call, args, kwargs)
                if self._failed or any(not x.shape.rank or x.shape[0] != self._batch for x in made):
                    return None
        return self._found

    def all_together(self, steps: Sequence[Step]) -> HiddenKernels:
        """Run the whole model, so that all lengths are known and rows that are moved into the batch axis are seen."""
        values: dict[int, Tensor] = {}

        def run(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
            made = self._call(call, args, kwargs)
            values.update((t.index, _known_as(t, x)) for t, x in zip(call.outputs, made, strict=True))
            return made

        with _untouched(self._graph):
            inputs = [self._placeholder(tensor) for tensor in self._program.inputs]
            values.update((t.index, _known_as(t, x)) for t, x in zip(self._program.inputs, inputs, strict=True))
            self._program.run(inputs, run)
        for step in steps:
            if step.rule.kernels:
                self._found.real[id(step.call)] = self._real(step.call, values)
        return self._found

    def _real(self, call: Call, values: Mapping[int, Tensor]) -> Call:
        """The call with the shapes that were seen; lengths of an open-ended model stay as they are declared."""

        def seen(tensor: Tensor) -> Tensor:
            rows = values[tensor.index].shape[:1]
            return values[tensor.index] if self._known else replace(tensor, shape=(*rows, *tensor.shape[1:]))

        args, kwargs = call.fill({tensor.index: seen(tensor) for tensor in call.inputs})
        real = replace(call, args=args, kwargs=kwargs, outputs=tuple(seen(tensor) for tensor in call.outputs))
        shapes = [tensor.shape if self._known else tensor.shape[:1] for tensor in (*real.inputs[:1], real.outputs[0])]
        if any(None in shape for shape in shapes):
            self._found.uncounted.setdefault(call.name, "lengths that depend on the values")
        return real

    def _call(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """The outputs of one call in the graph; where it cannot be run, placeholders."""
        hides = id(call) in self._hiding
        try:
            with _as_it_was(call.operation):
                made = [_tensor(x) for x in keras.tree.flatten(infer(call, args, kwargs))]
            if len(made) != len(call.outputs):
                raise ValueError(f"{len(made)} outputs instead of {len(call.outputs)}")
        except Exception as error:  # whatever a layer of the user raises
            if hides:
                self._found.uncounted[call.name] = self._reason(error)
            self._failed = True
            return self._as_declared(call, args, kwargs)
        macs, unknown = self._ops.new(made)
        if hides:
            self._found.macs[id(call)] = macs / self._batch
            if unknown:
                self._found.uncounted[call.name] = f"runs {listed(unknown, most=3, what='more kinds of operations')}"
                if not all(x.shape.is_fully_defined() for x in made):
                    return self._as_declared(call, args, kwargs)
        return made

    def _as_declared(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """Placeholders for the outputs of a call that nobody can look into: with as many rows as its first input."""
        given = [x for x in keras.tree.flatten((args, kwargs)) if isinstance(x, tf.Tensor) and x.shape.rank]
        return [self._placeholder(tensor, given[0].shape[0] if given else None) for tensor in call.outputs]

    def _reason(self, error: Exception) -> str:
        if not self._known:
            return "its lengths are not known, and it cannot be called with lengths of 1"
        lines = [line for line in re.sub(r"\x1b\[\d+m", "", str(error)).splitlines() if line]
        said = [line for line in lines if not line.startswith("Exception encountered when calling")]  # Keras wraps the text
        return f"cannot be called in a graph: {type(error).__name__}: {said[0][:160] if said else ''}"

    def _placeholder(self, tensor: Tensor, rows: int | None = None) -> Any:
        """A tensor without values. Unknown lengths are 1, and the batch holds one example where its size is open."""
        if not tensor.shape:
            return tf.compat.v1.placeholder(tensor.dtype, ())
        first = tensor.shape[0] or rows or self._batch
        return tf.compat.v1.placeholder(tensor.dtype, (first, *(d or 1 for d in tensor.shape[1:])))


def _tensor(value: Any) -> Any:
    """A tensor of the graph; what a layer computed outside of it becomes a constant there."""
    return value if tf.is_tensor(value) and tf.is_symbolic_tensor(value) else tf.identity(value)


def _known_as(tensor: Tensor, value: Any) -> Tensor:
    """The tensor with the shape of what was found for it."""
    shape = (None,) * len(tensor.shape) if value.shape.rank is None else tuple(value.shape)
    return replace(tensor, shape=shape)


@contextmanager
def _untouched(graph: Any) -> Iterator[None]:
    """Whatever runs in here builds the graph, and leaves variables, losses, metrics and seeds alone."""
    with warnings.catch_warnings(), keras.StatelessScope(), graph.as_default():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _as_it_was(operation: Any) -> Iterator[None]:
    """Attributes that a layer or its sublayers set while they are called (`self.attention = scores`) are set back.

    So are lists, to which losses are appended, and which Keras empties.
    """
    layers = list(layers_of(operation)) if isinstance(operation, keras.Layer) else []
    before = [dict(vars(layer)) for layer in layers]
    lists = [(value, list(value)) for attributes in before for value in attributes.values() if isinstance(value, list)]
    sets = [(value, set(value)) for attributes in before for value in attributes.values() if isinstance(value, set)]
    try:
        yield
    finally:
        for layer, attributes in zip(layers, before, strict=True):
            vars(layer).clear()
            vars(layer).update(attributes)
        # By the plain methods: Keras would track what is put into its own lists.
        for value, items in lists:
            list.__setitem__(value, slice(None), items)
        for one, members in sets:
            set.clear(one)
            set.update(one, members)
