"""Losses: distances between the representations of two images.

Each takes the synthesized representation, then the reference representation, and returns a scalar.
A representation is an array of any shape, or a pytree of arrays. The two must agree in structure
and shapes (``ValueError``: nothing is broadcast) and be of floating point (``TypeError``). Where a
loss is zero its gradient is exactly 0, even if the derivative does not exist in the strict sense.
"""

from ._combined import SoftMaximum as SoftMaximum
from ._combined import WeightedSum as WeightedSum
from ._combined import ZScored as ZScored
from ._differences import l2_norm as l2_norm
from ._differences import mse as mse
from ._differences import relative_sse as relative_sse
from ._weighted import groupwise_relative_l2_norm_factory as groupwise_relative_l2_norm_factory
from ._weighted import portilla_simoncelli_loss_factory as portilla_simoncelli_loss_factory
from ._weighted import WeightedL2Norm as WeightedL2Norm
from ._whitened import whitened_loss_factory as whitened_loss_factory
from ._whitened import WhitenedLoss as WhitenedLoss
