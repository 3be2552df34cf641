"""What all precisions have in common, and how one is found by its name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar, TypedDict, TypeVar

from typing_extensions import Unpack

from keras_taylor._keras.batches import infinite
from keras_taylor._keras.example_inputs import example_inputs
from keras_taylor._keras.forms import is_infinite, rereadable
from keras_taylor._keras.identity import described, described_data
from keras_taylor._keras.serving import serving
from keras_taylor._rebuild.verify import run
from keras_taylor._registry import Registry
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.errors import BadInput, shown

_COMPARED = 4
"""Random examples on which a file is compared with the model: more than one, to see which outputs vary."""

Examples = Callable[[], Iterator[dict[str, Any]]]


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a file is made of, and what it is compared with.

    Attributes:
        function: the concrete function to convert; it takes the model's inputs, flat, and gives its outputs, flat.
        model: the Keras model that the file stands for: the one that was given, or a trained copy.
        inputs: examples to compare on, one array per input.
        expected: what the file should compute for them, one array per output.
        examples: yields the inputs of single calls, by name, to take the ranges of activations from; None where they are
            not needed.
        weights: where the model was trained: in words, which weights were kept.
    """

    function: Any
    model: Any
    inputs: list[Any]
    expected: list[Any]
    examples: Examples | None = None
    weights: str = ""


class TrainingOptions(TypedDict, total=False):
    """Options of training that a precision can be given; see `kt.Int8QAT`."""

    epochs: int | None
    steps_per_epoch: int | None
    batch_size: int | None
    optimizer: Any
    learning_rate: float | None
    seed: int | None


