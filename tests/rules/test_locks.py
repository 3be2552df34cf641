"""Reasons of locks: a closed set of kinds, and texts that can be read."""

import ast
import copy
import pickle

import keras
import numpy as np
import pytest

import keras_taylor as kt
from keras_taylor.rules import Lock, LockReason, registered
from tests.layout import PACKAGE

layers = keras.layers


def calls_of(method, path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == method
    ]


def kinds(call):
    return [
        node for node in ast.walk(call) if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "LockReason"
    ]


def test_every_lock_of_this_package_says_its_kind():
    paths = [path for path in (*(PACKAGE / "rules").glob("*.py"), PACKAGE / "_trace" / "graph.py") if path.stem != "_base"]
    found = [call for path in paths for method in ("refuse", "lock") for call in calls_of(method, path)]
    assert len(found) >= 27
    assert [ast.unparse(call) for call in found if len(kinds(call)) != 1 or kinds(call)[0].attr == "OTHER"] == []


def test_every_lock_in_the_examples_has_a_kind():
    seen = set()
    for rule in dict.fromkeys(registered().values()):
        for model in rule.examples():
            locks = kt.trace(model).locks
            assert all(isinstance(lock, Lock) for lock in locks if lock)
            seen |= {lock.reason for lock in locks if lock}
    assert {LockReason.MODEL_INPUT, LockReason.MODEL_OUTPUT, LockReason.MIXES_CHANNELS, LockReason.CONSTANT} <= seen
    assert LockReason.OTHER not in seen


@pytest.fixture
def graph():
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Softmax(name="mixer")(layers.Conv2D(6, 3, name="before")(x))
    x = layers.Conv2D(4, 1, name="free")(x)
    y = layers.GroupNormalization(2, name="unknown")(layers.Conv2D(4, 1, name="normed")(x))
    return kt.trace(keras.Model(inputs, [layers.Dense(2, name="a")(x), layers.Dense(2, name="b")(y)]))


def test_texts_stay_texts(graph):
    assert graph.locked["before"] == "mixer (Softmax) mixes the channels"
    assert graph.locked["normed"] == "unknown (GroupNormalization) has no rule"
    assert graph.locked["a"] == "model output"
    assert "mixer (Softmax) mixes the channels" in str(graph)
    assert "free" not in graph.locked


def test_locks_are_grouped_by_their_kind(graph):
    assert graph.locked["normed"].reason is LockReason.NO_RULE
    assert graph.locked_by_reason == {
        LockReason.MIXES_CHANNELS: ("before",),
        LockReason.NO_RULE: ("normed",),
        LockReason.MODEL_OUTPUT: ("b", "a"),  # in the order in which the graph lists them
    }
    outputs = [lock for lock in graph.locks if lock and lock.reason is LockReason.MODEL_OUTPUT]
    assert len(outputs) == 4


def test_a_rule_of_yours_may_give_a_text_alone(monkeypatch):
    monkeypatch.setattr(type(registered()[layers.Softmax]), "trace", lambda self, call, labels: labels.refuse(call, "is odd"))
    graph = kt.trace(
        keras.Sequential([keras.Input((4,)), layers.Dense(3, name="a"), layers.Softmax(name="s"), layers.Dense(2)])
    )
    assert graph.locked["a"] == "s (Softmax) is odd"
    assert graph.locked["a"].reason is LockReason.OTHER


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda lock: pickle.loads(pickle.dumps(lock))])
def test_locks_survive_copies(duplicate):
    twin = duplicate(Lock("model output", LockReason.MODEL_OUTPUT))
    assert twin == "model output" and twin.reason is LockReason.MODEL_OUTPUT


def test_arrays_of_locks_compare_like_strings():
    locks = np.array([Lock("model output", LockReason.MODEL_OUTPUT), ""], object)
    assert (locks == "").tolist() == [False, True]
