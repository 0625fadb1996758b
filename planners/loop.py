"""Planning as inference: the one loop, and what is built around it (infer, plan, episode)."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypedDict

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import Array, Float, Key

from ..dynamics.base import Model, State, integer, pytree, static
from .base import Belief, Info, Likelihood, Optimality, Planner, Plans, Prior, check_part, check_per_plan
from .diagnostics import Weighed, diagnose, log_normalize
from .priors import as_prior
from .rollout import check_sharding, rollout


@pytree
class SamplingPlanner:
    """A planner that samples plans, scores them, and projects the weighted plans back onto its family.

    Which planner it is, its components decide. Make one with a factory (`mppi`, `cem`, ...) or `sampling_planner`.

    Attributes:
        belief: q₀, where inference starts, and what a warm start falls back on.
        likelihood: W, how returns become weights.
        prior: adds log p − log q to the log-weights; None leaves it out.
        num_samples: the number K of plans per iteration.
        num_iterations: the number I of iterations.
        include_mode: whether the mode of the belief is one of the K plans.
        warm_start: whether planning at the next time step starts from this one's belief, shifted.
        rollout_chunk_size: how many plans to roll out at once; None chooses for the backend.
        sharding: how to spread plans over devices; None for one device.
    """

    belief: Belief
    likelihood: Likelihood
    prior: Prior | None
    num_samples: int = static()
    num_iterations: int = static()
    include_mode: bool = static()
    warm_start: bool = static()
    rollout_chunk_size: int | None = static()
    sharding: NamedSharding | None = static()

    def improve(self, model: Model, key: Key[Array, ""], state: State, belief: Any) -> tuple[Any, Info]:
        """Run the loop from `belief`.

        Raises:
            ValueError: if `belief` is not of the family and shape of `self.belief`.
        """
        expected, given = (
            (jax.tree.structure(tree), [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)])
            for tree in (self.belief, belief)
        )
        if expected != given:
            raise ValueError(f"belief must be of the planner's own family, {expected}, got {given}")

        def iterate(belief: Any, keys: Array) -> tuple[Any, Info]:
            sample_key, noise_key = keys
            plans = belief.sample(sample_key, self.num_samples)  # a ~ q
            if self.include_mode:
                plans = plans.at[0].set(belief.mode())
            returns = rollout(
                model, noise_key, state, plans, chunk_size=self.rollout_chunk_size, sharding=self.sharding
            )  # R(τ)
            weighed = self._weigh(belief, plans, returns)  # W(R) [p(a)/q(a)]
            fitted = belief.fit(plans, jnp.exp(weighed.normalized.log_weights))  # argmin KL(Σ w δ_a ‖ q)
            fitted = jax.tree.map(lambda new, old: jnp.where(weighed.degenerate, old, new), fitted, belief)
            return fitted, diagnose(returns, weighed, belief, fitted)

        return jax.lax.scan(iterate, belief, jax.random.split(key, (self.num_iterations, 2)))

    def _weigh(self, belief: Any, plans: Plans, returns: Float[Array, " K"]) -> Weighed:
        valid = jnp.isfinite(returns)
        log_ratio = None if self.prior is None else self.prior.log_ratio(plans, belief)
        if log_ratio is not None:
            check_per_plan("log_ratio of the prior", log_ratio, len(plans))
            valid &= log_ratio < jnp.inf  # a density may be zero, but neither NaN nor infinite
        optimality = self.likelihood(jnp.where(valid, returns, -jnp.inf))
        if not isinstance(optimality, Optimality):
            raise ValueError(f"likelihood must return planners.Optimality, got {type(optimality).__name__}")
        check_per_plan("log_weights of the likelihood", optimality.log_weights, len(plans))
        log_ratios = optimality.log_weights if log_ratio is None else optimality.log_weights + log_ratio
        log_ratios = jnp.where(valid, log_ratios, -jnp.inf)  # whatever a user's likelihood says of them
        normalized = log_normalize(log_ratios)
        degenerate = normalized.degenerate
        if log_ratio is None:  # equal returns tell nothing: do not drift with the noise of the samples
            best = jnp.max(returns, initial=-jnp.inf, where=valid)
            rounding = 8.0 * jnp.finfo(returns.dtype).eps * jnp.abs(best)
            degenerate |= jnp.all(valid & (best - returns <= rounding))
        return Weighed(valid, log_ratios, optimality, normalized, degenerate)

    def act(self, key: Key[Array, ""], belief: Any) -> Float[Array, " A"]:
        """The first action of the belief's mode."""
        return belief.mode()[0]

    def shift(self, belief: Any) -> Any:
        """The belief from which to plan at the next time step."""
        return belief.shift(self.belief) if self.warm_start else self.belief


class LoopOptions(TypedDict, total=False):
    """What every sampling planner takes besides its own arguments.

    Attributes:
        warm_start: whether planning at the next time step starts from this one's belief, shifted; True unless given.
        rollout_chunk_size: how many plans to roll out at once; None (the default) chooses for the backend.
        sharding: how to spread plans over devices, by a mesh axis named first in its spec; None for one device.
    """

    warm_start: bool
    rollout_chunk_size: int | None
    sharding: NamedSharding | None


def check_options(factory: str, options: LoopOptions) -> LoopOptions:
    """Return the options of the factory of that name, or raise a `TypeError` for one that does not exist."""
    for name in options:
        if name not in LoopOptions.__annotations__:
            raise TypeError(f"{factory}() got an unexpected keyword argument {name!r}")
    return options


