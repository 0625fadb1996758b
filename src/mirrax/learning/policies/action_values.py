"""Values of actions in states that networks give."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from mirrax.dynamics.perceptron import Perceptron
from mirrax.dynamics.pytrees import pytree, static
from mirrax.dynamics.spaces import ActionSpace, Discrete
from mirrax.learning.policies.networks import outputs


@pytree
class ActionValue:
    """Q(s, a) in `values.value_unit`, by a network.

    Attributes:
        network: of observation and action, or of an observation alone where actions are discrete.
        space: of actions.
    """

    network: Perceptron = static()
    space: ActionSpace = static()

    def of(self, params: Any, seen: Float[Array, "*b n"], actions: Num[Array, "*k"]) -> Float[Array, "..."]:
        """The values of actions [*b, A] or [*b], or of several, [N, *b, A] or [N, *b], for observations [*b, n]."""
        if isinstance(self.space, Discrete):
            every = outputs(self.network, params, seen)
            several = actions.reshape(-1, *seen.shape[:-1])
            picked = jax.vmap(lambda one: jnp.take_along_axis(every, one[..., None], -1)[..., 0])(several)
            return picked.reshape(actions.shape)
        seen = jnp.broadcast_to(seen, (*actions.shape[:-1], seen.shape[-1]))
        return outputs(self.network, params, jnp.concatenate([seen, actions], -1))[..., 0]
