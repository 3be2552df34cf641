"""The oracle: what really happens to the loss when a channel is silenced."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_taylor._keras.batch_check import explained
from keras_taylor._keras.batches import batches, count_batches, joined, length
from keras_taylor._keras.losses import Objective, applied, loss_of_each
from keras_taylor._keras.model import feed
from keras_taylor._keras.program import Call, Tensor, infer
from keras_taylor._keras.progress import progress_bar
from keras_taylor._output.deprecations import renamed
from keras_taylor._record.forward import check_finite
from keras_taylor._record.gate import by_example
from keras_taylor._score.channel_subtraction import ChannelSubtraction, digits_remain, subtraction_for
from keras_taylor._score.scores import Scores
from keras_taylor._trace.graph import ChannelGraph, as_graph
from keras_taylor._trace.nonfinite_weights import CHECK_FOR_NAN, layers_with_nan
from keras_taylor._trace.read_sites import ReadSites
from keras_taylor.errors import BadInput, NonFiniteScores

# Elements of the largest tensor of a run, and examples: enough to keep the cores busy, few enough for their caches.
_ELEMENTS, _ROWS = 2**21, 1024


@renamed(data="x")
def oracle(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    loss: Any = None,
    examples: int | None = None,
    class_weight: Mapping[int, float] | None = None,
    batch_size: int = 32,
    seed: int = 0,
    verbose: Any = "auto",
) -> Scores:
    """Silence every channel that is not locked, one at a time, and measure how the loss changes.

    Exact, and quicker than one forward pass per channel: what lies before a channel's readers is computed once, an example in
    which the channel is zero anyway is left out, and the rest runs in large batches of examples with different channels.

    Args:
        model: as in `kt.score`.
        x: what `fit` takes: arrays (with `y`), a tuple `(x, y)` or `(x, y, sample_weight)`, a `tf.data.Dataset`, a
            `keras.utils.PyDataset`, an iterable of batches.
        y: labels, where `x` is arrays.
        loss: a loss to use instead of the compiled one.
        examples: look at no more than this many examples.
        class_weight: the weight of each class index, as in `fit`.
        batch_size: for arrays; activations of so many examples are kept in memory at once.
        seed: for the random choice of `examples` from arrays.
        verbose: 1 or `"auto"` shows a progress bar over the batches; 0 and 2 do not.

    Returns:
        The mean change of the loss over the examples, per channel: negative where the loss falls, zero for locked channels.
        `scores.absolute()` are its absolute values. Both can be planned with, compared with other scores, and saved.

    Raises:
        UnsupportedModel: the model cannot be traced.
        BadInput: data without labels, no data, no loss, or inputs and labels that do not fit the model and its loss.
        NonFiniteScores: the loss is not finite, or becomes so when a channel is silenced; says where.

    Example:
        >>> import keras, numpy as np, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, use_bias=False, name="hidden"),
        ...                           keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
        >>> model.get_layer("hidden").set_weights([np.array([[1.0, 3.0]])])
        >>> found = kt.oracle(model, np.ones((4, 1)), np.full((4, 1), 3.0), loss="mse", verbose=0)
        >>> found.by_layer()["hidden"].tolist()  # 4 is off by 1; without a channel, by 0 or 2
        [-1.0, 3.0]

    References:
        Molchanov et al. 2017, section 2.2, "oracle pruning" (oracle-loss and oracle-abs).
    """
    data = joined(x, y)
    if data is None:
        raise BadInput("x must be given for the oracle. Received: None. Pass x and y, or a data set.")
    graph = as_graph(model)
    silencer = _Silencer(graph, loss_of_each(graph.model, loss))
    given = batches(data, batch_size=batch_size, examples=examples, class_weight=class_weight, seed=seed, name="x")
    progress = progress_bar(count_batches(data, batch_size=batch_size, examples=examples), verbose)
    total, seen = np.zeros(graph.channels), 0
    for number, batch in enumerate(given):
        with explained(graph.model, batch, loss):
            total += silencer(number, *batch)
        seen += length(batch[0])
        progress.add(1)
    return Scores(graph, total / seen, "oracle", {"examples": seen, "seed": seed})


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as a graph that is traced once for batches of any length."""
    compiled = tf.function(function, reduce_retracing=True, autograph=False)
    traced = False

    def run(*args: Any) -> Any:
        nonlocal traced
        if not traced:
            specs = keras.tree.map_structure(
                lambda a: None if a is None else tf.TensorSpec([None, *a.shape[1:]] if a.shape.rank else [], a.dtype), args
            )
            compiled.get_concrete_function(*specs)
            traced = True
        return compiled(*args)

    return run


