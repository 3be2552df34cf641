"""The runner on a benchmark of three lines: cells, resuming, goals, pages, processes of their own."""

import json
import os
import weakref

import keras
import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.runner import Goal, benchmark, fresh, interleaved, memory_rise, quartiles, registry
from benchmarks.runner.cells import cells_of, commands, parsed
from benchmarks.runner.page import grouped, mean_and_deviation, shown, table
from benchmarks.runner.registry import named
from benchmarks.runner.rows import Rows
from benchmarks.runner.run import forget_models, render, run
from keras_taylor.errors import BadInput, UnknownName

CALLS, FORGOTTEN = [], []


@pytest.fixture
def toy(monkeypatch):
    registry.names()  # registers all, so that none is registered in the copy alone
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    # It takes a second in a process with many models, and there are many cells.
    monkeypatch.setattr("benchmarks.runner.run.forget_models", lambda: FORGOTTEN.append(len(CALLS)))
    CALLS.clear()
    FORGOTTEN.clear()

    @benchmark(
        "toy",
        cells={"net": ("a", "b"), "share": (0.9, 0.5), "seed": (0, 1)},
        goal=Goal("at least 0.6", lambda row: row["accuracy"] >= 0.6),
    )
    def toy(net, share, seed):
        """A toy.

        It measures
        nothing.
        """
        CALLS.append((net, share, seed))
        return {"accuracy": np.float32(share), "drawn": float(np.random.random()), "macs": np.int64(1000)}

    return named("toy")


def test_cells_are_all_combinations(toy):
    cells = cells_of(toy, {"net": ["b"]})
    assert cells == [{"net": "b", "share": share, "seed": seed} for share in (0.9, 0.5) for seed in (0, 1)]
    assert cells_of(toy, {}, ["a", "seed=1"]) == [{"net": "a", "share": share, "seed": 1} for share in (0.9, 0.5)]
    with pytest.raises(BadInput, match=r"--only must name values of toy. Received: c"):
        cells_of(toy, {}, ["c"])


def test_arguments_have_the_type_of_the_values(toy):
    assert parsed(toy, "share", "0.5") == 0.5 and parsed(toy, "net", "0.5") == "0.5" and parsed(toy, "seed", "3") == 3
    with pytest.raises(BadInput, match=r"--seed must be of type int. Received: '0.5'"):
        parsed(toy, "seed", "0.5")


def test_the_arguments_of_a_benchmark_are_its_cell(toy):
    with pytest.raises(TypeError, match="must be the names of its cells"):
        benchmark("other", cells={"a": (1,)})(lambda b: {})


def test_what_is_stored_is_not_measured_again(toy, tmp_path):
    cells = cells_of(toy, {"net": ["a"]})
    run(toy, cells[:1], tmp_path)
    assert CALLS == [("a", 0.9, 0)]
    run(toy, cells, tmp_path)
    assert CALLS == [("a", 0.9, 0), ("a", 0.9, 1), ("a", 0.5, 0), ("a", 0.5, 1)]
    assert FORGOTTEN == [0, 1, 2, 3]  # before each cell
    before = (tmp_path / "toy.jsonl").read_text()
    run(toy, cells[:1], tmp_path, again=True)
    assert len(CALLS) == 5 and (tmp_path / "toy.jsonl").read_text() == before  # the same seed, in the same place


def test_one_row_a_line(toy, tmp_path):
    run(toy, cells_of(toy, {}), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "toy.jsonl").read_text().splitlines()]
    assert len(lines) == 8
    row = lines[2]
    assert (row["net"], row["share"], row["seed"], row["accuracy"], row["macs"]) == ("a", 0.5, 0, 0.5, 1000)
    (environment,) = [json.loads(line) for line in (tmp_path / "environments.jsonl").read_text().splitlines()]
    assert row["environment"] == environment["environment"] and environment["tensorflow"] and environment["threads"] >= 1
    drawn = {(row["seed"], row["drawn"]) for row in lines}
    assert len(drawn) == 2  # one draw for each seed: every cell starts from its seed


def test_models_of_the_cell_before_are_gone():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    name, alive = model.name, weakref.ref(model)
    model.itself = model  # a cycle, as Keras makes them
    del model
    forget_models()
    assert alive() is None and keras.Sequential().name == name