@dataclass(frozen=True, eq=False)
class Quantizer:
    """Base class of the precisions. A new one is a class with `@kt.quantizers.register_quantizer("its name")`.

    As it stands, it converts the model as it is. A subclass says in `configure` what the converter is asked for and, where
    that takes data or training, in `prepare` what is converted. Subclasses are declared `@dataclass(frozen=True, eq=False)`:
    two quantizers are equal when they are of one class, have equal options, and hold equal data. A field that holds data is
    declared `field(default=None, repr=False, metadata={"data": "what to pass when they are missing"})`.

    Args:
        allow_constant_channels: accept a file in which a channel of an output is constant that varies in the model. That is an
            error else: boxes of 0 to 640 and scores of 0 to 1 in one output have one scale, on which all scores are 0.

    Attributes:
        name: what tables and the command line call it; the name that it is registered by.
        weight_bits: bits of the weights of convolutions and dense layers.
        activation_bits: bits that these layers compute in.
        least_elements: kernels with fewer elements stay in float32.
        tolerance: largest error of a file, relative to the largest output. At 1, putting out zero would be no worse.
        trains: whether the model is trained for the precision.
        integer: whether files shall compute in integers: what stays in float is warned about.

    Example:
        >>> from dataclasses import dataclass
        >>> import keras, tensorflow as tf, keras_taylor as kt
        >>> @kt.quantizers.register_quantizer("small")
        ... @dataclass(frozen=True, eq=False)
        ... class Small(kt.quantizers.Quantizer):
        ...     weight_bits = 8
        ...     def configure(self, converter, examples=None):
        ...         converter.optimizations = [tf.lite.Optimize.DEFAULT]
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> kt.quantize(model, "small").quantizer
        Small()
    """

    allow_constant_channels: bool = field(default=False, kw_only=True, repr=False)

    name: ClassVar[str]
    weight_bits: ClassVar[int] = 32
    activation_bits: ClassVar[int] = 32
    least_elements: ClassVar[int] = 0
    tolerance: ClassVar[float] = 1.0
    trains: ClassVar[bool] = False
    integer: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        cls.name = cls.__dict__.get("name", cls.__name__)  # until it is registered; never that of its base class

    def __post_init__(self) -> None:
        for name in self._data_fields():
            object.__setattr__(self, name, rereadable(getattr(self, name)))

    def check(self) -> None:
        """Called before any work.

        Raises:
            BadInput: data are missing, or training data have no end and no number of steps.
        """
        for name, hint in self._data_fields().items():
            data = getattr(self, name)
            if data is None:
                raise BadInput(f"{type(self).__name__} must have {name}. Received: None. Pass {hint}.")
            if is_infinite(data) and getattr(self, "steps_per_epoch", 0) is None:
                raise infinite(data, f"{type(self).__name__}(..., steps_per_epoch=100)")

    def check_graph(self, graph: ChannelGraph) -> None:
        """Called before any work with a model of which no copy is trained yet; what conversion finds out is not asked here.

        Args:
            graph: the traced model.

        Raises:
            UnsupportedModel: what trains for this precision cannot take the model.
            MissingPackage: what trains for it is not installed.
        """

    def prepare(self, graph: ChannelGraph, *, seed: int = 0, verbose: Any = "auto", batch_size: int | None = None) -> Prepared:
        """What a file of this precision is made of.

        Args:
            graph: the traced model, which is not changed.
            seed: for random inputs to compare on.
            verbose: as in `fit`, where the model is trained.
            batch_size: how many examples the function takes at a time; None for what the model takes, which is mostly open.
        """
        inputs = example_inputs(graph.program, seed, batch=_COMPARED)
        return Prepared(serving(graph.model, batch_size), graph.model, inputs, run(graph.model, inputs))

    def configure(self, converter: Any, examples: Examples | None = None) -> None:
        """Ask a `tf.lite.TFLiteConverter` for this precision; `examples` are those of `prepare`."""

    def stand_in(self, integers: bool = False) -> Quantizer:
        """A precision whose files take as long and need neither training nor data: latencies are looked up in it.

        Args:
            integers: the file shall take and give integers, where it can, so that no conversion is timed.
        """
        return self

    def bits(self, elements: int) -> tuple[int, int]:
        """Bits of the weights and of the activations of a kernel with this many elements."""
        if elements < self.least_elements:
            return Quantizer.weight_bits, Quantizer.activation_bits
        return self.weight_bits, self.activation_bits

    def with_data(self, data: Any, *, seed: int | None = None, loss: Any = None) -> Quantizer:
        """The same precision with these data and this loss where it needs some and has none.

        Args:
            data: labelled data as `fit` takes them.
            seed: for all that is drawn; None keeps the one that it has.
            loss: to train with.
        """
        return self

    def with_training(self, **options: Unpack[TrainingOptions]) -> Quantizer:
        """The same precision, trained with these options; None keeps what it has.

        A precision that is not trained for stays as it is.

        Args:
            options: some of those of `kt.Int8QAT`: `epochs`, `steps_per_epoch`, `batch_size`, `optimizer`, `learning_rate`,
                `seed`.
        """
        return self

    def settings(self) -> dict[str, Any]:
        """All options that bear on the result, as JSON values; of data, nothing."""
        data = self._data_fields()
        return {
            option.name: described(getattr(self, option.name))
            for option in fields(self)
            if option.compare and option.name not in data
        }

    def identity(self) -> dict[str, Any]:
        """`settings`, and a description of the data: arrays by a hash of their content, other data by kind and length."""
        return {**self.settings(), **self._described}

    @classmethod
    def _data_fields(cls) -> dict[str, str]:
        """Names of the fields that hold data, with what to pass there."""
        return {one.name: one.metadata["data"] for one in fields(cls) if "data" in one.metadata}

    @cached_property
    def _described(self) -> dict[str, Any]:
        """The data, described; hashing many takes long, so only when it is asked for, and once."""
        return {name: described_data(getattr(self, name)) for name in self._data_fields()}

    def _same_data(self, other: Quantizer) -> bool:
        """Arrays of the same content, or the very same object of another kind: nobody knows what else that yields."""
        names = [name for name in self._data_fields() if getattr(self, name) is not getattr(other, name)]
        return all("content" in (self._described[name] or ()) for name in names) and all(
            self._described[name] == other._described[name] for name in names
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Quantizer) or type(self) is not type(other):
            return NotImplemented
        data = self._data_fields()
        options = [option.name for option in fields(self) if option.compare and option.name not in data]
        return all(getattr(self, name) == getattr(other, name) for name in options) and self._same_data(other)

    def __hash__(self) -> int:
        return hash((type(self), json.dumps(self.identity(), sort_keys=True, default=str)))


_REGISTRY: Registry[type[Quantizer]] = Registry("quantizer")
_Kind = TypeVar("_Kind", bound=type[Quantizer])


def register_quantizer(name: str) -> Callable[[_Kind], _Kind]:
    """Class decorator: `kt.quantize(model, name)` makes the quantizer with its default options."""

    def register(kind: _Kind) -> _Kind:
        return _REGISTRY.add(name, kind)

    return register


def registered() -> dict[str, type[Quantizer]]:
    """A copy of the registry: name -> class."""
    return dict(_REGISTRY)


def quantizer_for(given: str | Quantizer | None) -> Quantizer:
    """The quantizer of that name with its defaults, or the quantizer itself; None is `Float32()`.

    Raises:
        UnknownName: no quantizer has that name; the nearest match is named.
        BadInput: something else.
    """
    if isinstance(given, Quantizer):
        return given
    name = "float32" if given is None else given
    if not isinstance(name, str):
        raise BadInput(
            f"quantizer must be a kt quantizer, one of its names, or None. Received: {shown(given)}. Write kt.Int8PTQ(data)."
        )
    return _REGISTRY[name]()