class Episode(NamedTuple):
    """What happened in an episode of T steps, time first.

    Attributes:
        states: in which the actions were taken, the environment's pytree with a leading axis T.
        actions: [T, A], on the scale of plans, which the model clips to [-1, 1].
        rewards: [T]; zero after the end.
        discounts: [T]; zero from the end on.
        infos: of each planning, with a leading axis T.
        final_state: the state after the last step.
    """

    states: State
    actions: Float[Array, "T A"]
    rewards: Float[Array, " T"]
    discounts: Float[Array, " T"]
    infos: Any
    final_state: State


def infer(planner: Planner, model: Model, key: Key[Array, ""], state: State, belief: Any = None) -> tuple[Any, Any]:
    """Infer the posterior over plans from `state`: open-loop trajectory optimisation.

    Args:
        planner: how to infer.
        model: what to imagine with.
        key: of samples and noise.
        state: where plans start, a state of `model`.
        belief: where inference starts; None for `planner.belief`.

    Returns:
        The belief, whose `mode()` is the plan [H, A], and the planner's info, one row per iteration.

    Raises:
        ValueError: if the planner is none, or the model.
    """
    for name, part, protocol in (("planner", planner, Planner), ("model", model, Model)):
        if not isinstance(part, protocol):
            raise ValueError(f"{name} must be a {name}, got {type(part).__name__} (the planner comes first)")
    return planner.improve(model, key, state, planner.belief if belief is None else belief)


def plan(
    planner: Planner, model: Model, key: Key[Array, ""], state: State, belief: Any = None
) -> tuple[Float[Array, " A"], Any, Any]:
    """Infer, and choose the action to execute now: one step of model predictive control.

    Args:
        planner: how to infer.
        model: what to imagine with.
        key: of samples and noise.
        state: where plans start, a state of `model`.
        belief: what the call before returned; None for `planner.belief`. (Under jit, None and a belief are two
            programs; `planner.belief` and a belief are one.)

    Returns:
        The action [A], on the scale of plans, which the model clips to [-1, 1]; the belief to plan from at the next
        time step; and the planner's info.
    """
    infer_key, act_key = jax.random.split(key)
    belief, info = infer(planner, model, infer_key, state, belief)
    return planner.act(act_key, belief), planner.shift(belief), info


def episode(
    planner: Planner,
    model: Model,
    env: Model,
    key: Key[Array, ""],
    num_steps: int,
    *,
    observe: Callable[[State], State] | None = None,
) -> Episode:
    """Control `env` by planning with `model` at every step, as one scan: jit it, vmap it over keys.

    Args:
        planner: how to infer.
        model: what to imagine with.
        env: what to act in; may be another model.
        key: of everything random.
        num_steps: the number T of steps; under jit a static argument.
        observe: turns a state of `env` into one of `model`; None where they are the same.

    Returns:
        The episode. After its end the state stands still, and rewards and discounts are zero.
    """
    integer("num_steps", num_steps)

    def control(carry: tuple[State, Any, Array], key: Array) -> tuple[tuple[State, Any, Array], tuple[Any, ...]]:
        state, belief, alive = carry
        plan_key, step_key = jax.random.split(key)
        seen = state if observe is None else observe(state)
        action, belief, info = plan(planner, model, plan_key, seen, belief)
        step = env.step(step_key, state, action)
        reward = jnp.where(alive, step.reward, 0.0)
        discount = jnp.where(alive, step.discount, 0.0)
        state_next = jax.tree.map(lambda new, old: jnp.where(alive, new, old), step.state, state)
        return (state_next, belief, discount != 0), (state, action, reward, discount, info)

    init_key, control_key = jax.random.split(key)
    carry = (env.init(init_key), planner.belief, jnp.array(True))
    (final_state, _, _), history = jax.lax.scan(control, carry, jax.random.split(control_key, num_steps))
    states, actions, rewards, discounts, infos = history
    return Episode(states, actions, rewards, discounts, infos, final_state)


def sampling_planner(
    belief: Belief,
    likelihood: Likelihood,
    *,
    prior: Any = None,
    num_samples: int,
    num_iterations: int = 1,
    include_mode: bool = False,
    warm_start: bool = True,
    rollout_chunk_size: int | None = None,
    sharding: NamedSharding | None = None,
) -> SamplingPlanner:
    """Compose a planner of any components; the factories do no more.

    Args:
        belief: q₀, where inference starts.
        likelihood: W, how returns become weights.
        prior: an object with `log_prob(plans [K, H, A]) -> [K]` or a `Prior`, a pytree: adds log p − log q to the
            log-weights. None leaves it out, at no cost.
        num_samples: the number K of plans per iteration, at least 2.
        num_iterations: the number I of iterations, at least 1.
        include_mode: whether the mode of the belief is one of the K plans.
        warm_start: whether planning at the next time step starts from this one's belief, shifted.
        rollout_chunk_size: how many plans to roll out at once; None chooses for the backend.
        sharding: how to spread plans over devices, by a mesh axis named first in its spec; None for one device.

    Returns:
        The planner.

    Raises:
        ValueError: for a parameter outside its range.
    """
    return SamplingPlanner(
        belief=check_part("belief", belief, *(name for name in vars(Belief) if not name.startswith("_"))),
        likelihood=check_part("likelihood", likelihood, "__call__"),
        prior=None if prior is None else as_prior(prior),
        num_samples=integer("num_samples", num_samples, 2),
        num_iterations=integer("num_iterations", num_iterations),
        include_mode=bool(include_mode),
        warm_start=bool(warm_start),
        rollout_chunk_size=None if rollout_chunk_size is None else integer("rollout_chunk_size", rollout_chunk_size),
        sharding=check_sharding(sharding),
    )
