"""How long starting takes: `import keras_taylor` beside `import tensorflow, keras`, and the command's help and mistakes.

Each start is a fresh process; all take turns, and ratios are taken within a turn, so that a busy machine slows all alike.
Beside the clock, seconds of CPU are given, which other processes change less. Targets: an import costs at most a tenth more
than that of TensorFlow and Keras, and the command answers within half a second, on a machine that is not busy.

    python benchmarks/import_time.py
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from _common import RESULTS, ROOT, interleaved, setup, table, write

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
IMPORTS = tuple(name for name in STARTS if "keras_taylor" in name)
COMMANDS = tuple(name for name in STARTS if "keras-taylor" in name)
MOST_RATIO = 1.10
MOST_SECONDS = 0.5


def start(script: str, cpu: list[float]) -> None:
    """Run a script in a fresh process; its CPU seconds are appended to `cpu`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if "Traceback" in done.stderr:
        raise RuntimeError(done.stderr)
    cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main(
    repetitions: Annotated[int, typer.Option(min=2)] = 9,
    output: Annotated[Path, typer.Option(help="Markdown file for the table.")] = RESULTS / "import_time.md",
) -> None:
    """Time starts in fresh processes."""
    environment = setup(0)
    cpu: dict[str, list[float]] = {name: [] for name in STARTS}
    contenders = [partial(start, script, cpu[name]) for name, script in STARTS.items()]
    interleaved(1, *contenders)  # compiles, and fills the disk's cache
    for found in cpu.values():
        found.clear()
    seconds = np.array(interleaved(repetitions, *contenders))
    rows, missed = [], False
    for name, found in zip(STARTS, seconds, strict=True):
        low, middle, high = np.percentile(found, [25, 50, 75])
        ratio = float(np.median(found / seconds[0]))
        work = np.array(cpu[name])
        ok = ratio <= MOST_RATIO if name in IMPORTS else middle <= MOST_SECONDS if name in COMMANDS else None
        missed |= ok is False
        verdict = "" if ok is None else "yes" if ok else "NO"
        work_ratio = float(np.median(work / cpu[next(iter(STARTS))]))
        spread = f"{low:.2f} to {high:.2f}"
        rows.append([name, f"{middle:.2f}", spread, f"{ratio:.3f}", f"{np.median(work):.2f}", f"{work_ratio:.3f}", verdict])
    header = ["start", "seconds", "quartiles", "ratio", "CPU seconds", "ratio of CPU", "within the target"]
    text = table(header, rows)
    print(text)
    write(
        output,
        "# Starting",
        f"Fresh processes in turns: the median of {repetitions}, and the median of the ratios to `import tensorflow, keras`. "
        f"Targets: imports at most {MOST_RATIO:.2f} times as long as that, the command within {MOST_SECONDS} s.",
        text,
        f"Made by `python benchmarks/import_time.py`. {environment}.",
    )
    raise typer.Exit(int(missed))


if __name__ == "__main__":
    typer.run(main)
