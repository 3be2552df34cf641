"""Distillation from the unpruned self: while it is trained, the small model also learns to compute what the original does."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import tensorflow as tf

from keras_taylor._keras.extra_loss import extra_loss
from keras_taylor._repair.reconstruction import Reconstruction
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.rules import Keep


def distilled(graph: ChannelGraph, keep: Keep, small: ChannelGraph, weight: float) -> AbstractContextManager[None]:
    """Inside the block, `fit` of the small model minimises its own loss plus `weight` times the distance from the original.

    The distance is that of `"tune"`: relative, squared, at every place where channels are read and at the outputs; but the mean
    over the places, not the sum, so that a rate that suits the loss suits both. The original runs as in inference.

    Args:
        graph: of the original.
        keep: a boolean per label of it: what is left in the small model.
        small: of the small model, which is compiled.
        weight: of the distance.

    References:
        Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network"; Romero et al. 2015, "FitNets".
    """
    objective = Reconstruction(graph, keep, small)

    def distance(inputs: Any, values: Any) -> Any:
        return weight * tf.reduce_mean(objective.compared(values, objective.targets(inputs)))

    return extra_loss(small.model, small.program, [place.small for place in objective.places], distance)
