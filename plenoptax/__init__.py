"""Synthesize stimuli that show what a model of perception sees and what it is blind to."""

from . import data as data
from . import io as io
from . import linalg as linalg
from . import loss as loss
from . import metric as metric
from . import models as models
from . import parametrize as parametrize
from . import plot as plot
from . import process as process
from . import regularize as regularize
from . import stop as stop
from . import validate as validate
from .data import convert_float_to_int as convert_float_to_int
from .data import load_images as load_images
from .data import to_numpy as to_numpy
from .solve import AbstractProblem as AbstractProblem
from .solve import batch as batch
from .solve import Batched as Batched
from .solve import BatchedTrace as BatchedTrace
from .solve import Checkpoint as Checkpoint
from .solve import Info as Info
from .solve import init as init
from .solve import lbfgs as lbfgs
from .solve import NonfiniteError as NonfiniteError
from .solve import Record as Record
from .solve import run as run
from .solve import Solver as Solver
from .solve import Stage as Stage
from .solve import State as State
from .solve import Status as Status
from .solve import step as step
from .solve import Trace as Trace
from .synthesis import conditional_geodesic as conditional_geodesic
from .synthesis import ConditionalGeodesic as ConditionalGeodesic
from .synthesis import Detectability as Detectability
from .synthesis import Eigendistortions as Eigendistortions
from .synthesis import eigendistortions as eigendistortions
from .synthesis import equal_detectability as equal_detectability
from .synthesis import generalized_eigendistortions as generalized_eigendistortions
from .synthesis import Geodesic as Geodesic
from .synthesis import geodesic as geodesic
from .synthesis import mad_competition as mad_competition
from .synthesis import mad_competition_set as mad_competition_set
from .synthesis import MADCompetition as MADCompetition
from .synthesis import Metamer as Metamer
from .synthesis import metamer as metamer
from .synthesis import metamer_ctf as metamer_ctf
from .synthesis import MetamerCTF as MetamerCTF
from .synthesis import Objective as Objective
from .synthesis import precondition_path as precondition_path
from .synthesis import principal_distortions as principal_distortions
from .synthesis import Result as Result
from .synthesis import synthesize as synthesize


__version__ = "0.1.0"
