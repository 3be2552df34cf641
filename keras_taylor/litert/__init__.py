"""LiteRT: `.tflite` files run like functions, timed, and asked what they are. The only folder that imports `ai_edge_litert`."""

from keras_taylor.litert._compare import compare_latency
from keras_taylor.litert._flatbuffer import read_note
from keras_taylor.litert._latency import Latency
from keras_taylor.litert._model import LiteModel

__all__ = ["Latency", "LiteModel", "compare_latency", "read_note"]
