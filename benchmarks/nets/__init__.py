"""Recipes for the nets that benchmarks measure: each is a command that trains one."""
