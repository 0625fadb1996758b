"""A model whose actions take effect some steps after they were sent."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num, PRNGKeyArray

from .actions import bounded, check_action, check_choice
from .actuators import actuator_names
from .base import HasCoordinateNames, Model, State, Step, check_model, checked_step
from .checks import integer, real
from .constraints import watched_step
from .coordinates import coordinates, with_coordinates
from .pytrees import pytree, static
from .spaces import Continuous, Discrete, action_space
from .wrapper import Wrapper


class DelayedState(NamedTuple):
    """A state, and the actions that are on their way.

    Attributes:
        state: of the model underneath.
        sent: the actions that have been sent and have had no effect yet, the oldest first, [D, A]; [D] of integers
            where actions are discrete.
    """

    state: State
    sent: Num[Array, "D *a"]


@pytree
class Delayed(Wrapper):
    """A model whose actions take effect D steps after they were sent. Make one with `delayed`.

    Attributes:
        model: the model underneath.
        first: what was sent before the first step, [A], or an integer.
        num_steps: the number D of steps, >= 1.
    """

    steps_once: ClassVar[bool] = True
    model: Model
    first: Num[Array, "*a"]
    num_steps: int = static()

    def inner(self, state: DelayedState) -> State:
        """The state without the actions on their way."""
        return state.state

    def outer(self, state: DelayedState, inner: State) -> DelayedState:
        """Another state with the same actions on their way."""
        return DelayedState(inner, state.sent)

    def begin(self, state: State) -> DelayedState:
        """A state of the model underneath, before which `first` was sent all the time."""
        return DelayedState(state, jnp.broadcast_to(self.first, (self.num_steps, *self.first.shape)))

    def init(self, key: PRNGKeyArray) -> DelayedState:
        """Draw a first state of the model underneath."""
        return self.begin(self.model.init(key))

    def step(self, key: PRNGKeyArray, state: DelayedState, action: Num[Array, "*a"]) -> Step:
        """Step the model underneath with the oldest action that was sent, and send another."""
        after, reward, discount = checked_step(self.model.step(key, state.state, state.sent[0]))
        return Step(DelayedState(after, self.sending(state, action)), reward, discount)

    def applied(self, state: DelayedState, actions: Num[Array, "H *a"]) -> Num[Array, "H *a"]:
        """What the model underneath is given from a state on."""
        return jnp.concatenate([state.sent, actions.astype(state.sent.dtype)])[: len(actions)]

    def violations(
        self, state: DelayedState, action: Num[Array, "*a"], after: DelayedState
    ) -> Float[Array, " C"] | None:
        """Those of the model underneath, by the action that took effect."""
        return super().violations(state, state.sent[0], after)

    def watched_step(
        self, key: PRNGKeyArray, state: DelayedState, action: Num[Array, "*a"]
    ) -> tuple[Step, Float[Array, " C"] | None]:
        """A step, and by how much it violates each constraint of the model underneath."""
        step, violated = watched_step(self.model, key, state.state, state.sent[0])
        return Step(DelayedState(step.state, self.sending(state, action)), step.reward, step.discount), violated

    def sending(self, state: DelayedState, action: Num[Array, "*a"]) -> Num[Array, "D *a"]:
        """The actions on their way after another one was sent, within the actuators' range where there is one.

        Raises:
            ValueError: if `action` has another shape than [A], or is no integer where actions are discrete.
        """
        space = action_space(self)
        action = check_action(action, space.size) if isinstance(space, Continuous) else check_choice(action)
        if isinstance(space, Continuous) and bounded(self.model):
            action = jnp.clip(action, -1.0, 1.0)  # as the model will: or plans beyond would seem to differ
        return jnp.concatenate([state.sent[1:], action.astype(state.sent.dtype)[None]])

    def coordinates(self, state: DelayedState) -> Float[Array, " n"]:
        """Those of the state underneath, and after them the actions on their way, where they are continuous."""
        inside = coordinates(self.model, state.state)
        return inside if self._discrete else jnp.concatenate([inside, state.sent.reshape(-1).astype(inside.dtype)])

    def with_coordinates(self, state: DelayedState, x: Float[Array, " n"]) -> DelayedState:
        """The state with these coordinates."""
        if self._discrete:
            return DelayedState(with_coordinates(self.model, state.state, x), state.sent)
        size = x.size - state.sent.size
        sent = x[size:].reshape(state.sent.shape).astype(state.sent.dtype)
        return DelayedState(with_coordinates(self.model, state.state, x[:size]), sent)

    @property
    def coordinate_names(self) -> tuple[str, ...] | None:
        """Those of the model underneath, and of each action when it was sent and to which actuator."""
        inside = self.model.coordinate_names if isinstance(self.model, HasCoordinateNames) else None
        if inside is None or self._discrete:
            return inside
        known = actuator_names(self.model) or tuple(f"action {i}" for i in range(self.first.size))
        names = [name.rpartition(" (")[0] or name for name in known]  # on the scale of plans: without a unit
        own = [_sent(n, name) for n in reversed(range(1, self.num_steps + 1)) for name in names]
        return (*(_later(name, self.num_steps) for name in inside), *own)

    def reward_terms(
        self, state: DelayedState, action: Num[Array, "*a"], after: DelayedState
    ) -> Mapping[str, Float[Array, ""]] | None:
        """Those of the model underneath, for the action that took effect."""
        return super().reward_terms(state, state.sent[0], after)

    def end_reasons(
        self, state: DelayedState, action: Num[Array, "*a"], after: DelayedState
    ) -> Mapping[str, Bool[Array, ""]] | None:
        """Those of the model underneath, for the action that took effect."""
        return super().end_reasons(state, state.sent[0], after)

    @property
    def _discrete(self) -> bool:
        return isinstance(action_space(self.model), Discrete)


_SENT = re.compile(r"sent (\d+) steps? ago: (.*)")


def _sent(steps: int, name: str) -> str:
    """What a coordinate is called that is an action on its way."""
    return f"sent {steps} step{'s' if steps > 1 else ''} ago: {name}"


def _later(name: str, steps: int) -> str:
    """The name of a coordinate of a model to which actions come some steps late: of delays in it, how late in all."""
    found = _SENT.fullmatch(name)
    return name if found is None else _sent(int(found[1]) + steps, found[2])


def delayed(model: Model, steps: int, *, first: Any = None) -> Any:
    """Let the actions of a model take effect some steps after they were sent, as over a network or a slow drive.

    The actions on their way are part of the state, and of its coordinates, so that planners know what will happen
    before a new action can do anything: the first action of a plan acts after `steps` steps, and a horizon must reach
    beyond. Rewards and ends are those of the action that takes effect.

    What is wrapped decides whose steps those are: `delayed(action_repeat(model, 2), 3)` waits six steps of `model`,
    `action_repeat(delayed(model, 3), 2)` three. Wrap rewards of one's own first: one around a delayed model sees the
    action that is sent. A model that does not say whether it is bounded is taken for one without a range.

    Args:
        model: any model.
        steps: the number D of steps, >= 0; with 0 the model stays what it is.
        first: the action that was sent all the time before the first step, [A] on the scale of plans, or an integer;
            None for 0.

    Returns:
        The model with states `DelayedState(state, sent)`; `begin(state)` makes one of a state of `model`.

    Raises:
        ValueError: if `model` is not a model, or for a parameter outside its range.
    """
    space, number = action_space(check_model("model", model)), integer("steps", steps, 0)
    if first is None:
        first = space.zeros()
    elif isinstance(space, Discrete):
        if integer("first", first, 0) >= space.num:
            raise ValueError(f"first must be one of the actions 0 to {space.num - 1}, got {first!r}")
        first = jnp.asarray(first, jnp.int32)
    else:
        first = real("first", first, shape=space.shape)
    return model if number == 0 else Delayed(model, first, number)
