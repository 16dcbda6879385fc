"""Models: from an image to its representation."""

from ._naive import Gaussian as Gaussian
from ._naive import Identity as Identity
from ._portilla_simoncelli import PortillaSimoncelli as PortillaSimoncelli
