"""Models, which map an image to its representation."""

from . import features as features
from . import networks as networks
from ._frontend import LinearNonlinear as LinearNonlinear
from ._frontend import LuminanceContrastGainControl as LuminanceContrastGainControl
from ._frontend import LuminanceGainControl as LuminanceGainControl
from ._frontend import OnOff as OnOff
from ._mean_response import MeanResponse as MeanResponse
from ._naive import CenterSurround as CenterSurround
from ._naive import Gaussian as Gaussian
from ._naive import Identity as Identity
from ._naive import Linear as Linear
from ._portilla_simoncelli import PortillaSimoncelli as PortillaSimoncelli
