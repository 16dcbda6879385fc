"""Penalties on an image, which are added to the loss of a synthesis.

Each takes an image and returns a scalar. `plenoptax.loss.WeightedSum` adds several penalties, and
`SumOfFrames` adds the penalties of several images. A penalty on each pixel is a sum over the
pixels; a penalty on a distribution, a spectrum or a histogram, is a mean. Set options of a function
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
