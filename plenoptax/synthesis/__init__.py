"""Methods of synthesis, one problem and one entry function each."""

from ._metamer import Metamer as Metamer
from ._metamer import metamer as metamer
from ._result import Result as Result
