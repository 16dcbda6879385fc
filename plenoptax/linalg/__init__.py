"""Operators and eigensolvers; nothing here knows of images."""

from ._eigenpairs import Eigenpairs as Eigenpairs
from ._eigenpairs import EigenStatus as EigenStatus
from ._eigenpairs import exact as exact
from ._lanczos import BlockLanczos as BlockLanczos
from ._lanczos_state import LanczosState as LanczosState
from ._noise import AbstractNoise as AbstractNoise
from ._noise import GaussianNoise as GaussianNoise
from ._noise import MetricNoise as MetricNoise
from ._noise import PoissonNoise as PoissonNoise
from ._operator import fisher as fisher
from ._operator import fisher_matrix as fisher_matrix
from ._operator import jacobian as jacobian
from ._operator import linearize as linearize
from ._operator import LinearMap as LinearMap
from ._power import Power as Power
from ._power import PowerState as PowerState
from ._power import randomized_svd as randomized_svd
from ._solve import solve as solve
from ._subspace import AbstractSubspace as AbstractSubspace
from ._subspace import Complement as Complement
from ._subspace import complement as complement
from ._subspace import Linear as Linear
from ._subspace import mask as mask
from ._subspace import Window as Window
from ._subspace import window as window
