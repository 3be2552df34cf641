"""The curve through what was measured."""

import numpy as np
import pytest

from keras_taylor._analyze.curve import Curve

SHARES = np.linspace(0.1, 1.0, 91)


@pytest.mark.parametrize(
    "measured",
    [{0.5: 0.1}, {0.7: 0.01, 0.5: 0.02, 0.2: 0.4}, {0.7: 0.03, 0.6: 0.02, 0.3: 0.5}, {0.9: -0.01, 0.8: 0.002, 0.2: 0.3}],
    ids=["one", "three", "out of order", "a gain"],
)
def test_what_is_lost_never_falls_with_the_share(measured):
    curve = Curve(measured)
    lost = [curve(share) for share in SHARES]
    assert np.all(np.diff(lost) <= 1e-12) and lost[-1] == pytest.approx(0.0, abs=1e-9)


def test_it_goes_through_what_was_measured():
    measured = {0.7: 0.01, 0.5: 0.02, 0.2: 0.4}
    curve = Curve(measured)
    assert [curve(share) for share in measured] == pytest.approx(list(measured.values()))
    assert curve(0.1) == pytest.approx(0.4)


def test_measurements_out_of_order_are_averaged():
    curve = Curve({0.7: 0.03, 0.6: 0.02, 0.3: 0.5})
    assert [curve(0.7), curve(0.6), curve(0.3)] == pytest.approx([0.025, 0.025, 0.5])


def test_a_model_without_finite_outputs_has_lost_everything():
    curve = Curve({0.5: 0.1, 0.2: np.inf})
    assert curve(0.5) == pytest.approx(0.1) and curve(0.2) == pytest.approx(1e6)
