"""Finitely many states and actions: the model in which inference is exact, by message passing."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from .actions import check_choice
from .base import Step
from .checks import distributions, real
from .pytrees import pytree


@pytree
class Tabular:
    """A Markov decision process as tables: S states, C actions. Make one with `tabular`, which also works under vmap.

    The state is an index, int32, and so is an action.
    Terminal states are absorbing, with neither rewards nor a final value, as `tabular` leaves them.

    Attributes:
        transitions: p(s'|s, a), [S, C, S].
        rewards: r(s, a, s'), [S, C, S].
        initial: the distribution of the first state, [S].
        final: the model's `value`, what lies beyond a horizon, [S].
        terminal: which states end the episode, [S].
        discount: γ, a scalar.
    """

    transitions: Float[Array, "S C S"]
    rewards: Float[Array, "S C S"]
    initial: Float[Array, " S"]
    final: Float[Array, " S"]
    terminal: Bool[Array, " S"]
    discount: Float[Array, ""]

    @property
    def num_states(self) -> int:
        """S."""
        return self.transitions.shape[-1]

    @property
    def num_actions(self) -> int:
        """C."""
        return self.transitions.shape[-2]

    def init(self, key: PRNGKeyArray) -> Int[Array, ""]:
        """Draw a state from `initial`."""
        return jax.random.categorical(key, jnp.log(self.initial)).astype(jnp.int32)

    def step(self, key: PRNGKeyArray, state: Int[Array, ""], action: Int[Array, ""]) -> Step:
        """Take the action of that number; `key` draws the next state. Ends on entering a terminal state."""
        choice = check_choice(action)
        state_next = jax.random.categorical(key, jnp.log(self.transitions[state, choice])).astype(jnp.int32)
        return Step(
            state_next,
            self.rewards[state, choice, state_next],
            jnp.where(self.terminal[state_next], 0.0, self.discount),
        )

    def value(self, state: Int[Array, ""]) -> Float[Array, ""]:
        """The final value of the state."""
        return self.final[state]


def tabular(
    transitions: Any,
    rewards: Any,
    *,
    initial: Any = None,
    final: Any = None,
    terminal: Any = None,
    discount: Any = 1.0,
) -> Tabular:
    """Make a Markov decision process from tables.

    Where a state is terminal, what is given for its transitions, rewards and final value does not matter: it is
    absorbing, with a value of 0.

    Args:
        transitions: p(s'|s, a), [S, C, S]; rows sum to 1.
        rewards: r(s, a), [S, C], or r(s, a, s'), [S, C, S].
        initial: the distribution of the first state, [S]; state 0 unless given.
        final: the value beyond a horizon, [S], in units of reward; 0 unless given.
        terminal: which states end the episode when they are entered, [S], boolean; none unless given.
        discount: γ, in [0, 1].

    Returns:
        The model; all its parameters are traced.

    Raises:
        ValueError: for a parameter outside its range or of another shape.
    """
    transitions = distributions("transitions", transitions)
    shape = transitions.shape
    if len(shape) != 3 or shape[0] != shape[2] or 0 in shape:
        raise ValueError(f"transitions must have shape [S, C, S], one row per state and action, got {shape}")
    num_states = shape[0]
    rewards = real("rewards", rewards, shape=None)
    if rewards.shape not in (shape[:2], shape):
        raise ValueError(f"rewards must have shape {shape[:2]} or {shape}, got {rewards.shape}")
    rewards = jnp.broadcast_to(rewards if rewards.ndim == 3 else rewards[..., None], shape)
    initial = distributions("initial", jnp.zeros(num_states).at[0].set(1.0) if initial is None else initial)
    if initial.shape != (num_states,):
        raise ValueError(f"initial must have shape ({num_states},), one entry per state, got {initial.shape}")
    ends = jnp.zeros(num_states, bool) if terminal is None else jnp.asarray(terminal)
    if ends.dtype != bool or ends.shape != (num_states,):
        raise ValueError(f"terminal must be boolean of shape ({num_states},), got {ends.dtype} of shape {ends.shape}")
    final = real("final", 0.0 if final is None else final, shape=(num_states,))
    absorbed = ends[:, None, None]
    return Tabular(
        transitions=jnp.where(absorbed, jnp.eye(num_states)[:, None, :], transitions),
        rewards=jnp.where(absorbed, 0.0, rewards),
        initial=initial,
        final=jnp.where(ends, 0.0, final),
        terminal=ends,
        discount=real("discount", discount, minimum=0.0, maximum=1.0),
    )
