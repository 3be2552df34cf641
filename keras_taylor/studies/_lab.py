"""`Lab`: one model, its data, and a folder in which everything that was measured is kept."""

from __future__ import annotations

import hashlib
import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from keras_taylor._keras.batches import batches
from keras_taylor._keras.identity import described_data, identity_of
from keras_taylor._keras.progress import progress_bar, verbosity
from keras_taylor._output.run_dir import as_json
from keras_taylor._plan.constraints import Constraints
from keras_taylor._plan.plan import plan
from keras_taylor._plan.pruning_plan import to_mask
from keras_taylor._plan.target import Target
from keras_taylor._run.checks import check_feasible
from keras_taylor._score.oracle import oracle
from keras_taylor._score.score import score_all
from keras_taylor._score.scores import Scores
from keras_taylor._trace.graph import as_graph
from keras_taylor._trace.nonfinite_weights import CHECK_FOR_NAN
from keras_taylor.criteria import Criterion
from keras_taylor.errors import BadInput, NonFiniteScores, whole_number
from keras_taylor.studies._masked import Masked
from keras_taylor.studies._statistics import Array, Ranks
from keras_taylor.studies._store import Store, versions

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Lab:
    """Measures once, and keeps it: a study that is interrupted goes on, and studies in one folder share what they measure.

    Args:
        model: a compiled classifier with one output, or the graph of one.
        data: labelled training data as `fit` takes them, as one value: channels are scored, and silenced, on samples of these.
        run_dir: a folder for this model and these data.
        examples: how many examples a sample has; None in a study that draws no samples.
        seeds: one sample is drawn for each.
        batch_size: examples that are scored at a time.
        verbose: `"auto"` or 1 says what is measured, with progress bars; 2 says it without them, 0 is silent.

    Attributes:
        seeds: as a list.
        graph: of the model.
        ranks: correlations over its channels.

    Raises:
        BadInput: what cannot be studied, or a folder of another model or other data; before any work.
    """

    def __init__(
        self,
        model: Any,
        data: Any,
        run_dir: str | Path,
        *,
        examples: int | None,
        seeds: Sequence[int],
        batch_size: int,
        verbose: str | int,
    ) -> None:
        self.seeds = checked_seeds(seeds)
        self.graph = as_graph(model)
        self.model = model = self.graph.model
        if not model.compiled:
            raise BadInput(f"The model must be compiled. Received: {model.name!r}. Call model.compile(optimizer, loss) first.")
        self.batch_size, self.verbose = whole_number("batch_size", batch_size), verbosity(verbose)
        self.examples = None if examples is None else whole_number("examples", examples, 2)
        self.x, self.y = as_arrays(data, "x")
        self._check_examples()
        outputs = self.graph.program.outputs[0].shape[-1]
        if self.y.ndim == 1 and np.issubdtype(self.y.dtype, np.integer) and outputs and 1 < outputs <= self.y.max():
            raise BadInput(f"y must have classes below {outputs}, the number of outputs. Received: class {self.y.max()}.")
        self.ranks = Ranks(self.graph)
        if not len(self.ranks.free):
            raise BadInput(f"The model must have channels that may go. Received: {model.name!r}, where all are locked.")
        self.masked = Masked(self.graph)
        options = {} if examples is None else {"examples": self.examples}
        options["batch_size"] = self.batch_size
        self.settings = {"model": model.name, "data": len(self.x), **options}
        identity = as_json(identity_of(model, self.graph.fingerprint, {"data": (self.x, self.y)}, options))
        identity["compiled"].pop("optimizer")  # a study that trains has it among what its measurements depend on
        identity["model"].pop("name")  # Keras counts
        self.identity = identity | {"versions": versions()}
        self.store = Store(run_dir, "lab.json", "studies", self.identity)
        self.console = Console(quiet=not self.verbose, highlight=False, markup=False, soft_wrap=True)

    def kept(self, what: str, key: Mapping[str, Any], measure: Callable[[], Any], say: bool = True) -> Any:
        """What `measure` returns, JSON values, measured only if it is not in the folder yet.

        Args:
            what: the kind of measurement.
            key: everything that it depends on besides the model, the data and the settings of the lab.
            measure: called if need be.
            say: whether to say so.
        """
        if say and not self.store.has(what, key):
            self._say(what, key)
        return self.store.kept(what, key, measure)

    def is_kept(self, what: str, key: Mapping[str, Any]) -> bool:
        """Whether `kept` would find this measurement in the folder."""
        return self.store.has(what, key)

    def sample(self, seed: int, half: int | None = None) -> Rows:
        """Numbers of the examples of a sample; those at even or odd places for half 0 or 1."""
        rows = np.random.default_rng(seed).permutation(len(self.x))[: self.examples]
        return rows if half is None else rows[half::2]

    def oracle(self, seed: int) -> Array:
        """The signed change of the loss on a sample when each channel is silenced, shape `(channels,)`."""
        rows = self.sample(seed)

        def measure() -> list[float]:
            found = oracle(self.graph, self.x[rows], self.y[rows], batch_size=self.batch_size, verbose=self.verbose)
            return found.values.tolist()

        return np.array(self.kept("oracle", {"seed": seed}, measure))

    def scores(self, criteria: Mapping[str, Criterion], seed: int, half: int | None = None) -> dict[str, Array]:
        """Scores of a sample by each criterion, those that are not kept yet in one pass; a label must name one criterion.

        A criterion with nothing to look at in this model (no BatchNormalization, say) is left out.
        """
        rows = self.sample(seed, half)
        return self.scores_on(criteria, rows, {"seed": seed, "half": half})

    def scores_on(self, criteria: Mapping[str, Criterion], rows: Rows, key: Mapping[str, Any]) -> dict[str, Array]:
        """Scores of any examples by each criterion, as `scores` gives them for a sample.

        Args:
            criteria: by label.
            rows: numbers of the examples.
            key: what tells these examples from others in the folder; it has the `"seed"` of what a criterion draws.
        """

        def key_of(label: str) -> dict[str, Any]:
            one = criteria[label]
            return {"criterion": _name(one), **one.settings(), **key}

        missing = [label for label in criteria if not self.store.has("scores", key_of(label))]
        blind = [label for label in missing if not criteria[label].needs_data]
        for labels in [[label] for label in blind] + [[label for label in missing if label not in blind]]:
            if not labels:
                continue
            self._say(f"scores by {', '.join(labels)}", key)
            try:
                with warnings.catch_warnings():
                    # Studies ask how good this approximation is.
                    warnings.filterwarnings("ignore", "Gauss-Newton is the second derivative")
                    found = score_all(
                        self.graph,
                        self.x[rows],
                        self.y[rows],
                        criteria={label: criteria[label] for label in labels},
                        batch_size=self.batch_size,
                        seed=int(key["seed"]),
                        verbose=self.verbose,
                    )
            except BadInput:
                if labels[0] not in blind:
                    raise
                self.store.put("scores", key_of(labels[0]), None)
                continue
            for label, scores in found.items():
                self.store.put("scores", key_of(label), scores.values.tolist())
        values = {label: self.store.get("scores", key_of(label)) for label in criteria}
        return {label: np.array(value) for label, value in values.items() if value is not None}

    def mask(self, values: Array, share: float, rank: str = "saving") -> Mask:
        """The channels that stay when scores decide which go, at a share of the MACs."""
        found: Mask = to_mask(self.graph, plan(Scores(self.graph, values), Target(macs=share), rank=rank))
        return found

    def check_reachable(self, shares: Sequence[float]) -> None:
        """Raise `InfeasibleTarget` unless every share of the MACs can be reached."""
        for share in shares:
            check_feasible(self.graph, Target(macs=share), Constraints())

    def validation(self, data: Any) -> tuple[Any, Any]:
        """Inputs and labels of `validation_data`.

        Raises:
            BadInput: they do not fit the data, or the model has no output for each class.
        """
        x, y = as_arrays(data, "validation_data")
        if x.shape[1:] != self.x.shape[1:] or y.shape[1:] != self.y.shape[1:]:
            shapes = ", ".join(str(one.shape[1:]) for one in (x, y, self.x, self.y))
            raise BadInput(f"validation_data must have the shapes of x and y. Received: inputs and labels of {shapes}.")
        outputs = self.graph.program.outputs
        if len(outputs) != 1 or (outputs[0].shape[-1] or 0) < 2:
            shapes = ", ".join(str(one.shape) for one in outputs)
            raise BadInput(f"The model must have an output for each of two or more classes. Received: outputs of {shapes}.")
        return x, y

    def judge(self, x: Any, y: Any, say: bool = True) -> Callable[[Mask], dict[str, float]]:
        """A function that gives loss and accuracy on these data of the net that keeps a mask's channels.

        The function raises `NonFiniteScores` where the loss is not finite.
        """
        data = described_data((x, y))["content"]

        def judged(keep: Mask) -> dict[str, float]:
            def measure() -> dict[str, float]:
                loss, accuracy = self.masked.evaluate(x, y, keep)
                if not np.isfinite(loss):
                    raise NonFiniteScores(
                        f"The loss must be finite. Received: NaN or infinity with {keep.sum()} of {len(keep)} channels. "
                        f"{CHECK_FOR_NAN}"
                    )
                return {"loss": loss, "accuracy": accuracy}

            key = {"kept": int(keep.sum()), "mask": hashlib.sha256(np.packbits(keep).tobytes()).hexdigest()[:12], "data": data}
            found: dict[str, float] = self.kept("judged", key, measure, say)
            return found

        return judged

    def progress(self, what: str, count: int) -> Any:
        """A bar over `count` measurements, which are too many to name each."""
        self.console.print(what)
        return progress_bar(count, self.verbose)

    def _check_examples(self) -> None:
        if self.examples is None:
            return
        if len(self.x) < self.examples:
            raise BadInput(
                f"x must have at least as many examples as a sample. Received: {len(self.x)}, examples={self.examples}. "
                "Lower examples."
            )
        if len(self.seeds) > 1 and 2 * self.examples > len(self.x):  # more alike than different: intervals mean nothing
            raise BadInput(
                f"examples must be at most half of the data where several seeds are compared. Received: {self.examples} of "
                f"{len(self.x)} with {len(self.seeds)} seeds. Lower examples, or pass one seed."
            )

    def _say(self, what: str, key: Mapping[str, Any]) -> None:
        self.console.print(f"{what}: {', '.join(f'{name} {value}' for name, value in key.items() if value is not None)}")


