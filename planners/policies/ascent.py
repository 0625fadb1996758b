"""The planner that optimises a policy for where it is."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import Array, Float, Key

from ...dynamics.base import Model, State
from ...dynamics.pytrees import pytree, static
from ..beliefs.noise import white_noise
from ..beliefs.reading import read
from ..beliefs.warm_start import shift_by_one
from ..checks import binding, check_own_belief, check_unconstrained, fresh
from ..differentiation import undifferentiable
from ..gradients.ascent import Climb, ascend
from ..gradients.optimizers import Optimizer
from ..info import Info
from ..sampling.regrets import regrets
from ..sampling.scales import better_spread
from .imagination import Imagination, over_steps
from .iterated import IteratedPolicy
from .network import NetworkPolicy

_REFUSAL = "iterative_policy has no derivatives: its network has not converged when it ends"


@pytree
class PolicyPlanner:
    """A planner that improves a policy by trajectories from the current state. Make one with `iterative_policy`.

    Attributes:
        policy: π_φ, the given policy: where optimisation starts, and the prior.
        optimizer: how gradients become steps.
        temperature: λ of E[R] − λ KL(π_θ ‖ π_φ), in reward units; None to take it from the returns.
        relative: λ in spreads of the better returns of the given policy, where it is taken from them.
        max_kl: the greatest mean KL(π_θ ‖ π_φ) over the states met, nats per step; None for no limit.
        horizon: the number H of steps.
        num_samples: the number K of trajectories.
        num_iterations: the number I of steps.
        warm_start: whether the next time step continues from this one's policy, or starts again at π_φ.
        antithetic: whether noise comes in pairs ε, −ε.
        gradient: "score" or "pathwise".
        execute: "mode" or "sample".
        chunk_size: how many trajectories at once; None chooses for the backend.
        sharding: how to spread them over devices; None for one device.
        keep: which arrays of plans `info` keeps.
        name: for errors and reports.
    """

    policy: NetworkPolicy
    optimizer: Optimizer
    temperature: Float[Array, ""] | None
    relative: Float[Array, ""]
    max_kl: Float[Array, ""] | None
    horizon: int = static()
    num_samples: int = static()
    num_iterations: int = static()
    warm_start: bool = static()
    antithetic: bool = static()
    gradient: str = static()
    execute: str = static()
    chunk_size: int | None = static()
    sharding: NamedSharding | None = static()
    keep: tuple[str, ...] = static()
    name: str = static()

    def init(self, model: Model, state: State) -> IteratedPolicy:
        """The given policy, bound to the model.

        Args:
            model: whose actions are planned.
            state: a state of `model`.

        Returns:
            The belief, in arrays of its own.

        Raises:
            ValueError: if its network does not fit what it observes, or the model's actuators.
        """
        with binding(self.name, model, state):
            check_unconstrained(model)
            given = self.policy.init(model, state)
        mean, std = given.moments(given.outputs(given.observe(state)))
        mean, std = jnp.where(jnp.isfinite(mean), mean, 0.0), jnp.where(jnp.isfinite(std), std, given.scale)
        shape = (self.horizon, len(mean))
        return fresh(IteratedPolicy(given, given, jnp.broadcast_to(mean, shape), jnp.broadcast_to(std, shape)))

    def improve(
        self, model: Model, key: Key[Array, ""], state: State, belief: IteratedPolicy
    ) -> tuple[IteratedPolicy, Info]:
        """Take the steps from the policy of `belief`, all with the same noise, and keep the best policy.

        Raises:
            ValueError: if `belief` is not of the structure and shapes that `init` gives, the model has no gradients,
                or it is differentiated: what is found has no derivatives.
        """
        check_own_belief(self, model, state, belief)
        held = functools.partial(undifferentiable, reason=_REFUSAL)
        planner, *parts = held((self, model, state, belief))
        return planner._ascend(key, *parts, held=held)

    def _ascend(
        self, key: Key[Array, ""], model: Model, state: State, belief: IteratedPolicy, *, held: Callable[[Any], Any]
    ) -> tuple[IteratedPolicy, Info]:
        """Take the steps; `held` keeps derivatives away from what trajectories give."""
        model_key, noise_key, climb_key = jax.random.split(key, 3)
        noise = jax.random.normal(noise_key, (self.num_samples // (1 + self.antithetic), *belief.plan.shape))
        if self.antithetic:
            noise = jnp.concatenate([noise, -noise])
        imagination = Imagination(
            model,
            model_key,
            state,
            noise,
            belief.given,
            jnp.ones(()) if self.temperature is None else self.temperature,
            self.antithetic,
            self.chunk_size,
            self.sharding,
        )
        fixed = belief.improved

        def policy_of(parameters: Any) -> NetworkPolicy:
            return dataclasses.replace(fixed, params=_merged(jax.tree.map(lambda leaf: leaf[0], parameters), fixed))

        known, _ = held(imagination.judge(belief.given))  # whatever the temperature: nothing diverges from itself
        temperature, unit = imagination.temperature, jnp.ones(())
        if self.temperature is None:
            unit = jax.lax.stop_gradient(better_spread(known, known > -jnp.inf))
            temperature = self.relative * unit
            imagination = imagination._replace(temperature=temperature)
        floor = jnp.where(known > -jnp.inf, known, jnp.inf).min()

        def objective_of(objectives: Float[Array, " K"], kl: Float[Array, ""]) -> Float[Array, ""]:
            """Of a policy: the mean of its trajectories; −∞ where all diverge, or where it has gone too far.

            One that diverges is as bad as the worst of those that do not, of this policy or of the given one: or the
            best would be to go where few survive.
            """
            valid = objectives > -jnp.inf
            least = jnp.minimum(floor, jnp.where(valid, objectives, jnp.inf).min())
            allowed = valid.any() if self.max_kl is None else valid.any() & (kl <= self.max_kl)
            return jnp.where(allowed, jnp.where(valid, objectives, least).mean(), -jnp.inf)

        def climb(key: Array, parameters: Any) -> Climb:
            policy = policy_of(parameters)
            lessons = held(imagination.score(policy) if self.gradient == "score" else imagination.pathwise(policy))
            _, pull_back = jax.vjp(
                lambda parameters: over_steps(policy_of(parameters).outputs)(lessons.observations), parameters
            )
            (gradients,) = pull_back(lessons.gradients / unit)
            objective = objective_of(lessons.objective, lessons.kl)
            return Climb(
                objective=objective[None],
                gradients=gradients,
                valid=objective[None] > -jnp.inf,
                returns=lessons.returns,
                num_invalid=(~lessons.valid).sum(),
                elbo=objective / temperature,
                num_invalid_gradients=lessons.num_invalid_gradients,
                kl=lessons.kl,
                rounding=regrets(lessons.returns, lessons.valid).share_of_rounding(),
            )

        params, given = (_moving(policy) for policy in (belief.improved, belief.given))
        params, _, info = ascend(
            climb,
            lambda parameters: objective_of(*held(imagination.judge(policy_of(parameters))))[None],
            params,
            climb_key,
            optimizer=self.optimizer,
            bounded=lambda parameters: parameters,
            keeps_best=True,
            num_iterations=self.num_iterations,
            temperature=temperature,
            refuge=given,
        )
        improved = policy_of(params)
        alone = held(imagination._replace(noise=jnp.zeros((1, *belief.plan.shape)), sharding=None).follow(improved))
        plan, std = alone.actions[0], improved.moments(alone.outputs[0])[1]
        known = jnp.isfinite(plan) & jnp.isfinite(std)  # where the mean alone diverges, what was planned before
        found = IteratedPolicy(
            improved, belief.given, jnp.where(known, plan, belief.plan), jnp.where(known, std, belief.std)
        )
        # where nothing could be learnt, all stays as it was
        learnt = (info.num_invalid < self.num_samples).any()
        return jax.tree.map(lambda new, old: jnp.where(learnt, new, old), found, belief), info.keeping(self.keep)

    def act(self, key: Key[Array, ""], belief: IteratedPolicy) -> Float[Array, " A"]:
        """What the policy does in the state for which it was optimised: its mean action, or a sample."""
        return belief.plan[0] if self.execute == "mode" else belief.sample(key, 1)[0, 0]

    def actions(self, key: Key[Array, ""], belief: IteratedPolicy, times: Any) -> Float[Array, "n A"]:
        """What it does in the states of its plan at some times, in model steps, [n]."""
        return read(belief.plan if self.execute == "mode" else belief.sample(key, 1)[0], times)

    def respond(
        self, model: Model, key: Key[Array, ""], state: State, belief: IteratedPolicy, time: Any
    ) -> Float[Array, " A"]:
        """What the policy does in a state, whenever that is: its mean action, or one by the noise of a sample."""
        policy = belief.improved
        if self.execute == "mode":
            return policy.mean(state)
        noise = read(white_noise(key, 1, belief.std)[0], jnp.stack([time]))[0]
        return policy.drawn(policy.outputs(policy.observe(state)), noise)

    def shift(self, belief: IteratedPolicy, steps: Any = 1) -> IteratedPolicy:
        """The belief from which to plan so many time steps later, > 0, whole or not."""
        following = belief.shift(belief, shift_by_one().by(steps))
        return fresh(following if self.warm_start else dataclasses.replace(following, improved=belief.given))


def _moving(policy: NetworkPolicy) -> Any:
    """The parameters that gradients can move, its floating-point ones, with a leading axis of length 1."""

    def alone(leaf: Any) -> Any:
        leaf = jnp.asarray(leaf)
        return leaf[None] if jnp.issubdtype(leaf.dtype, jnp.floating) else None

    return jax.tree.map(alone, policy.params)


def _merged(moving: Any, policy: NetworkPolicy) -> Any:
    """All parameters, those that do not move from a policy."""
    return jax.tree.map(
        lambda own, other: other if own is None else own, moving, policy.params, is_leaf=lambda leaf: leaf is None
    )
