"""Prints the peak memory of one criterion: what `_cost.peaks_of` starts in a process of its own, with FOLDER and LABEL."""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np

from keras_taylor.studies._cost import peak
from keras_taylor.studies._obd import CRITERIA

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with np.load(folder / "data.npz") as arrays:
        print(peak(keras.models.load_model(folder / "model.keras"), CRITERIA[sys.argv[2]], arrays["x"], arrays["y"]))
