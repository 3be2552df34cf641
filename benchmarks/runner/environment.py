"""What rows are measured with: versions, the device and what it can do, threads."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import keras_taylor as kt
from benchmarks.runner.rows import Rows
from keras_taylor.litert._device import device_name


def here() -> dict[str, Any]:
    """The environment of this process."""
    gpus = [device.name for device in tf.config.list_physical_devices("GPU")]
    instructions = np.show_config(mode="dicts")["SIMD Extensions"]
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "keras_taylor": kt.__version__,
        "device": ", ".join(gpus) or f"CPU ({device_name()})",
        "instructions": " ".join([*instructions["baseline"], *instructions["found"]]),
        "threads": tf.config.threading.get_intra_op_parallelism_threads() or len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.machine()}",
    }


def text(environment: dict[str, Any]) -> str:
    """The environment in one line."""
    versions = ", ".join(f"{name} {environment[name]}" for name in ("python", "tensorflow", "keras", "keras_taylor"))
    instructions = f", {environment['instructions']}" if environment.get("instructions") else ""
    return f"{versions}; {environment['device']}{instructions}, {environment['threads']} threads; {environment['system']}"


def stored(folder: Path, environment: dict[str, Any]) -> str:
    """The short name that rows call the environment by; its description is stored once for all of them."""
    name = hashlib.sha256(json.dumps(environment, sort_keys=True).encode()).hexdigest()[:8]
    rows = Rows(folder / "environments.jsonl")
    if rows.of({"environment": name}) is None:
        rows.put({"environment": name}, environment)
    return name


def described(folder: Path, names: set[str]) -> list[str]:
    """The environments of these short names, in one line each."""
    return [text(row) for row in Rows(folder / "environments.jsonl") if row["environment"] in names]
