"""What the functions of this package return. You get them from a call; plans and scores can be made by hand, too.

All of them print themselves, show themselves in notebooks, and `render("text" | "markdown" | "html")`.
"""

from keras_taylor._analyze.analysis import Analysis, AnalysisRow
from keras_taylor._analyze.locked import LockedLayer
from keras_taylor._measure.measure import Measurement
from keras_taylor._output.results import Result, StoredResult
from keras_taylor._plan.pruning_plan import PruningPlan
from keras_taylor._quantize.tflite_file import TFLiteFile
from keras_taylor._rebuild.verify import Verification
from keras_taylor._repair.attempts import Attempt, Repair
from keras_taylor._run.report import Report, Stage
from keras_taylor._run.result import PruningResult
from keras_taylor._score.scores import Scores
from keras_taylor._sweep.rows import SweepGroup, SweepRow
from keras_taylor._sweep.table import SweepTable

__all__ = [
    "Analysis",
    "AnalysisRow",
    "Attempt",
    "LockedLayer",
    "Measurement",
    "PruningPlan",
    "PruningResult",
    "Repair",
    "Report",
    "Result",
    "Scores",
    "Stage",
    "StoredResult",
    "SweepGroup",
    "SweepRow",
    "SweepTable",
    "TFLiteFile",
    "Verification",
]
