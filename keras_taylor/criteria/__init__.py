"""Criteria: recorded statistics -> one number per channel. Every module of this package is imported, so a file is enough."""

import importlib
import pkgutil

from keras_taylor.criteria._base import Criterion, Filters, Record, criterion_for, register_criterion, registered

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

from keras_taylor.criteria.activation import Activation  # noqa: E402
from keras_taylor.criteria.apoz import APoZ  # noqa: E402
from keras_taylor.criteria.blend import Blend  # noqa: E402
from keras_taylor.criteria.bn_scale import BatchNormScale  # noqa: E402
from keras_taylor.criteria.deviation import ActivationStd  # noqa: E402
from keras_taylor.criteria.fpgm import FPGM  # noqa: E402
from keras_taylor.criteria.information import MutualInformation  # noqa: E402
from keras_taylor.criteria.l1 import L1  # noqa: E402
from keras_taylor.criteria.l2 import L2  # noqa: E402
from keras_taylor.criteria.lamp import LAMP  # noqa: E402
from keras_taylor.criteria.magnitude import Magnitude  # noqa: E402
from keras_taylor.criteria.obd import OBD  # noqa: E402
from keras_taylor.criteria.random import Random  # noqa: E402
from keras_taylor.criteria.second_order import Taylor2  # noqa: E402
from keras_taylor.criteria.taylor import Taylor  # noqa: E402
from keras_taylor.criteria.taylor_2019 import Taylor2019  # noqa: E402
from keras_taylor.criteria.taylor_logits import TaylorLogits  # noqa: E402

__all__ = [  # noqa: RUF022 (plain order)
    "APoZ",
    "Activation",
    "ActivationStd",
    "BatchNormScale",
    "Blend",
    "Criterion",
    "FPGM",
    "Filters",
    "L1",
    "L2",
    "LAMP",
    "Magnitude",
    "MutualInformation",
    "OBD",
    "Random",
    "Record",
    "Taylor",
    "Taylor2",
    "Taylor2019",
    "TaylorLogits",
    "criterion_for",
    "register_criterion",
    "registered",
]
