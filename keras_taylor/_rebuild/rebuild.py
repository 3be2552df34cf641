"""Replay a traced graph with fewer channels: the pruned model, plain Keras, with the surviving weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_taylor._keras.compilation import Cut, apply_cut, carry_compilation
from keras_taylor._keras.members import matched, members, retie, variable_paths, weights_of
from keras_taylor._keras.model import input_layer, model_like
from keras_taylor._keras.precision import float32_config, half_precision, set_float32
from keras_taylor._keras.program import Call, functional
from keras_taylor._keras.trial import from_own_config, is_of_keras
from keras_taylor._plan.pruning_plan import PruningPlan, to_mask
from keras_taylor._rebuild.options import fitting_options
from keras_taylor._trace.graph import ChannelGraph, as_graph
from keras_taylor._trace.input_range import inherit_inputs
from keras_taylor.errors import UnsupportedModel, in_short, warn
from keras_taylor.rules import Keep, Remake, Step


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


def copy_model(model: Any, *, in_float32: bool = False) -> Any:
    """What `rebuild` makes of a plan that removes nothing: a flat copy that shares nothing with `model`.

    Args:
        model: a model, or its graph.
        in_float32: the copy computes in float32 where `model` does in half precision.

    Returns:
        A plain functional `keras.Model` with the weights, the compilation and the optimizer's state of `model`.
    """
    graph = as_graph(model)
    return _replay(graph, np.ones(len(graph.channel), bool), in_float32)


def drawn_anew(model: Any, plan: PruningPlan) -> Any:
    """The model that `rebuild` makes, with weights as its initialisers draw them: to train the pruned shape from scratch.

    Layers without a trainable weight (frozen ones, or a `Normalization` that was adapted) keep what they have.

    Args:
        model: the model that the plan was made for, or its graph.
        plan: which channels stay.

    Returns:
        A plain functional `keras.Model`, compiled as `model` is.

    Raises:
        PlanMismatch: the plan was made for another model, or contradicts its ties.
    """
    graph = as_graph(model)
    return _replay(graph, graph.keep_labels(to_mask(graph, plan)), anew=True)


def _replay(graph: ChannelGraph, keep: Keep, in_float32: bool = False, anew: bool = False) -> Any:
    """The model of `graph` without the labels that `keep` (a boolean per label) drops."""
    model, rebuilder = graph.model, _Rebuilder(graph, keep, in_float32)
    inputs = [_input(symbolic, in_float32) for symbolic in functional(model).inputs]
    outputs = graph.program.run(inputs, rebuilder.call)
    small = model_like(model, inputs, outputs, model.name)
    inherit_inputs(model, small)
    if in_float32:
        set_float32(small)
    if not model.trainable:
        small.trainable = False
    rebuilder.copy_weights(anew)
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


def _input(symbolic: Any, in_float32: bool) -> Any:
    layer = input_layer(symbolic)
    config = layer.get_config()
    return type(layer).from_config(float32_config(config) if in_float32 else config).output


class _Rebuilder:
    """Copies of the operations of a graph, made as the calls come by.

    Args:
        graph: of the model.
        keep: a boolean per label.
        in_float32: half precision becomes float32.

    Attributes:
        twins: for every weight of the model, by id: the weight, that of the copy, and the cut between them.
    """

    def __init__(self, graph: ChannelGraph, keep: Keep, in_float32: bool) -> None:
        self.graph = graph
        self.keep = keep
        self.in_float32 = in_float32
        self.steps = {id(step.call): step for step in graph.steps}
        self.names = flat_names(graph)
        self.copies: dict[int, tuple[Any, Step]] = {}
        self.twins: dict[int, tuple[Any, Any, Cut]] = {}
        self._shared: dict[int, Any] = {}

    def call(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the copy of the operation; make it first if this is its first call."""
        step = self.steps[id(call)]
        whole = id(call.operation) in self.graph.copies.whole
        remake = Remake() if whole else step.rule.remake(step, self.keep)
        if remake.arguments:
            args = tuple(remake.arguments.get(i, arg) for i, arg in enumerate(args))
            kwargs = {name: remake.arguments.get(name, arg) for name, arg in kwargs.items()}
        key = id(call.operation)
        if key in self.copies:
            return self.copies[key][0](*args, **kwargs)
        copy, result = self._whole(step, args, kwargs) if whole else self._copy(step, remake.config, args, kwargs)
        step.rule.inherit(call.operation, copy)
        self.copies[key] = (copy, step)
        return result

    def _copy(self, step: Step, config: Mapping[str, Any], args: Any, kwargs: Any) -> tuple[Any, Any]:
        call, operation = step.call, step.call.operation
        problem = ""
        try:
            changes = {"name": self.names[call.name]} if "name" in operation.get_config() else {}
            changes |= fitting_options(step, self.keep, self._cuts(step))
            if self.in_float32:
                changes |= float32_config({key: value for key, value in operation.get_config().items() if key not in changes})
            copy = from_own_config(operation, {**changes, **config})
            if self.in_float32:
                set_float32(copy)
            ties = id(operation) in self.graph.copies.sharing or not is_of_keras(operation)
            if ties:
                retie(operation, copy, self._shared)
            result = copy(*args, **kwargs)
            if ties:
                retie(operation, copy, self._shared)
            pairs = matched(operation, copy)
            if self.in_float32 and half_precision(copy):
                problem = f"a copy that computes in {half_precision(copy)} all the same"
            elif pairs is not None and [tuple(new.shape) for _, new in pairs] == self._shapes(step):
                self._keep_track(operation, copy, pairs, step)
                return copy, result
        except Exception as error:  # whatever the user's own class raises
            problem = in_short(error)
        same = all(getattr(operation, entry, None) == value for entry, value in config.items())
        if not same or self._shapes(step) != [tuple(weight.shape) for weight in weights_of(operation)]:
            raise UnsupportedModel(
                f"Layer {call.name!r} ({type(operation).__name__}) must be made again with fewer channels by its config, "
                f"here with {dict(config)}. Received: {problem or 'weights of other shapes'}. Give it a full `get_config`, or "
                f"keep it as it is: constraints=kt.Constraints(keep=[{call.name!r}])."
            )
        return self._whole(step, args, kwargs, problem)

    def _whole(self, step: Step, args: Any, kwargs: Any, problem: str = "") -> tuple[Any, Any]:
        """The original's operation, where no copy can be made."""
        operation = step.call.operation
        if self.in_float32 and half_precision(operation):
            problem = problem or f"one that {self.graph.copies.whole.get(id(operation), 'comes with other weights')}"
            raise UnsupportedModel(
                f"Layer {step.call.name!r} ({type(operation).__name__}) must be made again in float32 by its config. Received: "
                f"{problem}. Give it a full `get_config` and its own dtype policy, or build the model again without mixed "
                "precision and load its weights."
            )
        if weights_of(operation):
            why = self.graph.copies.whole.get(id(operation), "cannot be made again with the same weights from its config")
            warn(
                f"The config of layer {step.call.name!r} ({type(operation).__name__}) does not reproduce the layer, so the "
                f"rebuilt model shares it with the original: training one changes the other. It {why}. "
                "Give the layer a full `get_config`."
            )
        self._keep_track(operation, operation, [(weight, weight) for weight in weights_of(operation)], step)
        return operation, operation(*args, **kwargs)

    def _keep_track(self, operation: Any, copy: Any, pairs: list[tuple[Any, Any]], step: Step) -> None:
        cuts = self._cuts(step)
        self.twins.update((id(old), (old, new, cuts.get(id(old), ()))) for old, new in pairs if id(old) not in self.twins)
        if id(operation) in self.graph.copies.sharing:
            there = {member.path: member.value for member in members(copy)}
            inside = [(member.value, there.get(member.path)) for member in members(operation)]
            for old, new in ((operation, copy), *inside, *pairs):
                if id(old) in self.graph.copies.tied and new is not None:
                    self._shared.setdefault(id(old), new)

    def copy_weights(self, anew: bool = False) -> None:
        """Cut the surviving weights out of the original's; with `anew` only those of operations that are not trained."""
        operations = [step.call.operation for _, step in self.copies.values()]
        trained = [one for one in operations if anew and getattr(one, "trainable_weights", None)]
        drawn = {id(weight) for operation in trained for weight in weights_of(operation)}
        for old, new, cut in self.twins.values():
            if new is not old and id(old) not in drawn:
                new.assign(apply_cut(old.numpy(), cut))
        for copy, step in self.copies.values():
            if copy is not step.call.operation and hasattr(copy, "finalize_state"):
                copy.finalize_state()
        self._check_sharing()

    def _check_sharing(self) -> None:
        """What was one variable is still one."""
        for copy, step in self.copies.values():
            key = id(step.call.operation)
            if key not in self.graph.copies.sharing or copy is step.call.operation:
                continue
            there, shared = variable_paths(copy), variable_paths(step.call.operation)
            lost = [path for old, path in shared.items() if old in self._shared and there.get(id(self._shared[old])) != path]
            if lost:
                raise UnsupportedModel(
                    f"Layers {step.call.name!r} and {self.graph.copies.sharing[key]!r} must share {lost[0]} in the rebuilt "
                    "model, too. Received: a copy with weights of its own. Register a rule, or give both a full `get_config`."
                )

    def _shapes(self, step: Step) -> list[tuple[int, ...]]:
        cuts = self._cuts(step)
        shapes = []
        for weight in weights_of(step.call.operation):
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
