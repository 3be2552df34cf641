"""Settings of the test suite: `--large`, fixed seeds, a quiet TensorFlow."""

import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Small nets: threads cost more than they bring, and several processes test at once.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ["COLUMNS"] = "120"  # tables as wide as where there is no terminal

import keras
import pytest


def pytest_addoption(parser):
    parser.addoption("--large", action="store_true", help="also run the heavier checks")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--large"):
        for item in items:
            if "large" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="needs --large"))


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True, scope="module")
def fresh_names():
    keras.backend.clear_session()
    yield
    keras.backend.clear_session()
    gc.freeze()  # what is left stays: the collector, which took a third of the time, need not look at it again
