"""What the functions of this package return: you get them from a call, and never make one yourself.

All of them print themselves, show themselves in notebooks, and `render("text" | "markdown" | "html")`.
"""

from keras_taylor._measure.measure import Measurement
from keras_taylor._output.results import Result, StoredResult
from keras_taylor._quantize.tflite_file import TFLiteFile
from keras_taylor._rebuild.verify import Verification
from keras_taylor._repair.attempts import Attempt, Repair
from keras_taylor._run.report import Stage
from keras_taylor._run.result import PruningResult
from keras_taylor._sweep.rows import SweepGroup, SweepRow
from keras_taylor._sweep.table import SweepTable

__all__ = [
    "Attempt",
    "Measurement",
    "PruningResult",
    "Repair",
    "Result",
    "Stage",
    "StoredResult",
    "SweepGroup",
    "SweepRow",
    "SweepTable",
    "TFLiteFile",
    "Verification",
]
