"""The learning rate of a run: up after each removal, down to 0 at the end, and never against the user's own."""

import keras
import numpy as np
import pytest

import keras_taylor as kt
from tests import nets


class Rates(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_begin(self, batch, logs=None):
        self.seen.append(float(self.model.optimizer.learning_rate))


def rates(optimizer, *callbacks, gentle=True, steps=1, epochs=4):
    model, seen = nets.chain(), Rates()
    x, y = nets.images(80)
    recipe = kt.Recipe(criterion="l1", repair=None, gentle=gentle, schedule=kt.Schedule.geometric(steps))
    result = kt.fit_with_pruning(
        model, x, y, target=kt.Target(macs=0.6), epochs=epochs, batch_size=8, recipe=recipe, optimizer=optimizer,
        loss=nets.CROSS_ENTROPY, callbacks=[*callbacks, seen], verbose=0,
    )  # fmt: skip
    return np.array(seen.seen), result.model.optimizer


def test_it_rises_falls_to_nothing_and_is_set_back():
    seen, optimizer = rates(keras.optimizers.SGD(0.1))
    assert seen[0] == pytest.approx(0.1 / 5) and seen.argmax() == 4
    np.testing.assert_allclose(seen[5:], 0.1 * (1 - np.arange(5, 40) / 40), rtol=1e-5)
    assert float(optimizer.learning_rate) == pytest.approx(0.1)


def test_every_removal_is_followed_by_a_warm_up():
    seen, _ = rates(keras.optimizers.Adam(0.01), steps=2)
    assert seen[0] == pytest.approx(0.002) and seen[10] == pytest.approx(0.01 / 5)
    assert seen[9] > seen[10] < seen[14]


def test_the_optimizer_inside_one_that_scales_the_loss():
    seen, optimizer = rates(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)))
    assert seen[-1] == pytest.approx(0.1 / 40) and float(optimizer.inner_optimizer.learning_rate) == pytest.approx(0.1)


@keras.saving.register_keras_serializable("tests")
def one_tenth():
    return 0.1


class Own(keras.callbacks.Callback):
    """Sets the rate, as a user's callback may, under a name that nobody knows."""

    def on_epoch_begin(self, epoch, logs=None):
        self.model.optimizer.learning_rate = 0.03


@pytest.mark.parametrize(
    ("optimizer", "callbacks", "expected"),
    [
        (keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 1, 1.0)), (), 0.1),
        (keras.optimizers.SGD(0.1), (keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.05),), 0.05),
        (keras.optimizers.SGD(0.1), (Own(),), 0.03),
    ],
    ids=["a schedule", "a scheduler", "a callback"],
)
def test_what_the_user_sets_stays(optimizer, callbacks, expected):
    seen, _ = rates(optimizer, *callbacks, epochs=2)
    np.testing.assert_allclose(seen, expected, rtol=1e-5)


class Decay(keras.callbacks.Callback):
    """Multiplies what it finds."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.optimizer.learning_rate = 0.9 * float(self.model.optimizer.learning_rate)


def test_what_a_callback_multiplies_is_the_users_rate():
    _, optimizer = rates(keras.optimizers.SGD(1.0), Decay(), steps=2, epochs=4)
    assert float(optimizer.learning_rate) == pytest.approx(0.9**4, rel=1e-5)


def test_steps_count_and_not_executions():
    optimizer = keras.optimizers.SGD(1.0)
    model, seen, (x, y) = nets.chain(), Rates(), nets.images(80)
    model.compile(optimizer, nets.CROSS_ENTROPY, steps_per_execution=5)
    recipe = kt.Recipe(criterion="l1", repair=None)
    kt.fit_with_pruning(
        model, x, y, target=kt.Target(macs=0.7), epochs=2, batch_size=8, recipe=recipe, callbacks=[seen], verbose=0
    )
    np.testing.assert_allclose(seen.seen, [1 / 5, 15 / 20, 10 / 20, 5 / 20], rtol=1e-5)


def test_a_rate_that_is_a_function_stays():
    seen, _ = rates(keras.optimizers.SGD(one_tenth), epochs=1)
    np.testing.assert_allclose(seen, 0.1, rtol=1e-6)


def test_it_can_be_turned_off():
    seen, _ = rates(keras.optimizers.SGD(0.1), gentle=False, epochs=1)
    np.testing.assert_allclose(seen, 0.1, rtol=1e-6)
