"""The planner protocol, and the functions that drive any planner: infer, plan, episode."""

import contextlib
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num, PRNGKeyArray

from ..dynamics.actions import bounded
from ..dynamics.base import HasDuration, Model, State, check_model
from ..dynamics.checks import integer
from ..dynamics.constraints import constraint_names, violations, watched_step
from ..dynamics.spaces import Continuous, action_space
from ..dynamics.trial import check_state
from .checks import check_key, explained, fresh, noted
from .info import Info
from .rollouts.placement import check_placed, place, sharding_of
from .rollouts.simulation import frozen_if
from .sampling.incumbent import modes_of


@runtime_checkable
class Planner(Protocol):
    """Iterative inference: from a belief over plans to a better one. Configuration, without the shape of actions."""

    def init(self, model: Model, state: State) -> Any:
        """The belief where inference starts: binds shapes, and checks them."""
        ...

    def improve(self, model: Model, key: PRNGKeyArray, state: State, belief: Any) -> tuple[Any, Info]:
        """Bring `belief` nearer to the posterior over plans from `state`: (belief, info)."""
        ...

    def act(self, key: PRNGKeyArray, belief: Any) -> Num[Array, "*a"]:
        """The action to execute now."""
        ...

    def shift(self, belief: Any) -> Any:
        """The belief from which to plan at the next time step."""
        ...


class Episode(NamedTuple):
    """What happened in an episode of T steps, time first.

    Attributes:
        states: in which the actions were taken, the environment's pytree with a leading axis T.
        actions: [T, A], on the scale of plans, which the model clips to [-1, 1]; [T] where actions are discrete.
        rewards: [T]; zero after the end.
        discounts: [T]; zero from the end on.
        infos: of each planning, with a leading axis T.
        final_state: the state after the last step.
        plans: what was planned in each step, [T, H, A], where it was kept; else None.
        modes: where it was kept, of a belief with several modes: these, [T, M, H, A], and their weights, [T, M].
        violations: by how much each step violated each constraint (`dynamics.constraint_names`) of the environment,
            or of the model, if it is the one that has some, [T, C]; None where neither has.
    """

    states: State
    actions: Num[Array, "T *a"]
    rewards: Float[Array, " T"]
    discounts: Float[Array, " T"]
    infos: Any
    final_state: State
    plans: Num[Array, "T H *a"] | None = None
    modes: tuple[Num[Array, "T M H *a"], Float[Array, "T M"]] | None = None
    violations: Float[Array, "T C"] | None = None


def infer(planner: Planner, model: Model, key: PRNGKeyArray, state: State, belief: Any = None) -> tuple[Any, Info]:
    """Infer the posterior over plans from `state`: open-loop trajectory optimisation.

    Plans of `ilqr` and `gradient` have the derivatives of converged plans, with respect to all that model, state and
    planner are made of; those of `mppi`, `pi2`, `dial`, `tsallis` and `vi_mpc` the derivatives of a weighted mean
    under the same random numbers. To differentiate others is an error; see `docs/derivatives.md`.

    Args:
        planner: how to infer.
        model: what to imagine with.
        key: of samples and noise.
        state: where plans start, a state of `model`.
        belief: where inference starts; None for `planner.init(model, state)`. It has what the family of the planner
            was bound with (`std`, `std_min`, `smoothing`, ...), and the correlation in time of its prior: another
            family, or another such correlation, needs another belief.

    Returns:
        The belief, whose `mode()` is the plan [H, A], and the planner's info, one row per iteration.

    Raises:
        ValueError: if planner, model or key is not one; if one of them is on other devices than plans
            are spread over, see `planners.rollouts.place`; or where a planner is differentiated that has no
            derivatives.
    """
    found, info = _improved(planner, model, key, state, belief)
    return fresh(found), info


def plan(
    planner: Planner, model: Model, key: PRNGKeyArray, state: State, belief: Any
) -> tuple[Num[Array, "*a"], Any, Info]:
    """Infer, and choose the action to execute now: one step of model predictive control.

    Args:
        planner: how to infer.
        model: what to imagine with.
        key: of samples and noise.
        state: where plans start, a state of `model`.
        belief: what the call before returned; at first `planner.init(model, state)`.

    Returns:
        The action [A], on the scale of plans: within [-1, 1] where the model says that its actuators have that range,
        see `HasBounds` (an integer where actions are discrete); the belief to plan from at the next time step; and
        the planner's info.

    Raises:
        ValueError: as `infer` does, or if there is no belief.
    """
    if belief is None:
        raise ValueError("belief must be given: planner.init(model, state) makes the first, got None")
    return planned(planner, model, check_key(key), state, belief)[:3]


class Planned(NamedTuple):
    """One step of model predictive control.

    Attributes:
        action: to execute now, [A], within the actuators' range; an integer where actions are discrete.
        belief: to plan from at the next time step.
        info: of the planner.
        found: the belief that the action was chosen by.
    """

    action: Num[Array, "*a"]
    belief: Any
    info: Info
    found: Any


def planned(planner: Planner, model: Model, key: PRNGKeyArray, state: State, belief: Any) -> Planned:
    """What `plan` does, with the belief that the action was chosen by; for arguments, see there."""
    infer_key, act_key = jax.random.split(key)
    found, info = _improved(planner, model, infer_key, state, belief)
    action = planner.act(act_key, found)
    if bounded(model) and isinstance(action_space(model), Continuous):  # beyond the range models clip
        action = jnp.clip(action, -1.0, 1.0)
    return Planned(action, planner.shift(found), info, found)


