"""Where channels are read, and how they are silenced there."""

import numpy as np
import tensorflow as tf

from keras_taylor._trace.graph import trace
from keras_taylor._trace.read_sites import ReadSite, ReadSites
from tests import nets


def test_silencing_the_same_positions_of_all_examples():
    site = ReadSite("site", -1, np.arange(3))
    x = tf.constant(np.arange(1.0, 13.0, dtype="float32").reshape(2, 2, 3))
    expected = x.numpy() * [1, 0, 1]
    np.testing.assert_array_equal(site.silence(x, tf.constant([True, False, True])), expected)


def test_silencing_other_positions_in_each_example_of_several_rows():
    """Channels first; two rows for each of two examples. A silenced channel may be infinite."""
    site = ReadSite("site", -2, np.arange(2))
    x = np.arange(1.0, 17.0, dtype="float32").reshape(4, 2, 2)
    x[2, 1, 0] = np.inf
    kept = np.array([[False, True], [True, False]])
    expected = x.copy()
    expected[:2, 0] = expected[2:, 1] = 0
    np.testing.assert_array_equal(site.silence(tf.constant(x), tf.constant(kept)), expected)


def test_sums_of_tensors_and_of_arrays_are_the_same():
    graph = trace(nets.residual())
    sites = ReadSites(graph)
    columns = np.random.default_rng(0).normal(size=(3, len(sites.columns)))
    sums = sites.to_channels(columns)
    assert sums.shape == (3, graph.channels)
    np.testing.assert_allclose(sites.sums(tf.constant(columns)), sums, rtol=1e-12)
    assert len(sites) == len({site.name for site in sites}) == 4
    assert sites.names_where(sites.site_of == 1) == [[site.name for site in sites][1]]
