from typing import Any

import numpy as np

from .._progress import Interrupt, ProgressBar, Watch
from .._rules import checked, COUNT
from ._eigenpairs import Eigenpairs
from ._lanczos import BlockLanczos
from ._power import Power


@checked(max_products=COUNT)
def solve(
    solver: BlockLanczos | Power,
    state: Any,
    *,
    max_products: int = 3000,
    progress: bool = True,
) -> tuple[Eigenpairs, Any]:
    """Take steps until a solver is finished, the limit is reached, or Ctrl-C is pressed.

    Steps are pure, so nothing is lost: a search can continue from the state exactly. The first
    Ctrl-C ends the search after the current step; the second raises `KeyboardInterrupt`.

    Args:
        solver: The solver, ``BlockLanczos`` or ``Power``.
        state: Its state, a ``LanczosState`` or a ``PowerState``, from ``init`` or an earlier call.
        max_products: The maximum number of products with F, including those of earlier calls.
        progress: Whether to show a progress bar.

    Returns:
        The eigenpairs, and the state to continue from.

    Raises:
        ValueError: If `max_products` is less than 1.

    Example:
        >>> import jax, jax.numpy as jnp, plenoptax as plx
        >>> solver = plx.linalg.BlockLanczos(plx.linalg.linearize(lambda x: 3 * x, jnp.ones(9)))
        >>> pairs, _ = plx.linalg.solve(solver, solver.init(key=jax.random.key(0)), progress=False)
        >>> pairs.values.round(3).tolist()
        [9.0, 9.0]
    """
    start = int(state.num_products)
    bar = ProgressBar(max_products, "product", initial=start, visible=progress)
    with bar, Interrupt() as interrupt:
        watch = Watch(bar.update, interrupt.is_set)
        return take_steps(solver, state, max_products, watch)


def take_steps(
    solver: BlockLanczos | Power, state: Any, max_products: int, watch: Watch
) -> tuple[Eigenpairs, Any]:
    """Take steps as `solve` does; report to a watch that several searches may share."""
    while not solver.is_finished(state) and state.num_products < max_products:
        new = solver.step(state)
        count = int(new.num_products - state.num_products)
        watch.report(count, {"residual": _worst(new.residuals)})
        state = new
        if watch.is_interrupted():
            break
    return solver.finish(state), state


def _worst(residuals: np.ndarray) -> float:
    finite = residuals[np.isfinite(residuals)]
    return float(finite.max()) if finite.size else float("inf")
