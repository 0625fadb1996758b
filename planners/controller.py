"""A planner that does not plan: it executes what an amortised plan, or an amortised policy, says."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..dynamics.base import Model, State
from ..dynamics.checks import choice
from ..dynamics.pytrees import pytree, static
from .beliefs.reading import read
from .beliefs.warm_start import shift_by_one
from .checks import binding, check_own_belief, check_part, check_unconstrained, fresh
from .info import Info, info_row
from .policies.acting import Acting, PolicyController
from .policies.plans import PlanNetwork, check_network
from .sampling.containment import containment
from .sampling.incumbent import Incumbent, incumbent


@pytree
class Controller:
    """Executes the plan that a network says, and imagines nothing. Make one with `controller`.

    Attributes:
        network: q_φ(a|s).
        execute: "mode", or "sample".
    """

    network: PlanNetwork
    execute: str = static()

    @property
    def name(self) -> str:
        """For errors and reports."""
        return "controller"

    @property
    def horizon(self) -> int:
        """The number H of steps."""
        return self.network.horizon

    def init(self, model: Model, state: State) -> Incumbent:
        """What the network says of this state.

        Raises:
            ValueError: if the network does not fit the model, or that has constraints.
        """
        with binding(self.name, model, state):
            check_unconstrained(model)
            found = incumbent(self.network.init(model, state).belief(state))
            return fresh(_within(model, state, found))

    def improve(self, model: Model, key: PRNGKeyArray, state: State, belief: Incumbent) -> tuple[Incumbent, Info]:
        """What the network says of this state, whatever was believed before; no plan is tried.

        Raises:
            ValueError: if `belief` is not of the structure and shapes that `init` gives.
        """
        check_own_belief(self, model, state, belief)
        said = self.network.belief(state)
        finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(said)]).all()
        row = info_row(
            best_return=jnp.full((), -jnp.inf),
            num_invalid=(~finite).astype(float),
            degenerate=~finite,
            entropy=said.entropy(),
        )
        return _within(model, state, incumbent(said)), jax.tree.map(lambda leaf: leaf[None], row)

    def act(self, key: PRNGKeyArray, belief: Incumbent) -> Float[Array, " A"]:
        """The first action of the plan to execute."""
        return self._executed(key, belief)[0]

    def actions(self, key: PRNGKeyArray, belief: Incumbent, times: Any) -> Float[Array, "n A"]:
        """The actions of that plan at some times, in model steps, [n]."""
        return read(self._executed(key, belief), times, belief.belief)

    def respond(self, model: Model, key: PRNGKeyArray, state: State, belief: Any, time: Any) -> Float[Array, " A"]:
        """The action of that plan at a time, whatever the state."""
        return self.actions(key, belief, jnp.stack([time]))[0]

    def shift(self, belief: Incumbent, steps: Any = 1) -> Incumbent:
        """The belief so many time steps later, > 0, whole or not, until the network is asked again."""
        return fresh(belief.shift(belief.initial, shift_by_one().by(steps)))

    def _executed(self, key: PRNGKeyArray, belief: Incumbent) -> Float[Array, "H A"]:
        return belief.mode() if self.execute == "mode" else belief.clipped(belief.sample(key, 1)[0])


def _within(model: Model, state: State, belief: Incumbent) -> Incumbent:
    """The belief, whose plan to execute is within the actuators' range, where they have one."""
    return dataclasses.replace(belief, limit=containment(model, state, belief, None)[1])


def controller(network: Any, *, execute: str = "mode") -> Controller | PolicyController:
    """Make a planner of an amortised plan, or policy, alone: it costs one evaluation of the network, and no rollout.

    Args:
        network: a `planners.policies.plan_network` that is bound, and was trained (`mirrax.learning`); or a policy
            with `mode(state)` and `sample(key, state)`, such as `mirrax.learning.learn_policy` finds. Plans of a
            policy have one step.
        execute: "mode" for the mean of its plans, of a mixture for that of its heaviest component, or the mode of
            the policy; "sample" for one that is drawn.

    Returns:
        The planner, for `plan`, `episode` and all else that takes one.

    Raises:
        ValueError: for a network that is none or not bound, or another word.
    """
    choice("execute", execute, ("mode", "sample"))
    if isinstance(network, Acting) and not isinstance(network, type | PlanNetwork):
        return PolicyController(check_part("network", network, "mode", "sample"), execute)
    if not isinstance(network, PlanNetwork):
        got = network.__name__ if isinstance(network, type) or callable(network) else type(network).__name__
        raise ValueError(f"network must be a plan network, or a policy with mode and sample, got {got}")
    return Controller(check_network(network, getattr(network, "horizon", 0)), execute)