class _Silencer:
    """Sums of changes of the loss over batches, by channel."""

    def __init__(self, graph: ChannelGraph, objective: Objective) -> None:
        self.graph = graph
        self.objective = objective
        self.calls = graph.program.ancestors(graph.program.outputs)
        sites = ReadSites(graph)
        self.sites = {id(call): sites.by_call[id(call)] for call in self.calls if id(call) in sites.by_call}
        found = {id(call): subtraction_for(call, self.sites[id(call)]) for call in self.calls if id(call) in self.sites}
        self.subtractions = {key: one for key, one in found.items() if one is not None}
        self.suffixes = [_Suffix(self, readers, channels) for readers, channels in self._parts()]
        needed = {tensor.index: tensor for suffix in self.suffixes for tensor in suffix.needed}
        self.needed = list(needed.values())
        self._forward = _compiled(self._prefix)

    def _parts(self) -> list[tuple[tuple[int, ...], NDArray[np.int64]]]:
        """The channels that are not locked, by the sites that read them and the number of their positions there."""
        readers = defaultdict[int, list[tuple[int, int]]](list)
        for key, site in self.sites.items():
            found, counts = np.unique(site.channels[self.graph.locks[site.channels] == ""], return_counts=True)
            for channel, count in zip(found.tolist(), counts.tolist(), strict=True):
                readers[channel].append((key, count))
        parts = defaultdict[tuple[tuple[int, int], ...], list[int]](list)
        for channel, keys in sorted(readers.items()):
            parts[tuple(keys)].append(channel)
        return [(tuple(key for key, _ in keys), np.array(channels)) for keys, channels in parts.items()]

    def __call__(self, number: int, x: Any, y: Any, weight: Any) -> NDArray[np.float64]:
        """The sum over the examples of batch `number`, shape `(channels,)`."""
        given = keras.tree.map_structure(lambda a: None if a is None else tf.convert_to_tensor(a), (x, y, weight))
        check_finite(feed(self.graph.model, given[0]))
        losses, values, alive = self._forward(*given)
        plain = losses.numpy().astype(float)
        if not np.isfinite(plain).all():
            layers = layers_with_nan(self.graph)
            raise NonFiniteScores(
                f"The loss must be finite. Received: NaN or infinity in batch {number}"
                f"{f', and in the weights of {layers[0]}' if layers else ''}. {CHECK_FOR_NAN}"
            )
        by_index = dict(zip((tensor.index for tensor in self.needed), values, strict=True))
        total = np.zeros(self.graph.channels)
        for suffix in self.suffixes:
            for examples, channels, changed in suffix.losses(by_index, given, {key: alive[key] for key in suffix.readers}):
                if not np.isfinite(changed).all():
                    silenced = channels[~np.isfinite(changed)][0]
                    name = next(group.name for group in self.graph.groups if silenced in group.channels)
                    raise NonFiniteScores(
                        f"The loss must be finite. Received: NaN or infinity in batch {number} without a channel of {name}."
                    )
                total += np.bincount(channels, changed - plain[examples], self.graph.channels)
        return total

    def _prefix(self, x: Any, y: Any, weight: Any) -> tuple[Any, list[Any], dict[int, Any]]:
        """Losses, the tensors that suffixes start from, and which examples and positions of each site are not zero."""
        inputs = feed(self.graph.model, x)
        batch = tf.shape(inputs[0])[0]
        alive = {}

        def call(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            site = self.sites.get(id(call))
            if site is not None:
                alive[id(call)] = tf.reduce_any(by_example(args[0], site.axis, batch) != 0, 1)
            return infer(call, args, kwargs)

        wanted = [*self.graph.program.outputs, *self.needed]
        values = self.graph.program.run(inputs, call, wanted)
        count = len(self.graph.program.outputs)
        return self.losses(x, y, values[:count], weight), values[count:], alive

    def losses(self, x: Any, y: Any, outputs: list[Any], weight: Any) -> Any:
        """The loss of each example."""
        return applied(self.objective, self.graph.model, x, y, outputs, weight)


class _Suffix:
    """What runs again when one of some channels, which have the same readers, is silenced.

    Attributes:
        readers: ids of the calls that read the channels.
        channels: their numbers.
        heads: readers that what is silenced reaches first, and that need not be computed anew.
        needed: the tensors that it reads and does not change.
    """

    def __init__(
        self, silencer: _Silencer, readers: tuple[int, ...], channels: NDArray[np.int64], subtractions: bool = True
    ) -> None:
        self.silencer = silencer
        self.readers = readers
        self.channels = channels
        self.heads: list[ChannelSubtraction] = []
        self.calls = []
        self.needed: list[Tensor] = []
        boundary: dict[int, Tensor] = {}
        changed: set[int] = set()
        for call in silencer.calls:
            reached = any(tensor.index in changed for tensor in call.inputs)
            if id(call) not in readers and not reached:
                continue
            head = silencer.subtractions.get(id(call)) if subtractions and not reached else None
            if head is None:
                self.calls.append(call)
                boundary.update((tensor.index, tensor) for tensor in call.inputs if tensor.index not in changed)
            else:
                self.heads.append(head)
            changed.update(tensor.index for tensor in call.outputs)
        outputs = silencer.graph.program.outputs
        boundary.update((tensor.index, tensor) for tensor in outputs if tensor.index not in changed)
        self.boundary = list(boundary.values())
        self.needed = list({t.index: t for t in (*self.boundary, *(head.call.inputs[0] for head in self.heads))}.values())
        # Where a channel is in what the heads read.
        self.positions = [
            np.stack([np.flatnonzero(silencer.sites[id(head.call)].channels == channel) for channel in channels])
            for head in self.heads
        ]
        self.full = _Suffix(silencer, readers, channels, False) if self.heads else self
        tensors = [tensor for call in self.calls for tensor in (*call.inputs, *call.outputs)]
        tensors += [head.call.outputs[0] for head in self.heads]
        sizes = [math.prod(d or 1 for d in tensor.shape[1:]) for tensor in tensors]
        sizes += [places.shape[1] * head.elements for head, places in zip(self.heads, self.positions, strict=True)]
        self.rows = min(max(_ELEMENTS // max(sizes), 16), _ROWS)
        self.run = _compiled(self._run)

    def losses(
        self, values: dict[int, Any], given: Any, alive: dict[int, Any]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
        """Examples, channels silenced in them where that changes anything, and the losses then: a run at a time."""
        batch = tf.shape(keras.tree.flatten(given[0])[0])[0]
        found = np.stack([self._any(key, places.numpy()) for key, places in alive.items()]).any(0)
        # Not compiled: that would take longer.
        starts = [head.start(values[head.call.inputs[0].index], batch) for head in self.heads]
        short = np.ones_like(found)
        for (_, _, shares), places in zip(starts, self.positions, strict=True):
            short &= digits_remain(shares.numpy()[:, places].sum(2))
        for suffix, pairs in ((self, found & short), (self.full, found & ~short)):
            if pairs.any():
                boundary = [values[tensor.index] for tensor in suffix.boundary]
                heads = [start[:2] for start in starts] if suffix.heads else []
                numbers, examples = np.nonzero(pairs.T)
                for first in range(0, len(examples), suffix.rows):
                    run = slice(first, first + suffix.rows)
                    changed = suffix.run(boundary, heads, given, tf.constant(examples[run]), tf.constant(numbers[run]))
                    yield examples[run], self.channels[numbers[run]], changed.numpy()

    def _any(self, key: int, alive: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The examples, and channels of this suffix, with a position at a site that is not zero."""
        found = np.zeros((len(alive), self.silencer.graph.channels), bool)
        np.logical_or.at(found.T, self.silencer.sites[key].channels, alive.T)
        return found[:, self.channels]

    def _run(self, boundary: list[Any], heads: list[Any], given: Any, examples: Any, numbers: Any) -> Any:
        """The loss of each example without its channel."""
        silencer = self.silencer
        x, y, weight = keras.tree.map_structure(lambda a: None if a is None else tf.gather(a, examples), given)
        batch = tf.shape(keras.tree.flatten(given[0])[0])[0]
        values = {
            tensor.index: _examples(value, examples, batch) for tensor, value in zip(self.boundary, boundary, strict=True)
        }
        for head, places, (outputs, maps) in zip(self.heads, self.positions, heads, strict=True):
            rest = head(_examples(outputs, examples, batch), maps, examples, tf.gather(places, numbers))
            values[head.call.outputs[0].index] = rest
        channels = tf.gather(self.channels, numbers)
        for call in self.calls:
            args, kwargs = call.fill(values)
            if id(call) in self.readers:
                site = silencer.sites[id(call)]
                args = (site.silence(args[0], tf.not_equal(site.channels[None], channels[:, None])), *args[1:])
            results = keras.tree.flatten(infer(call, args, kwargs))
            values.update((tensor.index, result) for tensor, result in zip(call.outputs, results, strict=True))
        return silencer.losses(x, y, [values[tensor.index] for tensor in silencer.graph.program.outputs], weight)


def _examples(value: Any, examples: Any, batch: Any) -> Any:
    """The rows of the given examples; an example may have several."""
    shape = tf.shape(value)
    grouped = tf.reshape(value, tf.concat([[batch, shape[0] // batch], shape[1:]], 0))
    taken = tf.reshape(tf.gather(grouped, examples), tf.concat([[-1], shape[1:]], 0))
    taken.set_shape([None, *value.shape[1:]])
    return taken
