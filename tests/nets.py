"""Small models and data that many tests share."""

import dataclasses

import keras
import numpy as np

import keras_taylor as kt

layers = keras.layers
CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def chain(filters=6, classes=2, name="chain"):
    """conv -> relu -> conv -> pool -> logits, all named."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            layers.Conv2D(filters, 3, activation="relu", name="conv1"),
            layers.Conv2D(filters + 2, 3, activation="relu", name="conv2"),
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dense(classes, name="logits"),
        ],
        name=name,
    )


def residual(classes=3, batch_norm=True, name="residual"):
    """Two convolutions tied by an Add, one inside the branch that is free."""
    x = inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(6, 3, padding="same", name="stem")(x)
    if batch_norm:
        x = layers.BatchNormalization(name="stem_bn")(x)
    x = shortcut = layers.ReLU(name="stem_relu")(x)
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="inner")(x)
    x = layers.Conv2D(6, 3, padding="same", name="outer")(x)
    if batch_norm:
        x = layers.BatchNormalization(name="outer_bn")(x)
    x = layers.Add(name="add")([x, shortcut])
    x = layers.GlobalAveragePooling2D(name="pool")(layers.ReLU(name="out_relu")(x))
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name=name)


def nested(classes=2, name="nested", training=None):
    """A backbone with a BatchNormalization inside a head."""
    x = inner = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, name="conv1")(x)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.Conv2D(5, 3, activation="relu", name="conv2")(x)
    backbone = keras.Model(inner, x, name="backbone")
    inputs = keras.Input((8, 8, 3), name="image")
    x = backbone(inputs) if training is None else backbone(inputs, training=training)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name=name)


def randomized(model, seed=0):
    """The model itself, with nothing left at zero."""
    kt.testing.randomize(model, seed)
    return model


def compiled(model, loss=CROSS_ENTROPY, **options):
    """The model itself, compiled and with random weights."""
    kt.testing.randomize(model)
    model.compile(options.pop("optimizer", "sgd"), loss, **options)
    return model


def images(count=8, classes=2, seed=0, shape=(8, 8, 3)):
    """Random images and labels."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, *shape)).astype("float32"), rng.integers(0, classes, count)


def with_recipe(options):
    """Options of a run, those of a recipe gathered into one, which repairs only if told to."""
    names = [entry.name for entry in dataclasses.fields(kt.Recipe)]
    chosen = {"repair": None, **{name: options[name] for name in names if name in options}}
    return {**{name: value for name, value in options.items() if name not in names}, "recipe": kt.Recipe(**chosen)}


def producer_channels(graph, name):
    """The channel numbers that a producer gives birth to, in the order of its filters."""
    return next(graph.channel[ids] for ids, born in graph.births if born == name)


def random_scores(graph, seed=0):
    return kt.Scores(graph, np.random.default_rng(seed).random(graph.channels))


def outputs(model, x):
    """Outputs in inference, as a list of arrays."""
    return [keras.ops.convert_to_numpy(y) for y in keras.tree.flatten(model(x, training=False))]


def state(model):
    """All that a model must have kept when something has looked at it."""
    return {
        "weights": [w.numpy() for w in model.weights],
        "metrics": [v.numpy() for v in model.metrics_variables],
        "optimizer": [v.numpy() for v in model.optimizer.variables] if model.optimizer is not None else [],
        "nodes": [(type(op).__name__, len(op._inbound_nodes), len(op._outbound_nodes)) for op in _operations(model)],
        "layers": [(layer.name, type(layer), id(layer)) for layer in model._flatten_layers()],
        "training": [(layer.name, layer.trainable) for layer in model._flatten_layers()],
        "policy": keras.config.dtype_policy().name,
    }


def assert_same_state(before, after):
    for name in ("nodes", "layers", "training", "policy"):
        assert before[name] == after[name], name
    for name in ("weights", "metrics", "optimizer"):
        assert len(before[name]) == len(after[name]), name
        for a, b in zip(before[name], after[name], strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)


def _operations(model):
    found = list(getattr(model, "operations", model.layers))
    for operation in list(found):
        if isinstance(operation, keras.Model):
            found += _operations(operation)
    return found
