import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int

from .._types import PyTree
from ._lbfgs import LBFGSState


class Stage(eqx.Module):
    """The memory of a problem that has one objective after another, from coarse to fine say.

    A problem whose `AbstractProblem.start` returns one goes from stage to stage by the index that
    `AbstractProblem.advance` returns. At a change the loop starts the learning rate, L-BFGS and the
    stop rule anew, for what they have learned is of another objective, and keeps the moments of the
    gradient. The stop rule can fire in the last stage only.

    Attributes:
        index: The present stage.
        names: What to call the stages, in their order.
        inner: Whatever else the problem remembers.
    """

    index: Int[Array, ""]
    names: tuple[str, ...] = eqx.field(static=True)
    inner: PyTree = None

    @property
    def is_last(self) -> Bool[Array, ""]:
        """Whether no other stage follows."""
        return self.index == len(self.names) - 1


# What an optimizer has learned of one objective and must not apply to another.
_LEARNED = (
    LBFGSState,
    optax.ScaleByLBFGSState,
    optax.ScaleByBacktrackingLinesearchState,
    optax.ScaleByZoomLinesearchState,
    optax.ScaleByScheduleState,
    optax.contrib.ReduceLROnPlateauState,
)
_WITH_HYPERPARAMETERS = (optax.InjectHyperparamsState, optax.InjectStatefulHyperparamsState)


def restart_optimizer(
    optimizer: optax.GradientTransformationExtraArgs, state: PyTree, z: PyTree
) -> PyTree:
    """The state of an optimizer at the start of a stage: moments as they are, the rest anew."""
    fresh = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), optimizer.init(z), state)
    return _restart(fresh, state)


def _restart(fresh: PyTree, old: PyTree) -> PyTree:
    def choose(fresh: PyTree, old: PyTree) -> PyTree:
        if isinstance(old, _WITH_HYPERPARAMETERS):
            return fresh._replace(inner_state=_restart(fresh.inner_state, old.inner_state))
        return fresh if isinstance(old, _LEARNED) else old

    def is_leaf(node: PyTree) -> bool:
        return isinstance(node, _LEARNED + _WITH_HYPERPARAMETERS)

    return jax.tree.map(choose, fresh, old, is_leaf=is_leaf)