def _name(criterion: Criterion) -> str:
    """The class; one from elsewhere may share its name with another, and may have been changed."""
    kind = type(criterion)
    if kind.__module__.startswith("keras_taylor."):
        return kind.__name__
    try:
        source = inspect.getsource(kind)
    except (OSError, TypeError):
        source = ""
    return f"{kind.__module__}.{kind.__qualname__}-{hashlib.sha256(source.encode()).hexdigest()[:12]}"


def as_arrays(data: Any, name: str) -> tuple[Any, Any]:
    """Inputs and labels (classes, or one-hot) of all examples, in memory.

    Raises:
        BadInput: no labels, several inputs, or labels that are not one class per example.
    """
    if data is None:
        raise BadInput(f"{name} must be given. Received: None. Pass (x, y), or a data set with labels.")
    given = list(batches(data, batch_size=256, name=name))
    if any(weight is not None for _, _, weight in given):
        raise BadInput(
            f"{name} must have no sample weights: a study counts every example once. Received: some. Leave them out."
        )
    parts = [(x, y) for x, y, _ in given]
    if any(keras.tree.is_nested(one) for one in parts[0]):
        raise BadInput(f"{name} must have one input and one output. Received: several.")
    x, y = (np.concatenate([np.asarray(part) for part in column]) for column in zip(*parts, strict=True))
    floating = np.issubdtype(x.dtype, np.floating)
    bad: Any = np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(1)) if floating else ()
    if len(bad):
        raise BadInput(
            f"{name} must be finite. Received: NaN or infinity in {len(bad)} examples, the first is number {bad[0]}."
        )
    if y.ndim > 2:
        raise BadInput(f"{name} must have one class per example. Received: labels of shape {y.shape}.")
    return x, y


def check_shares(shares: Sequence[float]) -> list[float]:
    """The shares, if they are such, none twice."""
    found = [float(share) for share in shares]
    if not found or len({f"{share:g}" for share in found}) < len(found) or not all(0 < share < 1 for share in found):
        raise BadInput(f"shares must be different numbers between 0 and 1, and at least one. Received: {found}.")
    return found


def checked_seeds(seeds: Sequence[int]) -> list[int]:
    """The seeds, if there are any, and none twice."""
    if not isinstance(seeds, Iterable):
        raise BadInput(f"seeds must be a sequence, one for each sample. Received: {seeds!r}. Write range({seeds!r}).")
    found = [whole_number("seeds", seed, 0) for seed in seeds]
    if not found or len(set(found)) < len(found):
        raise BadInput(f"seeds must be different, and at least one. Received: {found}.")
    return found
