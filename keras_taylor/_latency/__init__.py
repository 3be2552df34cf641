"""Latency as a budget: what LiteRT needs for each part of a net, measured once per device."""
