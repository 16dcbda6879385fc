"""Benchmarks of plenoptax beside plenoptic."""
