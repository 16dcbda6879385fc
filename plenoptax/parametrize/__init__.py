"""Parametrizations: the variables of the optimizer that represent an image.

`Sigmoid`, `DecorrelatedColor` and `Masked` act on the image that an inner parametrization makes, by
default `Pixels`. The outermost parametrization determines the properties of the image. So
``Masked(mask, image, inner=Sigmoid(inner=DecorrelatedColor(inner=Fourier())))`` changes nothing
outside the mask, stays between black and white, and optimizes Fourier coefficients of three
uncorrelated colors.
"""

from ._color import DecorrelatedColor as DecorrelatedColor
from ._fourier import FixedSpectrum as FixedSpectrum
from ._fourier import Fourier as Fourier
from ._masked import Masked as Masked
from ._pixels import AbstractParametrization as AbstractParametrization
from ._pixels import Pixels as Pixels
from ._pixels import Sigmoid as Sigmoid
