"""A Keras model as a flat list of calls, and the one loop that replays it.

Nested models are entered, so every call in the list is a primitive operation. Tracing, recording, masking and rebuilding
are all the same replay with another function in the place of the call. This is the module that knows how Keras stores a
functional graph; nothing here keeps a reference on, or adds a node to, the model it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import keras
import numpy as np
from keras.src.models.functional import Functional

from keras_taylor.errors import UnsupportedModel

Shape = tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of the flat graph: its number, its shape with the batch axis, and its dtype."""

    index: int
    shape: Shape
    dtype: str


@dataclass(frozen=True, eq=False)
class Call:
    """One call of one operation, with a `Tensor` wherever the model passes a tensor.

    `name` is the operation's path through nested models (`"backbone/conv1"`); the second and later calls of a shared
    operation carry their number (`"relu@2"`).
    """

    name: str
    operation: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[Tensor, ...]
    inputs: tuple[Tensor, ...] = field(init=False)

    def __post_init__(self) -> None:
        leaves = keras.tree.flatten((self.args, self.kwargs))
        object.__setattr__(self, "inputs", tuple(leaf for leaf in leaves if isinstance(leaf, Tensor)))

    def fill(self, values: dict[int, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of the call with every `Tensor` replaced by its value."""
        if len(self.args) == 1 and isinstance(self.args[0], Tensor) and not self.kwargs:
            return (values[self.args[0].index],), {}
        return keras.tree.map_structure(
            lambda leaf: values[leaf.index] if isinstance(leaf, Tensor) else leaf, (self.args, self.kwargs)
        )

    def static_arrays(self) -> bool:
        """Whether a constant with more than one element is among the arguments (`x * tf.constant([...])`)."""
        given = [arg for arg in (*self.args, *self.kwargs.values()) if not isinstance(arg, (str, Tensor))]
        leaves = [keras.tree.flatten(arg) for arg in given]
        constant = [arg for arg, parts in zip(given, leaves, strict=True) if not any(isinstance(x, Tensor) for x in parts)]
        return any(np.size(arg) > 1 for arg in constant)


Running = Callable[[Call, tuple[Any, ...], dict[str, Any]], Any]
"""How one call is run: it computes the outputs from filled-in arguments."""


@dataclass(frozen=True, eq=False)
class Program:
    """The calls of a model in an order in which they can run."""

    calls: tuple[Call, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    input_names: tuple[str, ...]

    def run(
        self,
        inputs: Sequence[Any],
        call: Running,
        wanted: Sequence[Tensor] | None = None,
    ) -> list[Any]:
        """Replay the graph on `inputs`, with `call(call, args, kwargs)` in the place of each operation.

        Args:
            inputs: one value per model input, in `program.inputs` order: arrays, tensors, KerasTensors or anything else.
            call: computes the outputs of one call from its filled-in arguments.
            wanted: the tensors to compute; the model's outputs by default. What they do not need is not run.

        Returns:
            One value per wanted tensor.
        """
        wanted = self.outputs if wanted is None else wanted
        calls = self.calls if wanted is self.outputs else self.ancestors(wanted)
        values = {tensor.index: value for tensor, value in zip(self.inputs, inputs, strict=True)}
        for step in calls:
            args, kwargs = step.fill(values)
            results = keras.tree.flatten(call(step, args, kwargs))
            for tensor, value in zip(step.outputs, results, strict=True):
                values[tensor.index] = value
        return [values[tensor.index] for tensor in wanted]

    def ancestors(self, wanted: Sequence[Tensor]) -> list[Call]:
        """The calls that the given tensors need, in order."""
        needed = {tensor.index for tensor in wanted}
        found = []
        for step in reversed(self.calls):
            if any(tensor.index in needed for tensor in step.outputs):
                needed.update(tensor.index for tensor in step.inputs)
                found.append(step)
        return found[::-1]


def infer(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run one call as the model does in inference: as in Keras, that overrides a `training=` in the graph."""
    return _run(call, args, kwargs, training=False)


def train(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run one call as the model does in training."""
    return _run(call, args, kwargs, training=True)


def _run(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any], training: bool) -> Any:
    if getattr(call.operation, "_call_has_training_arg", False):
        kwargs = {**kwargs, "training": training}
    return call.operation(*args, **kwargs)


class Observed:
    """A `call` put on a model that computes what the model's own does, while somebody looks at it."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the model computes."""
        return self._call(*args, **kwargs)


def functional(model: Any) -> Any:
    """The functional graph of `model` (its own, or that of a built Sequential), or None when it has none."""
    patch = getattr(model, "__dict__", {}).get("call")
    if patch is not None and not isinstance(patch, Observed):
        return None  # the graph is not what it computes
    if isinstance(model, keras.Sequential):
        return model._functional if type(model).call is keras.Sequential.call else None
    if isinstance(model, Functional) and type(model).call is Functional.call:
        return model
    return None


def check_model(model: Any, name: str = "model") -> None:
    """Raise `UnsupportedModel`, saying what to do, unless `model` is a built Functional or Sequential model.

    Args:
        model: anything.
        name: of the argument.
    """
    if not isinstance(model, keras.Model):
        kind = type(model)
        if isinstance(model, (str, PathLike)):
            remedy = f"Load the model: keras.saving.load_model({str(model)!r})."
        elif kind.__module__.split(".")[0] == "tf_keras":
            remedy = "A tf_keras model must be rebuilt with Keras 3 first."
        else:
            remedy = "A model comes first, then what is done with it: data, a plan, a path."
        raise UnsupportedModel(f"{name} must be a keras.Model. Received: {kind.__name__}. {remedy}")
    if functional(model) is not None:
        return
    if isinstance(model, keras.Sequential) and type(model).call is keras.Sequential.call and model._functional is None:
        raise UnsupportedModel(
            f"model must be built. Received: the Sequential model {model.name!r} without an input shape. "
            "Start it with keras.Input(shape), or call it once on a batch of data."
        )
    raise UnsupportedModel(
        f"model must be a Functional or Sequential model. Received: {type(model).__name__} {model.name!r}, which has a "
        "`call` of its own. Until subclassed models are supported, express it with the functional API: "
        "`x = keras.Input(shape); model = keras.Model(x, subclassed.call(x))` records the inner layers."
    )


def flatten(model: Any) -> Program:
    """Flatten a Functional or Sequential model into a `Program`.

    Raises:
        UnsupportedModel: the model is not built, or is subclassed.
    """
    check_model(model)
    return _Flattener().program(model)


def _nodes(model: Any) -> Iterator[Any]:
    for depth in sorted(model._nodes_by_depth, reverse=True):
        yield from model._nodes_by_depth[depth]


def _feeds(graph: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """What a nested model is called with, in the order of its inputs; a dict goes by name, as in Keras."""
    given = args[0] if args else next(iter(kwargs.values()))
    if isinstance(given, dict) and set(given) >= {x.name for x in graph.inputs}:
        return [given[x.name] for x in graph.inputs]
    return [leaf for leaf in keras.tree.flatten((args, kwargs)) if isinstance(leaf, Tensor)]


class _Flattener:
    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._tensors = 0
        self._names: dict[int, str] = {}
        self._uses: dict[int, int] = {}

    def program(self, model: Any) -> Program:
        graph = functional(model)
        inputs = tuple(self._tensor(x) for x in graph.inputs)
        outputs = self._enter(graph, "", inputs, None)
        return Program(tuple(self._calls), inputs, tuple(outputs), tuple(x.name for x in graph.inputs))

    def _tensor(self, symbolic: Any) -> Tensor:
        self._tensors += 1
        return Tensor(self._tensors - 1, tuple(symbolic.shape), symbolic.dtype)

    def _enter(self, graph: Any, path: str, inputs: Sequence[Tensor], training: bool | None) -> list[Tensor]:
        """Append the calls of `graph`; `training` is what an enclosing call fixed it to, if it did."""
        bound = {id(symbolic): tensor for symbolic, tensor in zip(graph.inputs, inputs, strict=True)}
        for node in _nodes(graph):
            if node.is_input:
                continue
            args, kwargs = keras.tree.map_structure(
                lambda leaf: bound.get(id(leaf), leaf), (node.arguments.args, node.arguments.kwargs)
            )
            if not args and "inputs" in kwargs:
                args = (kwargs.pop("inputs"),)
            operation = getattr(node.operation, "recorded_layer", node.operation)
            fixed = training if kwargs.get("training") is None else kwargs["training"]
            inner = functional(operation)
            if inner is not None:
                feeds = _feeds(inner, args, kwargs)
                outputs = self._enter(inner, f"{self._name(operation, path)}/", feeds, fixed)
            else:
                if fixed is not None and getattr(operation, "_call_has_training_arg", False):
                    kwargs = {**kwargs, "training": fixed}
                outputs = [self._tensor(x) for x in node.outputs]
                self._calls.append(Call(self._name(operation, path), operation, args, kwargs, tuple(outputs)))
            bound.update((id(symbolic), tensor) for symbolic, tensor in zip(node.outputs, outputs, strict=True))
        return [bound[id(symbolic)] for symbolic in graph.outputs]

    def _name(self, operation: Any, path: str) -> str:
        key = id(operation)
        name = self._names.setdefault(key, path + operation.name)
        self._uses[key] = self._uses.get(key, 0) + 1
        return name if self._uses[key] == 1 else f"{name}@{self._uses[key]}"
