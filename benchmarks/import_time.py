"""How long starting takes: `import keras_taylor` beside `import tensorflow, keras`, and the command's help and mistakes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.runner import Goal, Row, benchmark, interleaved, table

ROOT = Path(__file__).parent.parent
COMMAND = "import sys; sys.argv = ['keras-taylor', {}]; from keras_taylor._cli.app import app; app()"
MISTAKE = "'sweep', '--model', 'README.md', '--data', 'digits', '--output', 'out', '--criterion', 'taylr'"
ALL = "[getattr(keras_taylor, name) for name in keras_taylor.__all__]"
# What is shown -> what a process runs; the first one is what the others are compared with.
STARTS = {
    "`import tensorflow, keras`": "import tensorflow, keras",
    "`import keras_taylor`": "import keras_taylor",
    "`import keras_taylor; keras_taylor.prune`": "import keras_taylor; keras_taylor.prune",
    "`import keras_taylor`, and every public name": f"import keras_taylor; {ALL}",
    "`import tensorflow, keras, keras_taylor`": "import tensorflow, keras, keras_taylor",
    "`keras-taylor --help`": COMMAND.format("'--help'"),
    "`keras-taylor sweep --help`": COMMAND.format("'sweep', '--help'"),
    "`keras-taylor sweep --criterion taylr ...`": COMMAND.format(MISTAKE),
    "`python -c pass`": "pass",
}
MOST_RATIO = 1.10
MOST_SECONDS = 0.5


def within(row: Row, name: str) -> bool | None:
    """Whether a start is within its target; None where it has none."""
    found = row["starts"][name]
    if "keras_taylor" in name:
        return bool(found["ratio"] <= MOST_RATIO)
    return bool(found["median"] <= MOST_SECONDS) if "keras-taylor" in name else None


GOAL = Goal(
    f"imports at most {MOST_RATIO:.2f} times as long, the command within {MOST_SECONDS} s",
    lambda row: all(within(row, name) is not False for name in row["starts"]),
)


def page(rows: list[Row]) -> list[str]:
    """One line for each start."""
    header = ["start", "seconds", "quartiles", "ratio", "CPU seconds", "ratio of CPU", "within the target"]
    lines = []
    for name, found in rows[-1]["starts"].items():
        verdict = {None: "", True: "yes", False: "NO"}[within(rows[-1], name)]
        spread = f"{found['low']:.2f} to {found['high']:.2f}"
        work = (f"{found['cpu']:.2f}", f"{found['cpu_ratio']:.3f}")
        lines.append([name, f"{found['median']:.2f}", spread, f"{found['ratio']:.3f}", *work, verdict])
    return [table(header, lines)]


def start(script: str, cpu: list[float]) -> None:
    """Run a script in a fresh process; its CPU seconds are appended to `cpu`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if "Traceback" in done.stderr:
        raise RuntimeError(done.stderr)
    cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


@benchmark("import_time", cells={"repetitions": (9,)}, goal=GOAL, page=page)
def import_time(repetitions: int) -> Row:
    """How long starting takes.

    Fresh processes in turns: medians over the repetitions, and the median of the ratios to `import tensorflow, keras` within a
    turn, so that a busy machine slows all alike. Beside the clock, seconds of CPU, which other processes change less. Targets:
    imports at most 1.10 times as long as TensorFlow and Keras alone, the command within half a second.
    """
    cpu: dict[str, list[float]] = {name: [] for name in STARTS}
    contenders = [partial(start, script, cpu[name]) for name, script in STARTS.items()]
    interleaved(1, *contenders)  # compiles, and fills the disk's cache
    for found in cpu.values():
        found.clear()
    seconds = np.array(interleaved(repetitions, *contenders))
    first = np.array(cpu[next(iter(STARTS))])
    starts = {}
    for name, found in zip(STARTS, seconds, strict=True):
        low, median, high = np.percentile(found, [25, 50, 75]).tolist()
        work = np.array(cpu[name])
        ratios = {"ratio": float(np.median(found / seconds[0])), "cpu_ratio": float(np.median(work / first))}
        starts[name] = {"low": low, "median": median, "high": high, "cpu": float(np.median(work)), **ratios}
    return {"starts": starts}
