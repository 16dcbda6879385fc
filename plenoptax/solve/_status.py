import equinox as eqx

from .._types import PyTree


class Status(eqx.Enumeration):
    """How a synthesis stands. A plateau is not success: see `Result.success`.

    Example:
        >>> import plenoptax as plx
        >>> plx.Status[plx.Status.interrupted]
        'The user interrupted the run; the state is that of the last finished step.'
    """

    running = "The synthesis has not stopped."
    plateau = (
        "The stop rule fired, or no smaller loss is found in working precision. This says that "
        "more steps of the same kind are of no use, not that the synthesis has succeeded."
    )
    step_limit = (
        "The limit on the number of steps was reached; run again to go on. Where there are stages, "
        "the report names those that are left."
    )
    nonfinite = (
        "The objective, its gradient or the moments of the optimizer were not finite; the last "
        "accepted image is kept."
    )
    interrupted = "The user interrupted the run; the state is that of the last finished step."


class NonfiniteError(ValueError):
    """The objective, its gradient or the moments of the optimizer became infinite or not a number.

    Attributes:
        result: Everything up to there. `run` leaves the tuple ``(problem, state, trace)``, the
            entry functions a `Result`.
    """

    result: PyTree
