"""keras_taylor: structured pruning for Keras 3. `import keras_taylor as kt`."""

from keras_taylor import criteria, errors, litert, quantizers, studies, testing
from keras_taylor._measure.bops import bops
from keras_taylor._measure.measure import Measurement, measure
from keras_taylor._plan.constraints import Constraints
from keras_taylor._plan.plan import plan
from keras_taylor._plan.pruning_plan import PruningPlan
from keras_taylor._plan.target import Target
from keras_taylor._quantize.export import export_tflite
from keras_taylor._quantize.quantize import quantize
from keras_taylor._quantize.tflite_file import TFLiteFile
from keras_taylor._rebuild.rebuild import rebuild
from keras_taylor._rebuild.verify import Verification, verify
from keras_taylor._record.gate import TaylorGate, wrap
from keras_taylor._repair.repair import Repair, repair
from keras_taylor._run.fit import fit_with_pruning
from keras_taylor._run.prune import PruningResult, prune
from keras_taylor._run.report import Report
from keras_taylor._run.schedule import Schedule
from keras_taylor._score.oracle import Oracle, oracle
from keras_taylor._score.score import score, score_all
from keras_taylor._score.scores import Scores
from keras_taylor._sweep.rows import SweepGroup, SweepRow
from keras_taylor._sweep.sweep import sweep
from keras_taylor._sweep.table import SweepTable
from keras_taylor._trace.graph import ChannelGraph, trace
from keras_taylor.criteria import Criterion, register_criterion
from keras_taylor.litert import Latency, LiteModel, compare_latency, read_note
from keras_taylor.quantizers import DynamicRange, Float16, Float32, Int8PTQ, Int8QAT, Int16x8PTQ, Quantizer
from keras_taylor.rules import LayerRule, Legacy, PassThrough, register_rule

__version__ = "0.1.0"

__all__ = [
    "ChannelGraph",
    "Constraints",
    "Criterion",
    "DynamicRange",
    "Float16",
    "Float32",
    "Int8PTQ",
    "Int8QAT",
    "Int16x8PTQ",
    "Latency",
    "LayerRule",
    "Legacy",
    "LiteModel",
    "Measurement",
    "Oracle",
    "PassThrough",
    "PruningPlan",
    "PruningResult",
    "Quantizer",
    "Repair",
    "Report",
    "Schedule",
    "Scores",
    "SweepGroup",
    "SweepRow",
    "SweepTable",
    "TFLiteFile",
    "Target",
    "TaylorGate",
    "Verification",
    "bops",
    "compare_latency",
    "criteria",
    "errors",
    "export_tflite",
    "fit_with_pruning",
    "litert",
    "measure",
    "oracle",
    "plan",
    "prune",
    "quantize",
    "quantizers",
    "read_note",
    "rebuild",
    "register_criterion",
    "register_rule",
    "repair",
    "score",
    "score_all",
    "studies",
    "sweep",
    "testing",
    "trace",
    "verify",
    "wrap",
]
