"""Distillation from the unpruned self: while it is trained, the small model also learns to compute what the original does."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import keras
import tensorflow as tf

from keras_taylor._keras.compilation import inner_optimizer
from keras_taylor._keras.extra_loss import extra_loss
from keras_taylor._keras.program import Call, infer, train
from keras_taylor._repair.reconstruction import Reconstruction
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.rules import Keep


def distilled(
    graph: ChannelGraph, keep: Keep, small: ChannelGraph, weight: float, repaired: bool
) -> AbstractContextManager[None]:
    """Inside the block, `fit` of the small model minimises its own loss plus `weight` times the distance from the original.

    The distance is that of `"tune"`: relative, squared, at every place where channels are read and at the outputs. It is summed
    over the places, unless the optimizer is `SGD`: that takes steps as long as the gradient, and a rate that suits the loss
    makes the sum diverge; then it is the mean. The original runs as in inference, and so does BatchNormalization in a small
    model that was repaired: with the statistics of a batch it could not compute what the original does. Where nothing was
    repaired, its statistics are those of inputs that are no longer there, and have to be learned.

    Args:
        graph: of the original.
        keep: a boolean per label of it: what is left in the small model.
        small: of the small model, which is compiled.
        weight: of the distance.
        repaired: whether the small model was repaired after its channels were removed.

    References:
        Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network"; Romero et al. 2015, "FitNets".
    """
    objective = Reconstruction(graph, keep, small)
    together = tf.reduce_mean if isinstance(inner_optimizer(small.model.optimizer), keras.optimizers.SGD) else tf.reduce_sum

    def distance(inputs: Any, values: Any) -> Any:
        return weight * together(objective.compared(values, objective.targets(inputs)))

    norms = {id(step.call) for step in small.steps if repaired and step.rule.batch_statistics(step.call.operation) is not None}

    def running(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return (infer if id(call) in norms else train)(call, args, kwargs)

    return extra_loss(small.model, small.program, [place.small for place in objective.places], distance, running)
