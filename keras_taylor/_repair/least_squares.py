"""Least squares, layer by layer, in place: inputs from the small model as repaired so far, targets from the original."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_taylor._keras.program import Call, infer
from keras_taylor._keras.progress import progress_bar
from keras_taylor._repair.consumers import Consumer, Residual
from keras_taylor._repair.layer_fit import FitOptions, LayerFit
from keras_taylor._repair.stepwise_run import Batches, StepwiseRun
from keras_taylor._trace.graph import ChannelGraph


def least_squares(
    graph: ChannelGraph, small: ChannelGraph, found: Sequence[Consumer], batches: Batches, options: FitOptions
) -> int:
    """Refit the consumers one after the other: inputs from the small model as repaired so far, targets from the original.

    One pass of the original over the data gives the targets of all layers at the sampled positions. One pass of the small model
    stops before each layer, refits it, and goes on.

    Args:
        graph: of the original.
        small: graph of the small model, whose layers are changed.
        found: the layers to refit, in the order in which the small model runs them.
        batches: inputs of the model.
        options: how layers are fitted.

    Returns:
        The number of passes over the data, 2.
    """
    images = sum(len(batch[0]) for batch in batches)
    fits = [LayerFit(consumer, images, options) for consumer in found]
    reading = {id(a): fit for fit in fits for a, _ in fit.consumer.calls}
    pending = {id(call) for fit in fits for _, call in fit.consumer.calls}
    sums: dict[int, tuple[LayerFit, Residual]] = {}
    for fit in fits:
        pending -= {id(call) for _, call in fit.consumer.calls}
        residual = fit.consumer.residual if options.residual else None
        # Only the branch that is refitted last can make up for the others: they must be final by then.
        if residual is not None and not pending & {id(c) for c in small.program.ancestors(residual.others[1])}:
            fit.residual = residual
            sums[id(residual.call[0])] = fit, residual

    def noted(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if id(call) in reading:
            reading[id(call)].note(call, args[0])
        if id(call) in sums:
            fit, residual = sums[id(call)]
            values = dict(zip((t.index for t in call.inputs), keras.tree.flatten((args, kwargs)), strict=True))
            fit.note_others([values[t.index] for t in residual.others[0]])
        return infer(call, args, kwargs)

    for batch in batches:
        graph.program.run(batch, noted)
    run = StepwiseRun(small.program, batches)
    bar = progress_bar(len(fits), options.verbose)
    for done, fit in enumerate(fits):
        calls = fit.consumer.calls
        run.advance(calls[0][1])

        def read(number: int, calls: Any = calls) -> list[Any]:
            return [run.peek(number, twin.inputs[0]) for _, twin in calls]

        if len(calls) > 1:  # what a later call reads may come from the layer itself: mend first what the first call shows
            for number in range(len(batches)):
                fit.add(number, (), read(number)[:1])
            fit.write()
        for number in range(len(batches)):
            others = fit.residual.others[1] if fit.residual else ()
            fit.add(number, [run.peek(number, tensor) for tensor in others], read(number))
        for _ in range(fit.more_rounds()):
            add = fit.clip()
            for number in range(len(batches)):
                add(number, read(number))
        fit.write()
        fit.close()
        bar.update(done + 1)
    return 2
