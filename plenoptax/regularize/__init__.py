"""Penalties on an image, to be added to the loss of a synthesis.

Each takes an image and returns a scalar; several are added up by `plenoptax.loss.WeightedSum`, and
those of several images by `SumOfFrames`. What is asked of each pixel is summed over the pixels;
what is asked of a distribution, a spectrum or a histogram, is a mean. Options of a function are set
with ``functools.partial``. Values and gradients are finite on every finite image.
"""

from ._frames import SumOfFrames as SumOfFrames
from ._pixels import allowed_range_of as allowed_range_of
from ._pixels import penalize_lp as penalize_lp
from ._pixels import penalize_nonbinary as penalize_nonbinary
from ._pixels import penalize_range as penalize_range
from ._pixels import penalize_total_variation as penalize_total_variation
from ._targets import Closeness as Closeness
from ._targets import Histogram as Histogram
from ._targets import PowerSpectrum as PowerSpectrum
