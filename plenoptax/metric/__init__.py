"""Metrics: how far apart two images are."""
