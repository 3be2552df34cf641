"""8 bits, trained for it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import keras
from typing_extensions import Unpack

from keras_taylor._keras.batch_check import check_batch
from keras_taylor._keras.batches import peek
from keras_taylor._keras.inputs import read_inputs
from keras_taylor._keras.losses import summed_loss
from keras_taylor._keras.progress import verbosity
from keras_taylor._keras.serving import serving
from keras_taylor._rebuild.verify import run
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.errors import BadInput, whole_number
from keras_taylor.quantizers import _training
from keras_taylor.quantizers._base import Examples, Prepared, Quantizer, TrainingOptions, register_quantizer
from keras_taylor.quantizers._integer import Integer
from keras_taylor.quantizers._lowering import lower
from keras_taylor.quantizers._tf_keras_bridge import libraries
from keras_taylor.quantizers.int8_ptq import Int8PTQ


@register_quantizer("int8_qat")
@dataclass(frozen=True, eq=False)
class Int8QAT(Integer):
    """Weights and activations in 8 bits, trained for it: TFMOT's quantization-aware training, then calibration as in `Int8PTQ`.

    A tenth of the data, at most 512 examples, is held back, and the weights are kept whose loss on it is the lowest, with the
    rounding of the file: those of the best epoch, or those that training started from. So by these examples the file is no
    worse than calibration alone. (A data set that is shuffled anew at each reading cannot be shared like that: training sees
    these examples, too, which is said.) `print(file)`, the note in the file, and with `verbose` the last line of training say
    which.

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
        verbose: as in `fit`; `"auto"` is what `kt.quantize` is given.
        io: what the file takes and puts out: `"float32"`, `"int8"` or `"uint8"`.

    Example:
        >>> import numpy as np, keras, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> data = np.random.default_rng(0).normal(size=(32, 4)), np.zeros((32, 2))
        >>> file = kt.quantize(model, kt.Int8QAT(data, epochs=1, loss="mse"), verbose=0)
        >>> file.float_operations
        {}

    References:
        Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference".
    """

    data: Any = field(default=None, repr=False, metadata={"data": "training data with labels: data=(x_train, y_train)"})
    epochs: int = 3
    steps_per_epoch: int | None = None
    learning_rate: float = 1e-4
    optimizer: Any = "adam"
    loss: Any = None
    batch_size: int = 32
    seed: int = 0
    verbose: Any = field(default="auto", compare=False)

    trains = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.optimizer, keras.optimizers.Optimizer):
            made = keras.optimizers.serialize(self.optimizer)
            made["config"].pop("name")  # a counter, which says nothing
            object.__setattr__(self, "optimizer", made)
        for name, least in (("epochs", 0), ("steps_per_epoch", 1), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None or name != "steps_per_epoch":
                object.__setattr__(self, name, whole_number(f"Int8QAT({name}=)", value, least))
        if not self.learning_rate > 0:
            raise BadInput(f"Int8QAT(learning_rate=) must be above 0. Received: {self.learning_rate!r}.")
        object.__setattr__(self, "learning_rate", float(self.learning_rate))
        verbosity(self.verbose)

    def check_graph(self, graph: ChannelGraph) -> None:
        """Whether TFMOT is there, and every layer has a tf_keras form."""
        libraries()
        lower(graph)

    def prepare(self, graph: ChannelGraph, *, seed: int = 0, verbose: Any = "auto", batch_size: int | None = None) -> Prepared:
        """What calibration after training prepares, of a copy with the weights that training found."""
        self.check_graph(graph)
        model, calibration = graph.model, self._calibration
        check_batch(model, peek(self.data, "data"), self.loss, "data")
        prepared = calibration.prepare(graph, seed=seed, verbose=verbose, batch_size=batch_size)  # errors before any training
        training = _training.Training(
            self.data,
            read_inputs(model, graph.program, self.data, 32, calibration.examples, self.seed),
            summed_loss(model, self.loss),
            self.optimizer,
            self.learning_rate,
            self.epochs,
            self.steps_per_epoch,
            self.batch_size,
            self.seed,
            verbosity(verbose if self.verbose == "auto" else self.verbose),
        )
        trained, choice = _training.train(graph, training)
        return replace(
            prepared,
            function=serving(trained, batch_size, like=model),
            model=trained,
            expected=run(trained, prepared.inputs),
            weights=str(choice),
        )

    def configure(self, converter: Any, examples: Examples | None = None) -> None:
        """As after training: then every linear operation that has an integer kernel computes in integers."""
        self._calibration.configure(converter, examples)

    @property
    def _calibration(self) -> Int8PTQ:
        """How the trained model becomes a file."""
        return Int8PTQ(self.data, seed=self.seed, io=self.io)

    def stand_in(self, integers: bool = False) -> Quantizer:
        """The same arithmetic without training."""
        return Int8PTQ(io=self.io).stand_in(integers)

    def with_data(self, data: Any, *, seed: int | None = None, loss: Any = None) -> Quantizer:
        """Trained on these data and with this loss, unless it has its own."""
        return replace(
            self,
            data=data if self.data is None else self.data,
            loss=self.loss or loss,
            seed=self.seed if seed is None else seed,
        )

    def with_training(self, **options: Unpack[TrainingOptions]) -> Quantizer:
        """Trained with these options, as `Quantizer.with_training` takes them; None keeps what it has."""
        given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
        return replace(self, **given)
