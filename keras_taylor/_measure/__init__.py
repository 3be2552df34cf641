"""Measure: clocks, bits, and latency as a budget."""
