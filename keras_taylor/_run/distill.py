"""Distillation from the unpruned self: what is left of a model learns to compute what it did when it was whole."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from keras_taylor._keras.extra_loss import Change, extra_loss
from keras_taylor._keras.program import Call, infer, train
from keras_taylor._repair.augment import augmentation
from keras_taylor._repair.reconstruction import Reconstruction, check_weights
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.errors import BadInput, KerasTaylorError, shown
from keras_taylor.rules import Keep


@dataclass(frozen=True)
class Distill:
    """How `kt.fit_with_pruning` trains a pruned model on what the unpruned one computes.

    What is minimised is the distance of `kt.repairs.Tune`: relative and squared, at every place where channels are read and at
    the outputs, summed. The unpruned model runs as in inference.

    Args:
        labels: weight of the model's own loss beside the distance. Beside a model that has learnt its labels, they are noise:
            `"auto"` leaves them out, and with them weights of examples and what layers add to the loss. It leaves the
            distance out instead where the unpruned model has not learnt (its loss is more than half of what it is with the
            labels shuffled); the report's settings say which.
        augment: `"images"` (flips and shifts of inputs that are images), None, or a function of TensorFlow operations that
            takes a batch of what the model takes and returns the same shapes. `"auto"` is `"images"` where labels are left
            out, and the unpruned model itself puts out much the same for flipped and shifted images, and None elsewhere: a net
            that reads digits would spend its channels on mirrored ones.
        weights: of the distances, by name of the layer that reads; outputs are called `"output of head"`. 1 is the default.

    Raises:
        BadInput: a value that cannot be used.

    Example:
        >>> import keras_taylor as kt
        >>> kt.Recipe(distill=kt.Distill(labels=0.1)).distill.augment
        'auto'

    References:
        Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network"; Romero et al. 2015, "FitNets"; Beyer et
        al. 2022, "Knowledge distillation: a good teacher is patient and consistent" (one function on many augmented inputs).
    """

    labels: float | str = "auto"
    augment: Any = "auto"
    weights: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        number = isinstance(self.labels, numbers.Real) and not isinstance(self.labels, bool)
        if self.labels != "auto" and not (number and 0 <= self.labels < float("inf")):  # type: ignore[operator]
            raise BadInput(f"Distill(labels=) must be 'auto', or a number from 0 on. Received: {shown(self.labels)}.")
        if self.augment not in ("auto", "images", None) and not callable(self.augment):
            raise BadInput(f"Distill(augment=) must be 'auto', 'images', a function, or None. Received: {shown(self.augment)}.")

    @property
    def own(self) -> float:
        """The weight of the model's own loss."""
        return 0.0 if self.labels == "auto" else float(self.labels)

    def augmentation(self, inputs: Sequence[Any], seed: int) -> Change:
        """What inputs of a training step become; see `augmentation`."""
        automatic = None if self.own else "images"
        return augmentation(automatic if self.augment == "auto" else self.augment, inputs, seed)


def check_distill(how: Distill, graph: ChannelGraph, batch: Sequence[Any]) -> None:
    """Raise `BadInput` unless the options fit a model and a batch of its inputs, a flat list, before any training.

    Raises:
        UnknownName: a weight of a layer that reads no channels.
        BadInput: an augmentation that changes shapes, or is not made of TensorFlow operations.
    """
    check_weights(graph, how.weights or {})
    change = how.augmentation(graph.program.inputs, 0)
    try:
        tf.function(change, autograph=False)([tf.convert_to_tensor(x) for x in batch])
    except KerasTaylorError:
        raise
    except Exception as error:
        raise BadInput(
            "augment must be a function of TensorFlow operations, as in tf.data's map, that takes a batch of what the model "
            f"takes. Received: one that raised {type(error).__name__}: {shown(str(error))}"
        ) from error


LABELS = "the labels"


def learns(how: Distill | None, labelled: bool) -> str:
    """What training learns, for a report; `labelled`: whether the model's own loss is one of labels."""
    if how is None:
        return LABELS if labelled else "what layers add to the loss"
    return "what the unpruned model computes" + (f", and {how.own:g} times {LABELS}" if how.own else "")


def distilled(
    graph: ChannelGraph, keep: Keep, small: ChannelGraph, how: Distill, repaired: bool, seed: int
) -> AbstractContextManager[None]:
    """Inside the block, `fit` of the small model minimises its distance from the original.

    BatchNormalization runs as in inference in a small model that was repaired: with the statistics of a batch it could not
    compute what the original does. Where nothing was repaired, its statistics are those of inputs that are no longer there, and
    have to be learned. Other layers run as in training where the model's own loss counts, and else as in inference, as the
    original does.

    Args:
        graph: of the original.
        keep: a boolean per label of it: what is left in the small model.
        small: of the small model, which is compiled.
        how: the options.
        repaired: whether the small model was repaired after its channels were removed.
        seed: of the augmentation.
    """
    objective = Reconstruction(graph, keep, small, how.weights)

    def distance(inputs: Any, values: Any) -> Any:
        return tf.reduce_sum(objective.compared(values, objective.targets(inputs)))

    norms = {id(step.call) for step in small.steps if step.rule.batch_statistics(step.call.operation) is not None}

    def running(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        trains = not repaired if id(call) in norms else how.own > 0
        return (train if trains else infer)(call, args, kwargs)

    places = [place.small for place in objective.places]
    change = how.augmentation(small.program.inputs, seed)
    return extra_loss(small.model, small.program, places, distance, running, how.own, change)
