"""Synthesize stimuli that show what a model of perception sees and what it is blind to."""

__version__ = "0.1.0"
