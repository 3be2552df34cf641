"""What a method of repair is: a value with its options, and the work that it is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import keras

from keras_taylor._repair.stepwise_run import Batches
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.rules import Keep

Judge = Callable[[], tuple[float, ...]]
"""How bad the small model is on examples that it does not learn from: smaller is better."""


@dataclass(frozen=True, eq=False)
class Work:
    """A small model to repair, and what to repair it with.

    Attributes:
        graph: of the original.
        keep: a boolean per label of it: what is left in the small model.
        small: graph of the small model, whose weights are changed in place.
        inputs: unlabelled examples, one array per model input.
        judge: says how bad the small model is now.
        batch_size: number of examples in a batch.
        frozen: whether layers that are not trainable are changed too.
        seed: for whatever is drawn.
        verbose: 1 shows a progress bar.
    """

    graph: ChannelGraph
    keep: Keep
    small: ChannelGraph
    inputs: Sequence[Any]
    judge: Judge
    batch_size: int = 32
    frozen: bool = False
    seed: int = 0
    verbose: int = 0

    def batches(self) -> Batches:
        """The inputs as tensors, batch by batch."""
        return batched(self.inputs, self.batch_size)


class RepairMethod(ABC):
    """One way to repair a pruned model; a frozen dataclass of its options.

    A subclass names itself, and changes the small model in place.

    Attributes:
        name: what `kt.repair(method=)` calls it.
        first: the names of the methods that come before it, where it is asked for alone.
    """

    name: ClassVar[str]
    first: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def apply(self, work: Work) -> int:
        """Repair the small model of `work`, in place.

        Returns:
            The number of passes over the inputs that this took.
        """

    def settings(self) -> dict[str, Any]:
        """The options, by name."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}  # type: ignore[arg-type]


def batched(arrays: Sequence[Any], size: int) -> Batches:
    """Arrays as tensors, batch by batch."""
    return [
        [keras.ops.convert_to_tensor(array[start : start + size]) for array in arrays]
        for start in range(0, len(arrays[0]), size)
    ]
