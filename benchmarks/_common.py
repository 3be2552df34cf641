"""What the benchmarks share: the set-up they print, images, timing, and Markdown tables."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import json
import platform
import resource
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import keras_taylor as kt

tf.get_logger().setLevel("ERROR")
ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
RESULTS = DOCS / "results"
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def setup(seed: int) -> str:
    """Seed everything, and print what the numbers were measured with; the text also goes into the results."""
    keras.utils.set_random_seed(seed)
    threads = tf.config.threading.get_intra_op_parallelism_threads() or len(os.sched_getaffinity(0))
    device = ", ".join(d.name for d in tf.config.list_physical_devices("GPU")) or f"CPU ({_cpu()})"
    text = (
        f"seed {seed}; python {platform.python_version()}, tensorflow {tf.__version__}, keras {keras.__version__}, "
        f"keras_taylor {kt.__version__}; {device}, {threads} threads; {platform.system()} {platform.machine()}"
    )
    print(text, flush=True)
    return text


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def images(path: Path) -> dict[str, Any]:
    """The arrays `x_train`, `y_train`, `x_test`, `y_test` of an .npz file: uint8 images and integer labels."""
    with np.load(path) as archive:
        return {name: archive[name] for name in ("x_train", "y_train", "x_test", "y_test")}


def normalise(x: Any, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> Any:
    """`(x / 255 - mean) / std` in float32."""
    return ((np.asarray(x, "float32") / 255 - np.float32(mean)) / np.float32(std)).astype("float32")


def loss_for(model: Any, x: Any) -> Any:
    """Cross-entropy for the logits, or the probabilities, that the model puts out."""
    out = model.predict(x[:64], verbose=0)
    probabilities = bool((out >= 0).all() and np.allclose(out.sum(-1), 1, atol=1e-3))
    print(f"the model puts out {'probabilities' if probabilities else 'logits'}")
    return keras.losses.SparseCategoricalCrossentropy(from_logits=not probabilities)


def accuracy(model: Any, x: Any, y: Any, batch_size: int = 256) -> float:
    """Share of images whose largest output is the label's."""
    return float((model.predict(x, batch_size=batch_size, verbose=0).argmax(-1) == np.ravel(y)).mean())


def interleaved(repetitions: int, *contenders: Callable[[], Any]) -> list[list[float]]:
    """Seconds of each contender, run in turns (A B A B ...) so that a busy machine slows all of them alike."""
    seconds: list[list[float]] = [[] for _ in contenders]
    for _ in range(repetitions):
        for contender, found in zip(contenders, seconds, strict=True):
            start = time.perf_counter()
            contender()
            found.append(time.perf_counter() - start)
    return seconds


def status(field: str) -> float:
    """A field of /proc/self/status in MB, or the peak where there is no such file."""
    path = Path("/proc/self/status")
    if not path.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    line = next(line for line in path.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024


def forget_peak() -> None:
    """Start to measure `VmHWM` anew, where that is possible."""
    refs = Path("/proc/self/clear_refs")
    if refs.exists():
        refs.write_text("5")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; the first column is left-aligned, the others right."""
    lines = [" | ".join(header), " | ".join(["---", *["---:"] * (len(header) - 1)])]
    lines += [" | ".join(str(cell) for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def write(path: Path, *parts: str) -> None:
    """Write paragraphs to a Markdown file, and say so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    part.replace(path)
    print(f"wrote {path.name}", flush=True)


def store(path: Path, record: Any) -> None:
    """Write JSON in one go: a script that is stopped loses nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(record, indent=1), encoding="utf-8")
    part.replace(path)


def stored(path: Path) -> Any:
    """What `store` wrote, or no rows."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rows": []}
