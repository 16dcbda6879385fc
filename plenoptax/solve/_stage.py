import dataclasses
import functools as ft

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
    gradient. The stop rule can end the synthesis in the last stage only.

    Attributes:
        index: The present stage.
        names: What to call the stages, in their order.
        inner: Whatever else the problem remembers.
        num_steps: Steps taken in the present stage, rejected trials included. The loop counts them.
        max_steps: The most steps that a stage takes, rejected trials included; None for no limit.
            When they are taken, the loop calls `AbstractProblem.advance`, which has to go to the
            next stage. In the last stage the limit ends a run with ``max_steps=None``.
        waits: Whether the stop rule may not yet end the last stage.
    """

    index: Int[Array, ""]
    names: tuple[str, ...] = eqx.field(static=True)
    inner: PyTree = None
    num_steps: Int[Array, ""] = dataclasses.field(
        default_factory=ft.partial(jnp.zeros, (), jnp.int32)
    )
    max_steps: Int[Array, ""] | None = None
    waits: Bool[Array, ""] = dataclasses.field(default_factory=ft.partial(jnp.zeros, (), bool))

    @property
    def is_last(self) -> Bool[Array, "..."]:
        """Whether no other stage follows."""
        return self.index == len(self.names) - 1

    @property
    def at_limit(self) -> Bool[Array, "..."]:
        """Whether the present stage has taken the most steps that a stage takes."""
        if self.max_steps is None:
            return jnp.zeros_like(self.waits)
        return self.num_steps >= self.max_steps

    @property
    def may_stop(self) -> Bool[Array, "..."]:
        """Whether the stop rule can end the synthesis here."""
        return self.is_last & ~self.waits


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
