"""Canonical computations on images: pure functions and small Modules."""
