"""Everything that a user can get wrong: which error, and what it says."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_taylor as kt
from tests import nets

layers = keras.layers
errors = kt.errors


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__(name="mine")
        self.dense = layers.Dense(2)

    def call(self, x):
        return self.dense(x)


class OwnTrainStep(keras.Model):
    def train_step(self, data):
        return {}


def chain():
    return nets.compiled(nets.chain())


def with_nan(layer="conv2"):
    model = chain()
    model.get_layer(layer).kernel.assign(model.get_layer(layer).kernel * np.nan)
    return model


def unbuilt():
    return keras.Sequential([layers.Dense(2)], name="unbuilt")


def scores():
    return nets.random_scores(kt.trace(nets.chain()))


def fitted(model, data, **options):
    return kt.fit_with_pruning(
        model, *data, **{"target": kt.Target(macs=0.5), "epochs": 1, "verbose": 0, **nets.with_recipe(options)}
    )


DATA = nets.images(8)
HALF = kt.Target(macs=0.5)
EMPTY = (DATA[0][:0], DATA[1][:0])

CASES = {
    # models
    "an unbuilt model": (
        lambda: kt.trace(unbuilt()),
        errors.UnsupportedModel,
        "without an input shape. Start it with keras.Input",
    ),
    "an unbuilt model, pruned": (
        lambda: kt.prune(unbuilt(), *DATA, target=HALF),
        errors.UnsupportedModel,
        "model must be built",
    ),
    "a subclassed model": (
        lambda: kt.trace(Subclassed()),
        errors.UnsupportedModel,
        "Subclassed 'mine', which has a `call` of its own",
    ),
    "a subclassed model, what to do": (
        lambda: kt.trace(Subclassed()),
        errors.UnsupportedModel,
        "express it with the functional API",
    ),
    "not a model": (lambda: kt.trace("resnet50"), errors.UnsupportedModel, "model must be a keras.Model. Received: str"),
    "a train_step of its own": (
        lambda: fitted(OwnTrainStep(*_ends()), DATA),
        errors.BadInput,
        "Received: OwnTrainStep, which has a train_step of its own",
    ),
    "a model without a loss": (
        lambda: kt.score(nets.chain(), DATA),
        errors.BadInput,
        "Call model.compile(loss=...), or pass loss=",
    ),
    "fitting a model that is not compiled": (lambda: fitted(nets.chain(), DATA), errors.BadInput, "The model must be compiled"),
    "validation of a model that is not compiled": (
        lambda: kt.prune(nets.chain(), target=HALF, recipe=kt.Recipe(criterion="random"), validation_data=DATA),
        errors.BadInput,
        "validation_data needs a compiled model",
    ),
    # targets
    "no target": (
        lambda: kt.prune(chain(), *DATA, target=None),
        errors.BadInput,
        "target must be a kt.Target. Received: None",
    ),
    "a bare number": (lambda: kt.prune(chain(), *DATA, target=0.5), errors.BadInput, "Write kt.Target(macs=0.5)"),
    "a target in the place of labels": (
        lambda: kt.prune(chain(), DATA[0], HALF, target=HALF),
        errors.BadInput,
        "y must be labels: an array, or a structure of arrays. Received: Target(macs=0.5). Options are passed by name",
    ),
    "a recipe and its parts": (
        lambda: kt.prune(chain(), *DATA, target=HALF, recipe=kt.Recipe(), criterion="random"),
        errors.BadInput,
        "prune takes criterion in recipe now. Received: both. Write recipe=kt.Recipe(criterion=...)",
    ),
    "a recipe that is a name": (
        lambda: kt.prune(chain(), *DATA, target=HALF, recipe="taylor"),
        errors.BadInput,
        "recipe must be a kt.Recipe, or 'paper'. Received: 'taylor'",
    ),
    "data and x": (lambda: kt.prune(chain(), DATA, data=DATA, target=HALF), errors.BadInput, "Pass x alone"),
    "an empty target": (lambda: kt.Target(), errors.BadInput, "Target must have a budget"),
    "target zero": (lambda: kt.Target(macs=0), errors.BadInput, "must be a fraction in (0, 1] or a whole number above 1"),
    "a negative target": (lambda: kt.Target(params=-0.5), errors.BadInput, "Target(params=) must be a fraction in (0, 1]"),
    "a target above one": (lambda: kt.Target(macs=1.5), errors.BadInput, "Received: macs=1.5"),
    "a target that is no number": (lambda: kt.Target(channels="half"), errors.BadInput, "Received: channels='half'"),
    "a true target": (lambda: kt.Target(macs=True), errors.BadInput, "Received: macs=True"),
    "target nan": (lambda: kt.Target(macs=float("nan")), errors.BadInput, "Received: macs=nan"),
    "an infinite target": (lambda: kt.Target(macs=float("inf")), errors.BadInput, "Received: macs=inf"),
    "below the reachable minimum": (
        lambda: kt.prune(chain(), *DATA, target=kt.Target(macs=0.01)),
        errors.InfeasibleTarget,
        "smallest reachable 1,118 (0.088 of all). Locks in the way: logits (model output)",
    ),
    "below the minimum, before any training": (
        lambda: fitted(chain(), DATA, target=kt.Target(macs=0.01)),
        errors.InfeasibleTarget,
        "smallest reachable 1,118",
    ),
    # names
    "an unknown criterion": (
        lambda: kt.score(chain(), *DATA, criterion="tailor"),
        errors.UnknownName,
        "Received: 'tailor'. Did you mean 'taylor'?",
    ),
    "a criterion like no other": (
        lambda: kt.score(chain(), *DATA, criterion="zzz"),
        errors.UnknownName,
        "Known: activation, activation_std, apoz",
    ),
    "a criterion class": (
        lambda: kt.score(chain(), *DATA, criterion=kt.criteria.Taylor),
        errors.BadInput,
        "a name or a kt.Criterion instance",
    ),
    "an unknown layer in keep": (
        lambda: kt.plan(scores(), HALF, kt.Constraints(keep=["conv_1"])),
        errors.UnknownName,
        "A layer in Constraints(keep=) must be a known name. Received: 'conv_1'. Did you mean 'conv1'?",
    ),
    "an unknown layer in bounds": (
        lambda: kt.plan(scores(), HALF, kt.Constraints(bounds={"logit": (1, 2)})),
        errors.UnknownName,
        "A layer in Constraints(bounds=) must be a known name. Received: 'logit'. Did you mean 'logits'?",
    ),
    "an unknown layer before training": (
        lambda: fitted(chain(), DATA, constraints=kt.Constraints(keep=["conv_1"])),
        errors.UnknownName,
        "Did you mean 'conv1'?",
    ),
    "an unknown layer in a plan": (
        lambda: kt.rebuild(chain(), kt.PruningPlan({"conv3": (0,)})),
        errors.UnknownName,
        "A layer in the plan must be a known name. Received: 'conv3'. Did you mean 'conv2'?",
    ),
    "an unknown rank": (
        lambda: kt.plan(scores(), HALF, rank="best"),
        errors.BadInput,
        "must be 'saving' or 'score'. Received: 'best'",
    ),
    # constraints
    "min_channels zero": (
        lambda: kt.Constraints(min_channels=0),
        errors.BadInput,
        "Constraints(min_channels=) must be a whole number",
    ),
    "round_to a fraction": (
        lambda: kt.Constraints(round_to=0.5),
        errors.BadInput,
        "Constraints(round_to=) must be a whole number",
    ),
    "keep a string": (
        lambda: kt.Constraints(keep="conv1"),
        errors.BadInput,
        "must be a list of names or a predicate. Received: 'conv1'. Write keep=['conv1']",
    ),
    "bounds the wrong way round": (
        lambda: kt.Constraints(bounds={"a": (5, 2)}),
        errors.BadInput,
        "(at least, at most). Received: 'a': (5, 2)",
    ),
    "a single bound": (lambda: kt.Constraints(bounds={"a": 5}), errors.BadInput, "must map a layer to (at least, at most)"),
    # data
    "no data": (lambda: kt.score(chain()), errors.BadInput, "x must be given for criterion 'taylor_gate'"),
    "no labels": (lambda: kt.score(chain(), DATA[0], labels="given"), errors.BadInput, "x must have labels"),
    "no labels in a tuple": (lambda: kt.score(chain(), (DATA[0],), labels="given"), errors.BadInput, "x must have labels"),
    "no labels in a data set": (
        lambda: kt.score(chain(), tf.data.Dataset.from_tensor_slices(DATA[0]).batch(4), labels="given"),
        errors.BadInput,
        "x must have labels",
    ),
    "fitting without labels": (lambda: fitted(chain(), DATA[:1]), errors.BadInput, "x must have labels"),
    "an empty data set": (lambda: kt.score(chain(), EMPTY), errors.BadInput, "x must have at least one example"),
    "an empty tf.data": (
        lambda: kt.score(chain(), tf.data.Dataset.from_tensor_slices(DATA).batch(4).take(0)),
        errors.BadInput,
        "Received: an empty data set",
    ),
    "fitting on an empty data set": (lambda: fitted(chain(), EMPTY), errors.BadInput, "x must have at least one example"),
    "arrays of different lengths": (
        lambda: kt.score(chain(), (DATA[0], DATA[1][:5])),
        errors.BadInput,
        "must have one length. Received: [5, 8]",
    ),
    "no examples": (
        lambda: kt.score(chain(), DATA, examples=0),
        errors.BadInput,
        "examples must be a whole number of at least 1. Received: 0",
    ),
    "data that is no data": (lambda: kt.score(chain(), 7), errors.BadInput, "x must be what `fit` takes"),
    # labels that do not fit
    "one-hot labels for a sparse loss": (
        lambda: kt.score(chain(), DATA[0], np.eye(2)[DATA[1]]),
        errors.BadInput,
        "Received: y of shape (None, 2) for outputs of shape (None, 2) and the loss sparse_categorical_crossentropy (",
    ),
    "classes for a loss of one-hot labels": (
        lambda: kt.score(chain(), *DATA, loss="categorical_crossentropy"),
        errors.BadInput,
        "Labels must fit the model's outputs and its loss. Received: y of shape (None,)",
    ),
    "classes that the model has not": (
        lambda: kt.oracle(chain(), DATA[0], DATA[1] + 5),
        errors.BadInput,
        "outside the valid range of [0, 2)",
    ),
    "a class in the last batch that the model has not": (
        lambda: kt.score(chain(), DATA[0], np.array([0] * 7 + [9]), batch_size=4),
        errors.BadInput,
        "outside the valid range of [0, 2)",
    ),
    "labels for two outputs": (
        lambda: kt.prune(chain(), DATA[0], [DATA[1], DATA[1]], target=HALF),
        errors.BadInput,
        "Labels must fit the model's outputs and its loss. Received: y of shape (None,), (None,)",
    ),
    "labels of images": (
        lambda: fitted(chain(), (DATA[0], np.zeros((8, 4, 4), int))),
        errors.BadInput,
        "Received: y of shape (None, 4, 4)",
    ),
    "texts as labels": (
        lambda: kt.score(chain(), DATA[0], np.array(["a"] * 8)),
        errors.BadInput,
        "Labels must fit the model's",
    ),
    "a loss that does not exist": (
        lambda: kt.score(chain(), *DATA, loss="nope"),
        errors.BadInput,
        "Could not interpret loss identifier: nope",
    ),
    "validation labels that do not fit": (
        lambda: fitted(chain(), DATA, validation_data=(DATA[0], np.eye(2)[DATA[1]])),
        errors.BadInput,
        "Labels of validation_data must fit the model's outputs and its loss",
    ),
    "validation data that are no data": (
        lambda: kt.prune(chain(), *DATA, target=HALF, validation_data=3),
        errors.BadInput,
        "validation_data must be what `fit` takes",
    ),
    "validation images of another size": (
        lambda: fitted(chain(), DATA, validation_data=(DATA[0][:, :4], DATA[1])),
        errors.BadInput,
        "Inputs must have the model's input shapes. Received: [(2, 4, 8, 3)], expected [(None, 8, 8, 3)]",
    ),
    "class weights in a list": (
        lambda: kt.score(chain(), *DATA, class_weight=[1, 2]),
        errors.BadInput,
        "class_weight must map classes to weights. Received: [1, 2]",
    ),
    # arguments in another order
    "data before the model": (
        lambda: kt.score(DATA[0], chain()),
        errors.UnsupportedModel,
        "Received: ndarray. A model comes first",
    ),
    "labels before inputs": (
        lambda: kt.score(chain(), DATA[1], DATA[0]),
        errors.BadInput,
        "Inputs must have the model's input shapes. Received: [(8,)]",
    ),
    "the small model before the plan": (
        lambda: kt.verify(chain(), chain(), kt.plan(scores(), HALF)),
        errors.UnsupportedModel,
        "small must be a keras.Model. Received: PruningPlan",
    ),
    "a plan in the place of a model": (
        lambda: kt.rebuild(kt.plan(scores(), HALF), chain()),
        errors.UnsupportedModel,
        "model must be a keras.Model. Received: PruningPlan",
    ),
    "scores in the place of a plan": (
        lambda: kt.rebuild(nets.chain(), scores()),
        errors.BadInput,
        "plan must be a kt.PruningPlan. Received: Scores. Make one with kt.plan(scores, target)",
    ),
    "a class in the place of a callback": (
        lambda: fitted(chain(), DATA, callbacks=[keras.callbacks.EarlyStopping]),
        errors.BadInput,
        "callbacks must be objects. Received: the class EarlyStopping",
    ),
    "a backup inside a list of callbacks": (
        lambda: fitted(chain(), DATA, callbacks=keras.callbacks.CallbackList([keras.callbacks.BackupAndRestore("b")])),
        errors.BadInput,
        "Received: a BackupAndRestore",
    ),
    "a dictionary in the place of a plan, exported": (
        lambda: kt.export_tflite(chain(), "unwritten.tflite", plan={"conv1": [0]}),
        errors.BadInput,
        "plan must be a kt.PruningPlan. Received: dict",
    ),
    "a text in the place of a plan, repaired": (
        lambda: kt.repair(chain(), "plan.json", chain(), DATA[0]),
        errors.BadInput,
        "plan must be a kt.PruningPlan. Received: str",
    ),
    "a tolerance that is a text": (
        lambda: kt.verify(nets.chain(), kt.PruningPlan({}), nets.chain(), tolerance="a"),
        errors.BadInput,
        "tolerance must be above 0 and finite. Received: 'a'",
    ),
    "inputs of another size, verified": (
        lambda: kt.verify(nets.chain(), kt.PruningPlan({}), nets.chain(), DATA[0][:, :4]),
        errors.BadInput,
        "Inputs must have the model's input shapes",
    ),
    "a path before the model": (
        lambda: kt.export_tflite("m.tflite", chain()),
        errors.BadInput,
        "path must be a path. Received: Sequential",
    ),
    "a path in the place of a model": (
        lambda: kt.trace("model.keras"),
        errors.UnsupportedModel,
        "Load the model: keras.saving.load_model('model.keras')",
    ),
    "a model in the place of a path": (
        lambda: kt.Scores.load(chain(), "scores.json"),
        errors.BadInput,
        "path must be a path. Received: Sequential",
    ),
    "a run folder that is a number": (
        lambda: fitted(chain(), DATA, run_dir=3),
        errors.BadInput,
        "run_dir must be a path. Received: int",
    ),
    # other types
    "a number as the target of a plan": (
        lambda: kt.plan(scores(), 0.5),
        errors.BadInput,
        "target must be a kt.Target. Received: 0.5. Write kt.Target(macs=0.5)",
    ),
    "a model in the place of scores": (
        lambda: kt.plan(chain(), HALF),
        errors.BadInput,
        "Make them with kt.score(model, x, y)",
    ),
    "several criteria": (
        lambda: kt.score(chain(), *DATA, criterion=["l1", "l2"]),
        errors.BadInput,
        "kt.score_all(model, x, y, criteria=[...]) takes several",
    ),
    "criteria that are a number": (
        lambda: kt.score_all(chain(), *DATA, criteria=3),
        errors.BadInput,
        "criteria must be a list. Received: 3",
    ),
    "labels in the place of where they come from": (
        lambda: kt.score(chain(), *DATA, labels=DATA[1]),
        errors.BadInput,
        "Labels themselves are y",
    ),
    "a model in the place of a file": (
        lambda: kt.measure(chain(), *DATA),
        errors.BadInput,
        "Convert it first: kt.measure(kt.quantize(model)",
    ),
    "keep a number": (lambda: kt.Constraints(keep=3), errors.BadInput, "Received: 3. Write keep=['stem']"),
    "a layer that is a number": (
        lambda: kt.plan(scores(), HALF, kt.Constraints(keep=[3])),
        errors.UnknownName,
        "Received: '3'. Known: conv1, conv2, logits",
    ),
    "bounds in a list": (lambda: kt.Constraints(bounds=[("a", (1, 2))]), errors.BadInput, "must be a dictionary"),
    "bounds that are texts": (lambda: kt.Constraints(bounds={"a": ("1", "2")}), errors.BadInput, "'a': ('1', '2'). Write"),
    "a plan in a list": (lambda: kt.PruningPlan([1]), errors.BadInput, "kept must map layers to the channels that stay"),
    "a number of channels in a plan": (lambda: kt.PruningPlan({"conv1": 3}), errors.BadInput, "Write {'conv': (0, 2)}"),
    "a power that is a text": (lambda: kt.Schedule(steps=2, power="a"), errors.BadInput, "must be a positive number"),
    "no repair, as a text": (lambda: kt.Recipe(repair="none"), errors.BadInput, "Write repair=None"),
    "no repair, as a truth value": (lambda: kt.Recipe(repair=False), errors.BadInput, "Write repair=None"),
    "a name that is a part of two": (
        lambda: kt.quantize(chain(), "int8"),
        errors.UnknownName,
        "Did you mean 'int8_ptq' or 'int8_qat'?",
    ),
    "a negative seed": (
        lambda: kt.score(chain(), *DATA, examples=4, seed=-1),
        errors.BadInput,
        "seed must be a whole number of at least 0. Received: -1",
    ),
    # numbers
    "NaN in a layer": (lambda: kt.score(with_nan(), DATA), errors.NonFiniteScores, "NaN or infinity in conv2"),
    "NaN in a kernel": (
        lambda: kt.score(with_nan(), criterion="magnitude"),
        errors.NonFiniteScores,
        "Received: NaN or infinity in conv2.",
    ),
    "NaN in the data": (
        lambda: kt.prune(chain(), DATA[0] * np.nan, DATA[1], target=HALF),
        errors.BadInput,
        "Inputs must be finite. Received: NaN or infinity",
    ),
    "infinity in scores": (
        lambda: kt.Scores(kt.trace(nets.chain()), np.full(19, np.inf)),
        errors.NonFiniteScores,
        "Scores of criterion 'given' must be finite",
    ),
    # plans
    "a plan of another model": (
        lambda: kt.rebuild(nets.chain(filters=7), kt.plan(scores(), HALF)),
        errors.PlanMismatch,
        "whose layers or shapes differ. Make a new plan with kt.plan",
    ),
    "a plan that is no plan": (
        lambda: kt.PruningPlan.from_json("[1]"),
        errors.BadInput,
        "A plan must be JSON as PruningPlan.save writes it",
    ),
    "a plan that is no JSON": (lambda: kt.PruningPlan.from_json("{"), errors.BadInput, "A plan must be JSON"),
    "a plan of the future": (
        lambda: kt.PruningPlan.from_json('{"format": 9}'),
        errors.BadInput,
        "The format of a plan must be 1. Received: 9",
    ),
    # paths
    "a plan in no folder": (
        lambda: kt.plan(scores(), HALF).save("/no/such/plan.json"),
        errors.BadInput,
        "Create '/no/such' first",
    ),
    "an unwritable plan": (lambda: kt.plan(scores(), HALF).save("/proc/plan.json"), errors.BadInput, "path must be writable"),
    "a run in an unwritable folder": (
        lambda: fitted(chain(), DATA, run_dir="/proc/run"),
        errors.BadInput,
        "run_dir must be a folder that can be made",
    ),
    "an export in an unwritable folder": (lambda: kt.export_tflite(chain(), "/proc/m.tflite"), errors.BadInput, "path must be"),
    # loops
    "a callback that restores": (
        lambda: fitted(chain(), DATA, callbacks=[keras.callbacks.BackupAndRestore("/tmp")]),
        errors.BadInput,
        "callbacks must not restore another training",
    ),
    "no loss at all": (
        lambda: fitted(_compiled_without_a_loss(), DATA[:1]),
        errors.BadInput,
        "The model must have a loss. Received: 'chain', compiled without one",
    ),
    "negative epochs": (
        lambda: fitted(chain(), DATA, epochs=-1),
        errors.BadInput,
        "epochs must be a whole number of at least 0. Received: -1",
    ),
    "a schedule longer than the epochs": (
        lambda: fitted(chain(), DATA, epochs=2, schedule=kt.Schedule(steps=5)),
        errors.BadInput,
        "epochs must cover the schedule. Received: epochs=2",
    ),
}


def _compiled_without_a_loss():
    model = nets.randomized(nets.chain())
    model.compile("sgd")
    return model


def _ends():
    model = nets.chain()
    return model.inputs, model.outputs


@pytest.mark.parametrize("what", CASES)
def test_bad_input(what):
    call, error, text = CASES[what]
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)
    assert isinstance(caught.value, ValueError) and isinstance(caught.value, errors.KerasTaylorError)


def test_nothing_is_trained_before_the_input_is_checked(tmp_path):
    model = chain()
    before = nets.state(model)
    for options in ({"target": kt.Target(macs=0.01)}, {"run_dir": "/proc/run"}, {"constraints": kt.Constraints(keep=["no"])}):
        with pytest.raises(errors.KerasTaylorError):
            fitted(model, DATA, callbacks=[keras.callbacks.LambdaCallback(on_train_begin=pytest.fail)], **options)
    nets.assert_same_state(before, nets.state(model))


@pytest.mark.parametrize("left", ["model.keras", "plan.json", "report.json", "history.json"])
def test_a_run_is_not_written_over_another(tmp_path, left):
    (tmp_path / left).write_text("precious")
    with pytest.raises(errors.BadInput, match=f"run_dir must be a folder without another run: .*which holds {left}"):
        fitted(chain(), DATA, run_dir=tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(left, "precious")]


def test_a_plan_that_cannot_be_saved_leaves_nothing(tmp_path):
    plan = kt.plan(scores(), HALF)
    (tmp_path / "plan.json").mkdir()
    with pytest.raises(errors.BadInput, match="which is a folder"):
        plan.save(tmp_path / "plan.json")
    assert list((tmp_path / "plan.json").iterdir()) == []
