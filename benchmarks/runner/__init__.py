"""What all benchmarks share: cells, stored rows, environment, nets, processes of their own, pages, goals."""

from benchmarks.runner.measure import accuracy, fresh, interleaved, memory_rise, quartiles
from benchmarks.runner.nets import Net, net_named
from benchmarks.runner.page import Picture, Row, grouped, mean_and_deviation, table
from benchmarks.runner.registry import Benchmark, Goal, benchmark

__all__ = [
    "Benchmark",
    "Goal",
    "Net",
    "Picture",
    "Row",
    "accuracy",
    "benchmark",
    "fresh",
    "grouped",
    "interleaved",
    "mean_and_deviation",
    "memory_rise",
    "net_named",
    "quartiles",
    "table",
]
