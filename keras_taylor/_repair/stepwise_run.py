"""Run a program batch by batch and stop anywhere: layers can be changed in the middle of a pass over the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras

from keras_taylor._keras.program import Call, Program, Tensor, infer

Batches = Sequence[Sequence[Any]]


class StepwiseRun:
    """The values of a program between two of its calls, for every batch; a value goes when its last reader has run.

    Args:
        program: of the model to run.
        batches: inputs of the model, one list per batch.
    """

    def __init__(self, program: Program, batches: Batches) -> None:
        self.program = program
        self.order = {id(call): number for number, call in enumerate(program.calls)}
        self._next = 0
        self._last = _last_readers(program)
        self._values = [{t.index: value for t, value in zip(program.inputs, batch, strict=True)} for batch in batches]

    def advance(self, call: Call) -> None:
        """Run every batch up to `call`, which is not run yet."""
        for values in self._values:
            for number in range(self._next, self.order[id(call)]):
                self._run(number, values)
                for tensor in self.program.calls[number].inputs:
                    if self._last[tensor.index] <= number:
                        values.pop(tensor.index, None)
        self._next = max(self._next, self.order[id(call)])

    def peek(self, batch: int, tensor: Tensor) -> Any:
        """The value of `tensor` for one batch; what is missing is run on the side, with the layers as they are."""
        values = self._values[batch]
        if tensor.index in values:
            return values[tensor.index]
        values = dict(values)
        for number in range(self._next, len(self.program.calls)):
            self._run(number, values)
            if tensor.index in values:
                return values[tensor.index]
        raise KeyError(tensor.index)

    def _run(self, number: int, values: dict[int, Any]) -> None:
        call = self.program.calls[number]
        args, kwargs = call.fill(values)
        for tensor, value in zip(call.outputs, keras.tree.flatten(infer(call, args, kwargs)), strict=True):
            values[tensor.index] = value


def live_bytes(program: Program, examples: int) -> int:
    """The most bytes that the values of a stepwise run take at once, for `examples` examples of float32."""
    last = _last_readers(program)
    alive = {t.index: _size(t) for t in program.inputs}
    most = sum(alive.values())
    for number, call in enumerate(program.calls):
        alive.update((t.index, _size(t)) for t in call.outputs)
        most = max(most, sum(alive.values()))
        for tensor in call.inputs:
            if last[tensor.index] <= number:
                alive.pop(tensor.index, None)
    return most * examples


def _last_readers(program: Program) -> dict[int, int]:
    last = {tensor.index: number for number, call in enumerate(program.calls) for tensor in call.inputs}
    last.update((tensor.index, len(program.calls)) for tensor in program.outputs)
    return last


def _size(tensor: Tensor) -> int:
    return 4 * math.prod(d or 1 for d in tensor.shape[1:])
