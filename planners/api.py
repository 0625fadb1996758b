"""The planner protocol, and the functions that drive any planner: infer and plan; `episode` is built on them."""

import inspect
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
from jaxtyping import Array, Num, PRNGKeyArray

from ..dynamics.base import Model, State, check_model
from ..dynamics.engines import imagined
from .checks import check_key, fresh, noted
from .info import Info
from .rates import Persistent, pace_of, within_range
from .rollouts.placement import check_placed, sharding_of


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

    def shift(self, belief: Any, steps: Any = 1) -> Any:
        """The belief from which to plan at the next time step, or as many model steps later, > 0, whole or not."""
        ...


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
    planner: Planner,
    model: Model,
    key: PRNGKeyArray,
    state: State,
    belief: Any,
    *,
    replan_every: int | None = None,
    control_dt: Any = None,
) -> tuple[Num[Array, "..."], Any, Info]:
    """Infer, and choose the action to execute now, or several: one step of model predictive control.

    Args:
        planner: how to infer.
        model: what to imagine with.
        key: of samples and noise.
        state: where plans start, a state of `model`.
        belief: what the call before returned; at first `planner.init(model, state)`.
        replan_every: how many actions to execute before the next planning; under jit a static argument. None for one.
        control_dt: for how long each action is executed, s, at most `dt` of the model; None for that. The actions are
            those of the plan when they begin: its steps are held, between those of a smooth spline it is followed.

    Returns:
        The action [A], on the scale of plans: within [-1, 1] where the model says that its actuators have that range,
        see `HasBounds` (an integer where actions are discrete), of several actions [n, A]; the belief to plan from
        after these; and the planner's info.

    Raises:
        ValueError: as `infer` does, if there is no belief, or if the actions are more than the plan has, or longer
            than steps of the model.
    """
    if belief is None:
        raise ValueError("belief must be given: planner.init(model, state) makes the first, got None")
    key = check_key(key)
    if replan_every is None and control_dt is None:
        return planned(planner, model, key, state, belief)[:3]
    pace = pace_of(check_model("model", model), replan_every, control_dt)
    found, info, act_key = thought(planner, model, key, state, belief)
    pace.check(planner, found)
    if pace.replan_every > 1 and isinstance(planner, Persistent):
        actions = planner.actions(act_key, found, pace.times())
    else:
        action = planner.act(act_key, found)
        actions = action if replan_every is None else action[None]
    return within_range(model, actions), planner.shift(found, pace.steps), info


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


class Thought(NamedTuple):
    """What was found at one time step.

    Attributes:
        found: the belief.
        info: of the planner.
        act_key: of the actions by this belief.
    """

    found: Any
    info: Info
    act_key: PRNGKeyArray


def thought(planner: Planner, model: Model, key: PRNGKeyArray, state: State, belief: Any) -> Thought:
    """What `plan` does before it chooses; for arguments, see there."""
    infer_key, act_key = jax.random.split(key)
    return Thought(*_improved(planner, model, infer_key, state, belief), act_key)


def planned(planner: Planner, model: Model, key: PRNGKeyArray, state: State, belief: Any) -> Planned:
    """What `plan` does, with the belief that the action was chosen by; for arguments, see there."""
    found, info, act_key = thought(planner, model, key, state, belief)
    action = within_range(model, planner.act(act_key, found))
    return Planned(action, planner.shift(found), info, found)


def check_planner(planner: Any, hint: str = "such as planners.cem(20)") -> None:
    """Raise a `ValueError` unless it is a planner.

    Args:
        planner: that the user gave.
        hint: what may have gone wrong, unless it is a factory that was not called.
    """
    if not isinstance(planner, Planner):
        hint = "call it: a factory makes a planner" if inspect.isroutine(planner) else hint
        raise ValueError(f"planner must be a planner, got {type(planner).__name__} ({hint})")


def _improved(planner: Planner, model: Model, key: PRNGKeyArray, state: State, belief: Any) -> tuple[Any, Info]:
    """What `infer` does, after checks of its arguments."""
    check_planner(planner, "the planner comes first")
    check_model("model", model)
    check_placed(sharding_of(planner), planner=planner, model=model, key=key, state=state, belief=belief)
    key = check_key(key)
    with noted(planner, model, state):
        model, state = imagined(model, state)
        belief = planner.init(model, state) if belief is None else belief
        return planner.improve(model, key, state, belief)
