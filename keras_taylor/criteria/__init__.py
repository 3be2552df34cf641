"""Criteria: recorded statistics -> one number per channel. Every module of this package is imported, so a file is enough."""

from keras_taylor._registry import import_all
from keras_taylor.criteria._base import (
    Criterion,
    KernelCriterion,
    MeanOverExamples,
    criterion_for,
    register_criterion,
    registered,
)
from keras_taylor.criteria._statistics import Filters, Record
from keras_taylor.criteria.activation import Activation
from keras_taylor.criteria.activation_std import ActivationStd
from keras_taylor.criteria.apoz import APoZ
from keras_taylor.criteria.blend import Blend
from keras_taylor.criteria.bn_scale import BatchNormScale
from keras_taylor.criteria.fpgm import FPGM
from keras_taylor.criteria.l1 import L1
from keras_taylor.criteria.l2 import L2
from keras_taylor.criteria.lamp import LAMP
from keras_taylor.criteria.magnitude import Magnitude
from keras_taylor.criteria.mutual_information import MutualInformation
from keras_taylor.criteria.obd import OBD
from keras_taylor.criteria.random import Random
from keras_taylor.criteria.taylor import Taylor
from keras_taylor.criteria.taylor2 import Taylor2
from keras_taylor.criteria.taylor_2019 import Taylor2019
from keras_taylor.criteria.taylor_logits import TaylorLogits
from keras_taylor.criteria.taylor_residual import TaylorResidual

import_all(__name__, __path__)

__all__ = [
    "FPGM",
    "L1",
    "L2",
    "LAMP",
    "OBD",
    "APoZ",
    "Activation",
    "ActivationStd",
    "BatchNormScale",
    "Blend",
    "Criterion",
    "Filters",
    "KernelCriterion",
    "Magnitude",
    "MeanOverExamples",
    "MutualInformation",
    "Random",
    "Record",
    "Taylor",
    "Taylor2",
    "Taylor2019",
    "TaylorLogits",
    "TaylorResidual",
    "criterion_for",
    "register_criterion",
    "registered",
]
