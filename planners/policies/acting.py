"""A planner that does not plan: it does what a policy says."""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Num, PRNGKeyArray

from ...dynamics.base import Model, State
from ...dynamics.pytrees import pytree, static
from ...dynamics.spaces import ActionSpace
from ..beliefs.protocol import Plan
from ..checks import binding, check_own_belief, check_unconstrained, fresh
from ..info import Info, info_row


@runtime_checkable
class Acting(Protocol):
    """A policy that says what to do without noise, as those of `mirrax.learning` do."""

    def sample(self, key: PRNGKeyArray, state: State) -> Num[Array, "*a"]:
        """Draw an action, [A], on the scale of plans, or an integer."""
        ...

    def mode(self, state: State) -> Num[Array, "*a"]:
        """What to do without noise."""
        ...


@runtime_checkable
class _Bound(Protocol):
    """A policy that is bound to a model."""

    def init(self, model: Model, state: State) -> Any:
        """The policy for a model, or a `ValueError` if it does not fit."""
        ...


@pytree
class Acted:
    """The action that a policy says, as a plan of one step.

    Attributes:
        plan: [1, A], or [1] of discrete actions.
    """

    plan: Plan

    def mode(self) -> Plan:
        """The plan to execute."""
        return self.plan

    def best(self) -> Plan:
        """The same: no plan was tried."""
        return self.plan


@pytree
class PolicyController:
    """Does what a policy says, and imagines nothing. Make one with `planners.controller`.

    Attributes:
        policy: π(a|s).
        execute: "mode", or "sample".
    """

    policy: Acting
    execute: str = static()

    @property
    def name(self) -> str:
        """For errors and reports."""
        return "controller"

    @property
    def horizon(self) -> int:
        """The number of steps, 1."""
        return 1

    def init(self, model: Model, state: State) -> Acted:
        """What the policy says of this state.

        Raises:
            ValueError: if the policy does not fit the model, or that has constraints.
        """
        with binding(self.name, model, state) as space:
            check_unconstrained(model)
            if isinstance(self.policy, _Bound):
                self.policy.init(model, state)
            action = jnp.asarray(self.policy.mode(state))
            _check_action(action, space)
            action = jnp.where(jnp.isfinite(action).all(), action, space.zeros())
            return fresh(Acted(action.astype(space.zeros().dtype)[None]))

    def improve(self, model: Model, key: PRNGKeyArray, state: State, belief: Acted) -> tuple[Acted, Info]:
        """What the policy says of this state, whatever was believed before; nothing is tried.

        Where that is not finite, it does what it did before.

        Raises:
            ValueError: if `belief` is not of the structure and shapes that `init` gives.
        """
        check_own_belief(self, model, state, belief)
        action = self._said(key, state)
        finite = jnp.isfinite(action).all()
        action = jnp.where(finite, action, belief.plan[0])  # what was done before, rather than no number
        row = info_row(
            best_return=jnp.full((), -jnp.inf),
            num_invalid=(~finite).astype(float),
            degenerate=(~finite).astype(float),
        )
        return Acted(jnp.asarray(action, belief.plan.dtype)[None]), jax.tree.map(lambda leaf: leaf[None], row)

    def act(self, key: PRNGKeyArray, belief: Acted) -> Num[Array, "*a"]:
        """The action."""
        return belief.plan[0]

    def actions(self, key: PRNGKeyArray, belief: Acted, times: Any) -> Num[Array, "n *a"]:
        """The same action at all times, [n]."""
        return jnp.broadcast_to(belief.plan, (len(times), *belief.plan.shape[1:]))

    def respond(self, model: Model, key: PRNGKeyArray, state: State, belief: Any, time: Any) -> Num[Array, "*a"]:
        """What the policy says of the state that is there then."""
        action = self._said(key, state)
        return jnp.where(jnp.isfinite(action).all(), action, belief.plan[0])

    def shift(self, belief: Acted, steps: Any = 1) -> Acted:
        """The same, until the policy is asked again."""
        return fresh(belief)

    def _said(self, key: PRNGKeyArray, state: State) -> Num[Array, "*a"]:
        return self.policy.mode(state) if self.execute == "mode" else self.policy.sample(key, state)


def _check_action(action: Num[Array, "..."], space: ActionSpace) -> None:
    if action.shape != space.shape:
        raise ValueError(f"policy must return an action of shape {space.shape} for {space}, got {action.shape}")
    if jnp.issubdtype(action.dtype, jnp.floating) != jnp.issubdtype(space.zeros().dtype, jnp.floating):
        raise ValueError(f"policy must return an action of {space.zeros().dtype} for {space}, got {action.dtype}")