def episode(
    planner: Planner,
    model: Model,
    env: Model,
    key: PRNGKeyArray,
    num_steps: int,
    *,
    observe: Callable[[State], State] | None = None,
    keep: str | Sequence[str] = (),
    state: State | None = None,
) -> Episode:
    """Control `env` by planning with `model` at every step, as one scan: jit it, vmap it over keys.

    Args:
        planner: how to infer.
        model: what to imagine with.
        env: what to act in; may be another model.
        key: of everything random.
        num_steps: the number T of steps; under jit a static argument.
        observe: turns a state of `env` into one of `model`; None where they are the same.
        keep: "plans" keeps the plan of each step, and all modes of a mixture, which `report_episode` draws; under jit
            a static argument.
        state: of `env`, where the episode begins; None for one that its `init` draws.

    Returns:
        The episode. After its end the state stands still, and rewards and discounts are zero.

    Raises:
        ValueError: as `infer` does, if `num_steps` is not positive, `keep` names something else, or if `env` takes
            other actions or steps of another duration than `model`, or has other states, and `observe` does not make
            them those of `model`. Durations that are traced, within jit, cannot be compared then: if they differ,
            all rewards are NaN.
    """
    integer("num_steps", num_steps)
    if (kept := (keep,) if isinstance(keep, str | None) else tuple(keep)) not in ((), ("plans",)):
        raise ValueError(f"keep must be () or 'plans', got {keep!r}")
    if not (observe is None or callable(observe)):
        raise ValueError(f"observe must be callable, got {observe!r}")
    if (space := action_space(check_model("env", env))) != (wanted := action_space(check_model("model", model))):
        raise ValueError(f"env must take the actions that model takes, {wanted}, got {space}")
    same_duration = _same_duration(model, env)

    def seen_in(state: State) -> State:
        return state if observe is None else observe(state)

    # what model cannot go on from: what `env` gives, or the state that was given
    unlike = "observe must turn states of env into those of model, where they differ"
    unlike = "" if observe is None and state is not None else unlike

    def acting(state: State) -> contextlib.AbstractContextManager[None]:
        return explained("raised while env was stepped, or its state observed", env, state)

    def control(carry: tuple[State, Any, Array], key: Array) -> tuple[tuple[State, Any, Array], tuple[Any, ...]]:
        state, belief, alive = carry
        plan_key, step_key = jax.random.split(key)
        with acting(state):
            seen = seen_in(state)
        with noted(planner, model, seen, unlike):
            action, belief, info, found = planned(planner, model, plan_key, seen, belief)
        with acting(state):
            step, violated = watched_step(env, step_key, state, action)
            if violated is None and constraint_names(model) is not None:
                violated = violations(model, seen, action, seen_in(step.state))
            violated = None if violated is None else jnp.where(alive, violated, 0.0)
        reward = jnp.where(same_duration, jnp.where(alive, step.reward, 0.0), jnp.nan)
        discount = jnp.where(alive, step.discount, 0.0)
        state_next = frozen_if(~alive, state, step.state)
        thought = (found.mode(), modes_of(found)) if kept else (None, None)
        happened = (state, action, reward, discount, info, *thought, violated)
        return (state_next, belief, discount != 0), happened

    key, sharding = check_key(key), sharding_of(planner)
    if sharding is not None:
        planner, model, env, key = place((planner, model, env, key), sharding)
    init_key, control_key = jax.random.split(key)
    if state is None:
        first = check_state("what init of env returns", env.init(init_key), env)
    else:
        first = check_state("state", state, env)
    if sharding is not None:  # an engine may have committed it elsewhere
        first = place(first, sharding)
    with acting(first):
        seen = seen_in(first)
    with noted(planner, model, seen, unlike):
        belief = planner.init(model, seen)
    carry = (first, belief, jnp.array(True))
    (final_state, _, _), history = jax.lax.scan(control, carry, jax.random.split(control_key, num_steps))
    states, actions, rewards, discounts, infos, plans, modes, violated = history
    return Episode(states, actions, rewards, discounts, infos, final_state, plans, modes, violated)


def _same_duration(model: Model, env: Model) -> Any:
    """Whether steps of both take as long, as far as both say so; a scalar.

    Raises:
        ValueError: if they do not, and that can be seen now.
    """
    known = [part.dt for part in (model, env) if isinstance(part, HasDuration) and part.dt is not None]
    if len(known) < 2 or any(jnp.ndim(dt) for dt in known):
        return True
    own, other = known
    if any(isinstance(dt, jax.core.Tracer) for dt in known):
        return jnp.isclose(own, other, rtol=1e-3, atol=0.0)
    if not math.isclose(float(own), float(other), rel_tol=1e-3):
        raise ValueError(
            f"dt of env must be that of model, {float(own):g} s, got {float(other):g} s "
            "(dynamics.action_repeat makes steps longer)"
        )
    return True


def _improved(planner: Planner, model: Model, key: PRNGKeyArray, state: State, belief: Any) -> tuple[Any, Info]:
    """What `infer` does, after checks of its arguments."""
    if not isinstance(planner, Planner):
        hint = "call it: a factory makes a planner" if inspect.isroutine(planner) else "the planner comes first"
        raise ValueError(f"planner must be a planner, got {type(planner).__name__} ({hint})")
    check_model("model", model)
    check_placed(sharding_of(planner), planner=planner, model=model, key=key, state=state, belief=belief)
    key = check_key(key)
    with noted(planner, model, state):
        belief = planner.init(model, state) if belief is None else belief
        return planner.improve(model, key, state, belief)