def test_a_stopped_run_keeps_what_it_has(toy, tmp_path, monkeypatch):
    cells = cells_of(toy, {"net": ["a"]})
    measured = toy.measure

    def stopping(**cell):
        if len(CALLS) == 2:
            raise KeyboardInterrupt
        return measured(**cell)

    monkeypatch.setitem(toy.__dict__, "measure", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(toy, cells, tmp_path)
    assert len(Rows(tmp_path / "toy.jsonl")) == 2


def test_rows_that_cannot_be_stored(toy, tmp_path):
    rows = Rows(tmp_path / "rows.jsonl")
    with pytest.raises(ValueError, match="not JSON compliant"):
        rows.put({"a": 1}, {"b": float("nan")})
    with pytest.raises(TypeError, match="A row must hold JSON values"):
        rows.put({"a": 1}, {"b": object()})
    (tmp_path / "broken.jsonl").write_text("{\n")
    with pytest.raises(BadInput, match=r"broken.jsonl must hold one JSON object a line"):
        Rows(tmp_path / "broken.jsonl")


def test_goals_decide_the_exit_code(toy, tmp_path, capsys):
    folder = ["--results", str(tmp_path)]
    assert main(["run", "toy", "--share", "0.9", "0.7", "--seeds", "1", *folder]) == 0
    assert main(["run", "toy", "--net", "a", *folder]) == 1
    assert "missed: at least 0.6: net a, share 0.5, seed 0" in capsys.readouterr().err
    assert {row["share"] for row in Rows(tmp_path / "toy.jsonl")} == {0.9, 0.7, 0.5}


def test_mistakes_in_the_arguments(toy, tmp_path, capsys):
    assert main(["run", "tou", "--results", str(tmp_path)]) == 1
    assert "A benchmark must be a known name. Received: 'tou'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["run", "toy", "--color", "red"])
    with pytest.raises(SystemExit):
        main(["list", "--color", "red"])


def test_folders_reach_the_processes_of_a_benchmark(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_TAYLOR_WEIGHTS", "before")
    main(["run", "toy", "--only", "a", "share=0.9", "--weights", str(tmp_path), "--results", str(tmp_path)])
    assert os.environ["KERAS_TAYLOR_WEIGHTS"] == str(tmp_path)


def test_the_page_is_made_from_the_rows(toy, tmp_path, capsys):
    run(toy, cells_of(toy, {"net": ["a"]}), tmp_path)
    text = (tmp_path / "toy.md").read_text()
    assert text.startswith("# A toy\n\nIt measures nothing.\n\nIn all rows: net a.\n\n| share | seed | accuracy |")
    assert "| 0.9 | 0 | 0.9 |" in text and "| at least 0.6 |" in text and "1,000 | no |" in text
    assert "Made by `python -m benchmarks run toy --net a`." in text
    (tmp_path / "toy.md").unlink()
    assert main(["render", "toy", "--results", str(tmp_path)]) == 0
    assert (tmp_path / "toy.md").read_text() == text
    assert render(toy, tmp_path / "nothing") is None


def test_the_command_for_some_rows(toy):
    rows = cells_of(toy, {"seed": [0, 1, 2]})
    assert commands(toy, rows) == ["python -m benchmarks run toy --seeds 3"]
    assert commands(toy, [row for row in rows if row["share"] == 0.5]) == ["python -m benchmarks run toy --share 0.5 --seeds 3"]
    ragged = [row for row in rows if row["net"] == "a" or row["seed"] == 2]
    assert commands(toy, ragged) == [
        "python -m benchmarks run toy --net a --seeds 3",
        "python -m benchmarks run toy --net b --seed 2",
    ]


def test_cells_of_tables():
    assert [shown(one) for one in (None, True, 12345, 0.123456, "a")] == ["", "yes", "12,345", "0.1235", "a"]
    assert table(["a", "b"], [[1, "x|y"]]) == "| a | b |\n| --- | ---: |\n| 1 | x\\|y |"
    assert mean_and_deviation([1.0, 2.0, 3.0]) == "2.000 ± 1.000"
    assert mean_and_deviation([1.0, 1.0]) == "1.000" and mean_and_deviation([]) == ""
    rows = [{"a": 1, "b": 2}, {"a": 2, "b": 2}, {"a": 1, "b": 3}]
    assert grouped(rows, "a") == [(1, [rows[0], rows[2]]), (2, [rows[1]])]
    assert [key for key, _ in grouped(rows, "a", "b")] == [(1, 2), (2, 2), (1, 3)]


def test_clocks():
    order = []
    seconds = interleaved(3, lambda: order.append("a"), lambda: order.append("b"))
    assert order == ["a", "b"] * 3 and seconds.shape == (2, 3) and (seconds >= 0).all()
    assert quartiles([1.0, 2.0, 3.0]) == {"ratio": 2.0, "low": 1.5, "high": 2.5}


def test_memory_is_measured():
    assert 100 < memory_rise(lambda: np.ones(2**24).sum()) < 200  # 128 MB


def test_a_process_of_its_own():
    assert fresh(os.getpid) != os.getpid()
    with pytest.raises(FileNotFoundError):
        fresh(os.listdir, "no such folder")


def test_unknown_names():
    with pytest.raises(UnknownName, match="Did you mean 'repair'"):
        named("repare")
