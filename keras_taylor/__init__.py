"""keras_taylor: structured pruning for Keras 3. `import keras_taylor as kt`."""

from keras_taylor import criteria, errors, rules, studies, testing
from keras_taylor._measure.bops import bops
from keras_taylor._measure.measure import Measurement, measure
from keras_taylor._plan.constraints import Constraints
from keras_taylor._plan.plan import plan
from keras_taylor._plan.pruning_plan import PruningPlan
from keras_taylor._plan.target import Target
from keras_taylor._quantize.export import Export, export_tflite, read_note
from keras_taylor._quantize.quantize import Quantized, quantize
from keras_taylor._quantize.quantizers import DynamicRange, Float16, Float32, Int8PTQ, Int8QAT, Int16x8PTQ, Quantizer
from keras_taylor._quantize.tflite import Latency, LiteModel, compare_latency
from keras_taylor._rebuild.rebuild import rebuild
from keras_taylor._rebuild.verify import Verification, verify
from keras_taylor._record.gate import TaylorGate, wrap
from keras_taylor._repair.repair import Repair, repair
from keras_taylor._run.fit import fit_with_pruning
from keras_taylor._run.prune import prune
from keras_taylor._run.recipe import Recipe
from keras_taylor._run.report import Report
from keras_taylor._run.result import PruningResult
from keras_taylor._run.schedule import Schedule
from keras_taylor._score.oracle import oracle
from keras_taylor._score.score import score, score_all
from keras_taylor._score.scores import Scores
from keras_taylor._sweep.rows import SweepGroup, SweepRow
from keras_taylor._sweep.sweep import sweep
from keras_taylor._sweep.table import SweepTable
from keras_taylor._trace.graph import ChannelGraph, trace
from keras_taylor.criteria import Criterion, register_criterion
from keras_taylor.rules import LayerRule, PassThrough, register_rule

__version__ = "0.1.0"

__all__ = [
    "ChannelGraph",
    "Constraints",
    "Criterion",
    "DynamicRange",
    "Export",
    "Float16",
    "Float32",
    "Int8PTQ",
    "Int8QAT",
    "Int16x8PTQ",
    "Latency",
    "LayerRule",
    "LiteModel",
    "Measurement",
    "PassThrough",
    "PruningPlan",
    "PruningResult",
    "Quantized",
    "Quantizer",
    "Recipe",
    "Repair",
    "Report",
    "Schedule",
    "Scores",
    "SweepGroup",
    "SweepRow",
    "SweepTable",
    "Target",
    "TaylorGate",
    "Verification",
    "bops",
    "compare_latency",
    "criteria",
    "errors",
    "export_tflite",
    "fit_with_pruning",
    "measure",
    "oracle",
    "plan",
    "prune",
    "quantize",
    "read_note",
    "rebuild",
    "register_criterion",
    "register_rule",
    "repair",
    "rules",
    "score",
    "score_all",
    "studies",
    "sweep",
    "testing",
    "trace",
    "verify",
    "wrap",
]


def __getattr__(name: str) -> object:
    if name == "Legacy":
        return rules.Legacy  # which warns that it has another name now
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
