"""Least squares, layer by layer, in place: inputs from the small model as repaired so far, targets from the original."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_taylor._keras.program import Call, infer
from keras_taylor._repair.consumers import Consumer, Residual
from keras_taylor._repair.layer_fit import Fit, Fitting
from keras_taylor._repair.stepwise_run import Batches, Frontier
from keras_taylor._trace.graph import ChannelGraph


def refit(graph: ChannelGraph, small: ChannelGraph, found: Sequence[Consumer], batches: Batches, fit: Fit) -> int:
    """Refit the consumers one after the other: inputs from the small model as repaired so far, targets from the original.

    One pass of the original over the data gives the targets of all layers at the sampled positions. One pass of the small model
    stops before each layer, refits it, and goes on.

    Returns:
        The number of passes over the data, 2.
    """
    images = sum(len(batch[0]) for batch in batches)
    fittings = [Fitting(consumer, images, fit) for consumer in found]
    reading = {id(a): fitting for fitting in fittings for a, _ in fitting.consumer.calls}
    pending = {id(call) for fitting in fittings for _, call in fitting.consumer.calls}
    sums: dict[int, tuple[Fitting, Residual]] = {}
    for fitting in fittings:
        pending -= {id(call) for _, call in fitting.consumer.calls}
        residual = fitting.consumer.residual if fit.residual else None
        # Only the branch that is refitted last can make up for the others: they must be final by then.
        if residual is not None and not pending & {id(c) for c in small.program.ancestors(residual.others[1])}:
            fitting.residual = residual
            sums[id(residual.call[0])] = fitting, residual

    def noted(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if id(call) in reading:
            reading[id(call)].note(call, args[0])
        if id(call) in sums:
            fitting, residual = sums[id(call)]
            values = dict(zip((t.index for t in call.inputs), keras.tree.flatten((args, kwargs)), strict=True))
            fitting.note_others([values[t.index] for t in residual.others[0]])
        return infer(call, args, kwargs)

    for batch in batches:
        graph.program.run(batch, noted)
    frontier = Frontier(small.program, batches)
    for done, fitting in enumerate(fittings):
        calls = fitting.consumer.calls
        frontier.advance(calls[0][1])

        def read(number: int, calls: Any = calls) -> list[Any]:
            return [frontier.peek(number, twin.inputs[0]) for _, twin in calls]

        if len(calls) > 1:  # what a later call reads may come from the layer itself: mend first what the first call shows
            for number in range(len(batches)):
                fitting.add(number, (), read(number)[:1])
            fitting.write()
        for number in range(len(batches)):
            others = fitting.residual.others[1] if fitting.residual else ()
            fitting.add(number, [frontier.peek(number, tensor) for tensor in others], read(number))
        for _ in range(fitting.again()):
            add = fitting.clip()
            for number in range(len(batches)):
                add(number, read(number))
        fitting.write()
        fitting.close()
        fit.progress(done + 1, len(fittings))
    return 2
