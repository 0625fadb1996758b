"""The planner that optimises a policy for where it is."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import Array, Float, Key

from ..dynamics.base import Model, State, pytree, static
from .ascent import AscentInfo, Climb, ascend
from .base import check_belief
from .families import IteratedPolicy, NetworkPolicy
from .imagination import Imagination, over_steps
from .optimizers import Optimizer
from .warm_start import Shift


@pytree
class PolicyPlanner:
    """A planner that improves a policy by trajectories from the current state. Make one with `iterative_policy`.

    Attributes:
        policy: π_φ, where a policy begins, and what it must not leave.
        optimizer: how gradients become steps.
        temperature: λ of E[R] − λ KL(π_θ ‖ π_φ), in reward units.
        max_kl: the greatest mean KL(π_θ ‖ π_φ) over the states met, nats per step; None for no limit.
        warm_start: how beliefs move on by a time step; None to begin anew at π_φ.
        horizon: the number H of steps.
        num_samples: the number K of trajectories.
        num_iterations: the number I of steps.
        gradient: "score" or "pathwise".
        execute: "mode" or "sample".
        chunk_size: how many trajectories at once; None chooses for the backend.
        sharding: how to spread them over devices; None for one device.
    """

    policy: NetworkPolicy
    optimizer: Optimizer
    temperature: Float[Array, ""]
    max_kl: Float[Array, ""] | None
    warm_start: Shift | None
    horizon: int = static()
    num_samples: int = static()
    num_iterations: int = static()
    gradient: str = static()
    execute: str = static()
    chunk_size: int | None = static()
    sharding: NamedSharding | None = static()

    def start(self, model: Model, state: State) -> IteratedPolicy:
        """The given policy.

        Raises:
            ValueError: if its network does not fit what it observes, or the model's actuators.
        """
        given = self.policy.ready(state)
        mean, std = given.moments(given.outputs(given.observe(state)))
        shape = (self.horizon, len(mean))
        return IteratedPolicy(given, given, jnp.broadcast_to(mean, shape), jnp.broadcast_to(std, shape))

    def improve(
        self, model: Model, key: Key[Array, ""], state: State, belief: IteratedPolicy
    ) -> tuple[IteratedPolicy, AscentInfo]:
        """Take so many steps from the policy of `belief`, all with the same noise; it ends as the best it has been.

        Raises:
            ValueError: if `belief` is not of the form that `start` gives, or the model has no gradients.
        """
        check_belief(self.start(model, state), belief)
        model_key, noise_key, climb_key = jax.random.split(key, 3)
        noise = jax.random.normal(noise_key, (self.num_samples, *belief.plan.shape))
        imagination = Imagination(
            model, model_key, state, noise, belief.given, self.temperature, self.chunk_size, self.sharding
        )

        def policy_of(parameters: Any) -> NetworkPolicy:
            return dataclasses.replace(belief.policy, params=jax.tree.map(lambda leaf: leaf[0], parameters))

        def climb(key: Array, parameters: Any) -> Climb:
            policy = policy_of(parameters)
            lessons = imagination.score(policy) if self.gradient == "score" else imagination.pathwise(policy)
            _, pull_back = jax.vjp(
                lambda parameters: over_steps(policy_of(parameters).outputs)(lessons.observations), parameters
            )
            (gradients,) = pull_back(lessons.gradients / jnp.maximum(lessons.valid.sum(), 1))
            worth = self._worth(lessons.worth, lessons.kl)
            return Climb(
                worth=worth[None],
                gradients=gradients,
                valid=worth[None] > -jnp.inf,
                returns=lessons.returns,
                num_invalid=(~lessons.valid).sum(),
                elbo=worth / self.temperature,
                kl=lessons.kl,
            )

        params, given = (
            jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], of.params) for of in (belief.policy, belief.given)
        )
        params, _, info = ascend(
            climb,
            lambda parameters: self._worth(*imagination.judge(policy_of(parameters)))[None],
            params,
            climb_key,
            optimizer=self.optimizer,
            bounded=lambda parameters: parameters,
            keeps_best=True,
            num_iterations=self.num_iterations,
            temperature=self.temperature,
            refuge=given,
        )
        policy = policy_of(params)
        alone = imagination._replace(noise=jnp.zeros((1, *belief.plan.shape)), sharding=None).follow(policy)
        std = policy.moments(alone.outputs[0])[1]
        found = IteratedPolicy(policy, belief.given, alone.actions[0], std)
        # where nothing could be learnt, all stays as it was
        told = (info.num_invalid < self.num_samples).any()
        return jax.tree.map(lambda new, old: jnp.where(told, new, old), found, belief), info

    def act(self, key: Key[Array, ""], belief: IteratedPolicy) -> Float[Array, " A"]:
        """What the policy does in the state for which it was optimised: its mean action, or a sample."""
        return belief.plan[0] if self.execute == "mode" else belief.sample(key, 1)[0, 0]

    def shift(self, belief: IteratedPolicy) -> IteratedPolicy:
        """The belief from which to plan at the next time step."""
        return belief.restarted() if self.warm_start is None else belief.shift(belief, self.warm_start)

    def _worth(self, worth: Float[Array, " K"], kl: Float[Array, ""]) -> Float[Array, ""]:
        """Of a policy: the mean of its trajectories, where one that diverges is as bad as the worst that does not.

        −∞ where all diverge, or where it has gone too far.
        """
        valid = worth > -jnp.inf
        mean = jnp.where(valid, worth, jnp.where(valid, worth, jnp.inf).min()).mean()
        allowed = valid.any() if self.max_kl is None else valid.any() & (kl <= self.max_kl)
        return jnp.where(allowed, mean, -jnp.inf)
