"""What is stored fits the benchmarks, and the pages are what the rows say."""

import re
import subprocess

import numpy as np
import pytest

from benchmarks.runner.nets import all_nets, net_named
from benchmarks.runner.registry import named, names
from benchmarks.runner.rows import Rows
from benchmarks.runner.run import RESULTS, render
from keras_taylor.errors import BadInput, UnknownName

ROOT = RESULTS.parent.parent
BENCHMARKS = names()


def test_there_are_benchmarks():
    assert {"surgery", "scoring", "one_shot", "repair", "keras_applications"} <= set(BENCHMARKS)
    stored = {path.stem for path in RESULTS.glob("*.jsonl")} - {"environments"}
    assert stored <= set(BENCHMARKS)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_rows_fit_their_benchmark(name):
    one, rows = named(name), list(Rows(RESULTS / f"{name}.jsonl"))
    environments = {row["environment"] for row in Rows(RESULTS / "environments.jsonl")}
    for row in rows:
        assert set(one.cells) < set(row) and row["environment"] in environments
        assert one.goal is None or one.goal.met(row) in (True, False)
    cells = [tuple(row[name] for name in one.cells) for row in rows]
    assert len(set(cells)) == len(cells)
    assert all(net in all_nets() for net in one.cells.get("net", ()))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_pages_are_what_the_rows_say(name, tmp_path):
    path = render(named(name), to=tmp_path)
    if path is not None:
        assert path.read_text(encoding="utf-8") == (RESULTS / path.name).read_text(encoding="utf-8"), (
            f"python -m benchmarks render {name}"
        )


def test_nets_are_complete():
    for name, net in all_nets().items():
        assert net.title and bool(net.weights) != bool(net.builder), name
        assert net.scaled(np.zeros((1, 2, 2, 3))).shape == (1, 2, 2, 3) and net.loss in ("logits", "probabilities"), name
        assert net.judged_by in ("labels", "agreement"), name
    with pytest.raises(UnknownName, match="Did you mean 'resnet20'"):
        net_named("resnet2")


def test_nets_without_files():
    net = net_named("vgg16_noise")
    model = net.model()
    x, y = net.train(4)
    assert model.compiled and model(x).shape == (4, 10) and y.shape == (4,)
    assert not net.model(compiled=False).compiled


def test_missing_files(monkeypatch, tmp_path):
    monkeypatch.delenv("KERAS_TAYLOR_WEIGHTS", raising=False)
    monkeypatch.setenv("KERAS_TAYLOR_DATA", str(tmp_path))
    with pytest.raises(BadInput, match=r"--weights must be a folder with resnet20.keras"):
        net_named("resnet20").model()
    with pytest.raises(BadInput, match=rf"Received: '{tmp_path}'\. Pass --data DIR, or set KERAS_TAYLOR_DATA"):
        net_named("resnet20").raw("test")


def tracked(*patterns):
    done = subprocess.run(["git", "ls-files", "--", *patterns], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git repository")
    return [path for name in done.stdout.splitlines() if (path := ROOT / name).is_file()]


def test_pages_have_no_paths_of_a_machine():
    for path in tracked("docs/*.md", "docs/*.jsonl", "docs/*.json", "benchmarks/*"):
        assert not re.search(r"(/home/|/tmp/|/root/|/work/)", path.read_text(encoding="utf-8")), path
