"""What the optimizer sees: variables that stand for an image.

`Sigmoid`, `DecorrelatedColor` and `Masked` act on the image that an inner parametrization makes, by
default `Pixels`, and what holds of the outermost holds of the image. So
``Masked(mask, image, inner=Sigmoid(inner=DecorrelatedColor(inner=Fourier())))`` moves nothing
outside of the mask, stays between black and white, and descends in Fourier coefficients of three
uncorrelated colors.
"""

from ._color import DecorrelatedColor as DecorrelatedColor
from ._fourier import Fourier as Fourier
from ._masked import Masked as Masked
from ._pixels import AbstractParametrization as AbstractParametrization
from ._pixels import Pixels as Pixels
from ._pixels import Sigmoid as Sigmoid
