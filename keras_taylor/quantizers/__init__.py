"""Precisions: how an exported model stores its numbers. Every module of this package is imported, so a file is enough."""

from keras_taylor._registry import import_all
from keras_taylor.quantizers._base import Prepared, Quantizer, quantizer_for, register_quantizer, registered
from keras_taylor.quantizers.dynamic_range import DynamicRange
from keras_taylor.quantizers.float16 import Float16
from keras_taylor.quantizers.float32 import Float32
from keras_taylor.quantizers.int8_ptq import Int8PTQ
from keras_taylor.quantizers.int8_qat import Int8QAT
from keras_taylor.quantizers.int16x8_ptq import Int16x8PTQ

import_all(__name__, __path__)

__all__ = [
    "DynamicRange",
    "Float16",
    "Float32",
    "Int8PTQ",
    "Int8QAT",
    "Int16x8PTQ",
    "Prepared",
    "Quantizer",
    "quantizer_for",
    "register_quantizer",
    "registered",
]
