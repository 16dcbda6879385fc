"""Metrics: how far apart two images are."""

from ._naive import mse as mse
from ._ssim import ssim as ssim
from ._ssim import ssim_distance as ssim_distance
from ._ssim import ssim_map as ssim_map
