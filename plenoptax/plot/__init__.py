"""Figures of images, models and syntheses."""
