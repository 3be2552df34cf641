"""Replay a traced graph with fewer channels: the pruned model, plain Keras, with the surviving weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_taylor._keras.compilation import Cut, apply_cut, carry_compilation
from keras_taylor._keras.model import input_layer, model_like
from keras_taylor._keras.program import Call, functional
from keras_taylor._plan.pruning_plan import PruningPlan, to_mask
from keras_taylor._trace.graph import ChannelGraph, as_graph
from keras_taylor.errors import warn
from keras_taylor.rules import Keep, Step


def rebuild(model: Any, plan: PruningPlan) -> Any:
    """A new model without the channels that the plan removes.

    The result is a plain functional `keras.Model` with the surviving weights. It carries names, dtype policies, trainable
    flags and the compilation over; the slots of a built optimizer are sliced along with the weights they belong to. Nested
    models come out flat. `model` is not changed, and shares nothing with the result.

    Args:
        model: the model that the plan was made for, or its graph.
        plan: from `kt.plan`.

    Returns:
        The pruned `keras.Model`: it saves to `.keras`, loads without this package, and trains on.

    Raises:
        PlanMismatch: the plan was made for another model, or contradicts its ties.

    Example:
        >>> import keras, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="conv"),
        ...                           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
        >>> small = kt.rebuild(model, kt.PruningPlan({"conv": (0, 2)}))
        >>> small.get_layer("conv").filters
        2
    """
    graph = as_graph(model)
    return _replay(graph, graph.keep_labels(to_mask(graph, plan)))


def copy_model(model: Any) -> Any:
    """What `rebuild` makes of a plan that removes nothing: a flat copy that shares nothing with `model`.

    Args:
        model: a model, or its graph.

    Returns:
        A plain functional `keras.Model` with the weights, the compilation and the optimizer's state of `model`.
    """
    graph = as_graph(model)
    return _replay(graph, np.ones(len(graph.channel), bool))


def _replay(graph: ChannelGraph, keep: Keep) -> Any:
    """The model of `graph` without the labels that `keep` (a boolean per label) drops."""
    model, rebuilder = graph.model, _Rebuilder(graph, keep)
    inputs = [_input(symbolic) for symbolic in functional(model).inputs]
    outputs = graph.program.run(inputs, rebuilder.call)
    small = model_like(model, inputs, outputs, model.name)
    if not model.trainable:
        small.trainable = False
    rebuilder.copy_weights()
    carry_compilation(model, small, rebuilder.twins)
    return small


def flat_names(graph: ChannelGraph) -> dict[str, str]:
    """For the name of each call, the name that its operation has in the rebuilt model.

    A nested layer goes by its own name where that is unique, and by its path where it is not. What makes an output of the
    model keeps the name that the model calls the output by: losses and metrics may be keyed by it.
    """
    paths = {step.call.name: step.call.name.split("@")[0] for step in graph.steps}
    outputs = {tensor.index for tensor in graph.program.outputs}
    last = {paths[step.call.name] for step in graph.steps if outputs & {tensor.index for tensor in step.call.outputs}}
    uses = Counter(path.rsplit("/", 1)[-1] for path in set(paths.values()))
    names: dict[str, str] = {}
    taken = set(graph.program.input_names)
    for path in sorted(dict.fromkeys(paths.values()), key=lambda path: path not in last):
        short = path.rsplit("/", 1)[-1]
        name = path.split("/")[0] if path in last else short if uses[short] == 1 else path.replace("/", "_")
        while name in taken:
            name += "_"
        taken.add(name)
        names[path] = name
    return {call: names[path] for call, path in paths.items()}


def _input(symbolic: Any) -> Any:
    layer = input_layer(symbolic)
    return type(layer).from_config(layer.get_config()).output


class _Rebuilder:
    """Copies of the operations of a graph, made as the calls come by.

    Attributes:
        twins: for every weight of the model, by id: the weight, that of the copy, and the cut between them.
    """

    def __init__(self, graph: ChannelGraph, keep: Keep) -> None:
        self.keep = keep
        self.steps = {id(step.call): step for step in graph.steps}
        self.names = flat_names(graph)
        self.copies: dict[int, tuple[Any, Step]] = {}
        self.twins: dict[int, tuple[Any, Any, Cut]] = {}

    def call(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the copy of the operation; make it first if this is its first call."""
        step = self.steps[id(call)]
        remake = step.rule.remake(step, self.keep)
        if remake.arguments:
            args = tuple(remake.arguments.get(i, arg) for i, arg in enumerate(args))
            kwargs = {name: remake.arguments.get(name, arg) for name, arg in kwargs.items()}
        key = id(call.operation)
        if key in self.copies:
            return self.copies[key][0](*args, **kwargs)
        copy, result = self._copy(step, remake.config, args, kwargs)
        step.rule.inherit(call.operation, copy)
        self.copies[key] = (copy, step)
        return result

    def _copy(self, step: Step, config: Mapping[str, Any], args: Any, kwargs: Any) -> tuple[Any, Any]:
        call, operation = step.call, step.call.operation
        try:
            given = operation.get_config()
            if "name" in given:
                given["name"] = self.names[call.name]
            copy = type(operation).from_config({**given, **config})
            result = copy(*args, **kwargs)
            if config or [w.shape for w in _weights(copy)] == self._shapes(step):
                return copy, result
        except (TypeError, ValueError, NotImplementedError, AttributeError, KeyError):
            if config:
                raise
        if getattr(operation, "weights", ()):
            warn(
                f"The config of layer {call.name!r} ({type(operation).__name__}) does not reproduce the layer, so the rebuilt "
                "model shares it with the original: training one changes the other. Give the layer a full `get_config`."
            )
        return operation, operation(*args, **kwargs)

    def copy_weights(self) -> None:
        """Cut the surviving weights out of the original's."""
        for copy, step in self.copies.values():
            operation = step.call.operation
            if copy is operation:
                continue
            cuts = self._cuts(step)
            for old, new in zip(_weights(operation), _weights(copy), strict=True):
                cut = cuts.get(id(old), ())
                self.twins[id(old)] = (old, new, cut)
                new.assign(apply_cut(old.numpy(), cut))
            if hasattr(copy, "finalize_state"):
                copy.finalize_state()

    def _shapes(self, step: Step) -> list[tuple[int, ...]]:
        cuts = self._cuts(step)
        shapes = []
        for weight in _weights(step.call.operation):
            shape = list(weight.shape)
            for axis, kept in cuts.get(id(weight), ()):
                shape[axis] = len(kept)
            shapes.append(tuple(shape))
        return shapes

    def _cuts(self, step: Step) -> dict[int, Cut]:
        cuts: dict[int, Cut] = {}
        for name, words in step.rule.weight_axes(step.call.operation).items():
            followed = [(axis, self.keep[step.axes[w]]) for axis, w in enumerate(words.split()) if w in step.axes]
            weight = getattr(step.call.operation, name)
            cuts[id(weight)] = tuple((axis, np.flatnonzero(keep)) for axis, keep in followed if not keep.all())
        return cuts


def _weights(operation: Any) -> list[Any]:
    return list(getattr(operation, "weights", ()))
