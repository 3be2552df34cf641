"""What `kt.quantize` and `kt.export_tflite` take: plain values that say how an exported model stores its numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import keras

from keras_taylor.errors import BadInput, unknown_name


@dataclass(frozen=True)
class Quantizer:
    """Base class of the quantizers.

    Attributes:
        name: what tables and the command line call it.
        weight_bits: precision of the weights of convolutions and dense layers.
        activation_bits: precision that these layers compute in.
        least_elements: kernels with fewer stay in float32.
    """

    name: ClassVar[str] = "float32"
    weight_bits: ClassVar[int] = 32
    least_elements: ClassVar[int] = 0
    activation_bits: ClassVar[int] = 32


@dataclass(frozen=True)
class Float32(Quantizer):
    """Nothing is quantized: the reference that the others are compared with."""


@dataclass(frozen=True)
class Float16(Quantizer):
    """Weights are stored in half precision and computed with in single precision: half the bytes, nearly equal outputs.

    Example:
        >>> import keras_taylor as kt
        >>> kt.Float16()
        Float16()
    """

    name = "float16"
    weight_bits = 16


@dataclass(frozen=True)
class DynamicRange(Quantizer):
    """Weights are stored in 8 bits; activations stay float between layers and are quantized, batch by batch, inside them.

    Needs no data. The converter leaves weights of fewer than 1,024 elements in float.
    """

    name = "dynamic"
    least_elements = 1024
    weight_bits = 8
    activation_bits = 8


@dataclass(frozen=True)
class _Integer(Quantizer):
    """What the integer quantizers share.

    Args:
        io: what the file takes and puts out: `"float32"`, or an integer type, whose scale and zero point stand in the file.
    """

    io: str = field(default="float32", kw_only=True)

    weight_bits = 8
    activation_bits = 8
    types: ClassVar[tuple[str, ...]] = ("float32", "int8", "uint8")

    def __post_init__(self) -> None:
        if self.io not in self.types:
            raise BadInput(f"{type(self).__name__}(io=) must be one of {', '.join(self.types)}. Received: {self.io!r}.")


@dataclass(frozen=True)
class Int8PTQ(_Integer):
    """Weights and activations in 8 bits, after training: ranges are taken from calibration data.

    Args:
        calibration: some hundred training inputs as `fit` takes them; labels are ignored.
        examples: calibrate on at most this many (drawn at random from arrays).
        seed: for the draw.
        io: what the file takes and puts out: `"float32"`, `"int8"` or `"uint8"`.

    Example:
        >>> import numpy as np, keras_taylor as kt
        >>> kt.Int8PTQ(calibration=np.zeros((16, 8, 8, 3), "float32")).examples
        256
    """

    calibration: Any = field(default=None, repr=False, compare=False)
    examples: int = 256
    seed: int = 0

    name = "int8_ptq"


@dataclass(frozen=True)
class Int16x8PTQ(Int8PTQ):
    """As `Int8PTQ`, with activations in 16 bits. `io` is `"float32"` or `"int16"`.

    The converter gives a layer that is called several times one scale for all calls: there int8 can be closer.
    """

    name = "int16x8_ptq"
    activation_bits = 16
    types = ("float32", "int16")


@dataclass(frozen=True)
class Int8QAT(_Integer):
    """Weights and activations in 8 bits, trained for it: TFMOT's quantization-aware training, then conversion.

    BatchNormalization trains its scale and offset, and keeps its statistics, since LiteRT folds them into the kernels.
    Measuring them anew on few images cost a pretrained ResNet-20 one to three points.

    Args:
        data: training data as `fit` takes them.
        epochs: of quantization-aware training.
        steps_per_epoch: as in `fit`.
        learning_rate: of the optimizer; a tenth to a hundredth of what trained the model is usual.
        optimizer: a name that Keras knows, or an optimizer, whose options are taken (but for the learning rate).
        loss: used instead of the compiled one.
        batch_size: for arrays.
        seed: for the order of the data.
        verbose: as in `fit`; 0 is silent.
        io: what the file takes and puts out: `"float32"`, `"int8"` or `"uint8"`.

    References:
        Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference".
    """

    data: Any = field(default=None, repr=False, compare=False)
    epochs: int = 3
    steps_per_epoch: int | None = None
    learning_rate: float = 1e-4
    optimizer: Any = "adam"
    loss: Any = None
    batch_size: int = 32
    seed: int = 0
    verbose: Any = 0

    name = "int8_qat"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.optimizer, keras.optimizers.Optimizer):
            made = keras.optimizers.serialize(self.optimizer)
            made["config"].pop("name")  # a counter, which says nothing
            object.__setattr__(self, "optimizer", made)
        if not isinstance(self.epochs, int) or self.epochs < 0:
            raise BadInput(f"Int8QAT(epochs=) must be a whole number of at least 0. Received: {self.epochs!r}.")
        if not self.learning_rate > 0:
            raise BadInput(f"Int8QAT(learning_rate=) must be above 0. Received: {self.learning_rate!r}.")


QUANTIZERS: dict[str, type[Quantizer]] = {
    kind.name: kind for kind in (Float32, Float16, DynamicRange, Int8PTQ, Int16x8PTQ, Int8QAT)
}


def quantizer_for(given: str | Quantizer | None) -> Quantizer:
    """The quantizer of that name (or itself); None is `Float32()`.

    Raises:
        UnknownName: no quantizer has that name.
        BadInput: something else.
    """
    if given is None:
        return Float32()
    if isinstance(given, str):
        if given not in QUANTIZERS:
            raise unknown_name("quantizer", given, QUANTIZERS)
        return QUANTIZERS[given]()
    if isinstance(given, Quantizer):
        return given
    raise BadInput(f"quantizer must be a kt quantizer, one of its names, or None. Received: {given!r}. Write kt.Int8PTQ(data).")
