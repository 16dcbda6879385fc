"""The loop that every method of synthesis shares."""

from ._amsgrad import amsgrad as amsgrad
from ._batch import batch as batch
from ._batch import Batched as Batched
from ._checkpoint import Checkpoint as Checkpoint
from ._lbfgs import lbfgs as lbfgs
from ._lbfgs import LBFGSState as LBFGSState
from ._problem import AbstractProblem as AbstractProblem
from ._record import Record as Record
from ._run import run as run
from ._solver import Solver as Solver
from ._stage import Stage as Stage
from ._state import Info as Info
from ._state import init as init
from ._state import State as State
from ._status import NonfiniteError as NonfiniteError
from ._status import Status as Status
from ._step import step as step
from ._trace import BatchedTrace as BatchedTrace
from ._trace import Trace as Trace
