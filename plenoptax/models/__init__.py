"""Models, which map an image to its representation."""

from . import features as features
from . import networks as networks
from ._color_portilla_simoncelli import ColorPortillaSimoncelli as ColorPortillaSimoncelli
from ._frontend import LinearNonlinear as LinearNonlinear
from ._frontend import LuminanceContrastGainControl as LuminanceContrastGainControl
from ._frontend import LuminanceGainControl as LuminanceGainControl
from ._frontend import OnOff as OnOff
from ._gram_matrices import GramMatrices as GramMatrices
from ._mean_response import MeanResponse as MeanResponse
from ._naive import CenterSurround as CenterSurround
from ._naive import Gaussian as Gaussian
from ._naive import Identity as Identity
from ._naive import Linear as Linear
from ._pooled import PooledEnergy as PooledEnergy
from ._pooled import PooledLuminance as PooledLuminance
from ._pooled_portilla_simoncelli import PooledPortillaSimoncelli as PooledPortillaSimoncelli
from ._portilla_simoncelli import PortillaSimoncelli as PortillaSimoncelli
from ._texture_statistics import AbstractStatisticGroups as AbstractStatisticGroups
from ._texture_statistics import AbstractTextureStatistics as AbstractTextureStatistics
from ._windows import AbstractPoolingWindows as AbstractPoolingWindows
from ._windows import DenseWindows as DenseWindows
from ._windows import grid_windows as grid_windows
from ._windows import log_polar_windows as log_polar_windows
from ._windows import LogPolarWindows as LogPolarWindows
from ._windows import uniform_window as uniform_window
