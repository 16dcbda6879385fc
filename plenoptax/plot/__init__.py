"""Figures of images, models and syntheses."""

from ._imshow import imshow as imshow
