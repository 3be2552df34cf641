"""The public names, one import each: `__init__.py` reads them from here, and so do type checkers and editors."""

from keras_taylor import criteria as criteria
from keras_taylor import errors as errors
from keras_taylor import litert as litert
from keras_taylor import quantizers as quantizers
from keras_taylor import repairs as repairs
from keras_taylor import results as results
from keras_taylor import rules as rules
from keras_taylor import studies as studies
from keras_taylor import testing as testing
from keras_taylor._measure.bops import bops as bops
from keras_taylor._measure.measure import measure as measure
from keras_taylor._plan.constraints import Constraints as Constraints
from keras_taylor._plan.plan import plan as plan
from keras_taylor._plan.pruning_plan import PruningPlan as PruningPlan
from keras_taylor._plan.target import Target as Target
from keras_taylor._quantize.export import export_tflite as export_tflite
from keras_taylor._quantize.quantize import quantize as quantize
from keras_taylor._rebuild.rebuild import rebuild as rebuild
from keras_taylor._rebuild.verify import verify as verify
from keras_taylor._record.gate import TaylorGate as TaylorGate
from keras_taylor._record.gate import wrap as wrap
from keras_taylor._repair.repair import repair as repair
from keras_taylor._run.fit import fit_with_pruning as fit_with_pruning
from keras_taylor._run.prune import prune as prune
from keras_taylor._run.recipe import Recipe as Recipe
from keras_taylor._run.report import Report as Report
from keras_taylor._run.schedule import Schedule as Schedule
from keras_taylor._score.oracle import oracle as oracle
from keras_taylor._score.score import score as score
from keras_taylor._score.score import score_all as score_all
from keras_taylor._score.scores import Scores as Scores
from keras_taylor._sweep.sweep import sweep as sweep
from keras_taylor._sweep.table import SweepTable as SweepTable
from keras_taylor._trace.graph import ChannelGraph as ChannelGraph
from keras_taylor._trace.graph import trace as trace
from keras_taylor.criteria import Criterion as Criterion
from keras_taylor.criteria import register_criterion as register_criterion
from keras_taylor.quantizers import DynamicRange as DynamicRange
from keras_taylor.quantizers import Float16 as Float16
from keras_taylor.quantizers import Int8PTQ as Int8PTQ
from keras_taylor.quantizers import Int8QAT as Int8QAT
from keras_taylor.rules import LayerRule as LayerRule
from keras_taylor.rules import register_rule as register_rule

__version__: str
