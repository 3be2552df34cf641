"""Steps to a budget are pure arithmetic."""

import pytest

import keras_taylor as kt
from keras_taylor._run.schedule import schedule_for
from tests import nets


def test_linear_and_cubic_by_hand():
    assert [kt.Schedule.linear(4).progress(i) for i in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1.0]
    assert [kt.Schedule.cubic(2).progress(i) for i in (1, 2)] == [1 - 0.5**3, 1.0]


def test_budgets_run_from_the_whole_to_the_goal():
    schedule, full, goal = kt.Schedule.linear(2), {"macs": 1000, "params": 100}, {"macs": 500.0, "params": 33.3}
    assert schedule.budgets(1, full, goal) == {"macs": 750, "params": 66}
    assert schedule.budgets(2, full, goal) == {"macs": 500, "params": 33}


def test_geometric_by_hand():
    schedule, full, goal = kt.Schedule.geometric(3), {"macs": 1000, "params": 100}, {"macs": 1.0, "params": 12.5}
    assert [schedule.budgets(i, full, goal) for i in (1, 2, 3)] == [
        {"macs": 100, "params": 50}, {"macs": 10, "params": 25}, {"macs": 1, "params": 12}
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("left", "epochs", "steps"),
    [
        (1.0, 10, 1),
        (0.3, 10, 1),
        (0.29, 10, 2),
        (0.09, 10, 2),
        (0.08, 10, 3),
        (0.08, 4, 2),
        (0.08, 0, 1),
        (0, 99, 6),
    ],
)
def test_by_default_no_step_takes_more_than_seventy_percent(left, epochs, steps):
    assert schedule_for(None, epochs, left) == kt.Schedule.geometric(steps)


@pytest.mark.parametrize(
    "options", [{"steps": 0}, {"steps": 1.5}, {"steps": 2, "epochs_per_step": -1}, {"steps": 1, "power": 0}]
)
def test_numbers_out_of_range(options):
    with pytest.raises(kt.errors.BadInput, match=r"Schedule\("):
        kt.Schedule(**options)


def test_prune_says_that_it_has_one_step():
    recipe = kt.Recipe(criterion="l1", schedule=kt.Schedule.linear(3))
    with pytest.warns(UserWarning, match=r"removes all at once, and leaves Schedule\(steps=3.* out") as found:
        kt.prune(nets.chain(), target=kt.Target(macs=0.6), recipe=recipe, verbose=0)
    assert found[0].filename == __file__
