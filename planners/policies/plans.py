"""Amortised plans: a network that says, for each state, which plans are likely."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...dynamics.base import Model, State
from ...dynamics.checks import real
from ...dynamics.perceptron import Perceptron, layer_sizes
from ...dynamics.pytrees import pytree, static, traceable
from ...dynamics.spaces import Discrete, action_space
from ..beliefs.protocol import Plans
from ..options import checked
from .heads import Head, head_of
from .network import observed


@pytree
class PlanNetwork:
    """q_φ(a|s) over plans [H, A], whose parameters a perceptron gives, as its head says; see `plan_network`.

    Attributes:
        params: of the perceptron, φ; None until it is bound.
        observe: state -> observation [n].
        center: what is subtracted from observations, a scalar or [n].
        spread: what they are divided by then, > 0, a scalar or [n].
        scale: the standard deviation where the perceptron's output is 0, scalar, [A] or [H, A].
        std_min: below which no standard deviation falls, a scalar.
        horizon: the number H of steps.
        hidden: the sizes of the hidden layers.
        head: which distribution its outputs are the parameters of.
        network: the perceptron; None until it is bound.
    """

    params: Any
    observe: Callable[..., Any]
    center: Float[Array, "..."]
    spread: Float[Array, "..."]
    scale: Float[Array, "..."]
    std_min: Float[Array, ""]
    horizon: int = static()
    hidden: tuple[int, ...] = static()
    head: Head = static()
    network: Perceptron | None = static()

    def init(self, model: Model, state: State) -> "PlanNetwork":
        """The network with its own parameters, or those with which it begins, the same in every state.

        Args:
            model: whose actions are planned.
            state: a state of `model`.

        Returns:
            The network, bound to the shapes of observations and actions.

        Raises:
            ValueError: if actions are discrete, the observation is no vector, or the parameters are for others.
        """
        space = action_space(model)
        if isinstance(space, Discrete):
            raise ValueError(f"a plan network needs continuous actions, got {space}")
        shape = (self.horizon, space.size)
        if self.network is not None and self.scale.shape != shape:
            raise ValueError(f"plan network must be bound to plans of shape {shape}, got {self.scale.shape}")
        scale = real("std", self.scale, shape=shape)
        network = Perceptron(self.head.size(*shape), self.hidden, zero_last=True)
        observation = self.observe(state)
        if jnp.ndim(observation) != 1 or not jnp.size(observation):
            raise ValueError(
                f"observe must make a vector [n] of at least one number of a state, got {jnp.shape(observation)}"
            )
        size = jnp.shape(observation)
        own = jax.eval_shape(network.init, jax.random.key(0), observation)
        params = network.init(jax.random.key(0), observation) if self.params is None else self.params
        shapes = [jax.tree.map(jnp.shape, tree) for tree in (own, params)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"params must be of shapes {shapes[0]} for this model and horizon, got {shapes[1]}")
        center, spread = real("center", self.center, shape=size), real("spread", self.spread, shape=size)
        return dataclasses.replace(self, params=params, center=center, spread=spread, scale=scale, network=network)

    def belief(self, state: State) -> Any:
        """q_φ(·|s): a belief of `planners.beliefs`, with its density, mode and entropy.

        Args:
            state: s.

        Raises:
            ValueError: if the network is not bound.
        """
        self.check_bound()
        return self.belief_of(self.observe(state))

    def belief_of(self, observation: Float[Array, " n"]) -> Any:
        """The same of what is observed of a state.

        Args:
            observation: [n].
        """
        assert self.network is not None  # see `check_bound`
        outputs = self.network.apply(self.params, (observation - self.center) / self.spread)
        return self.head.belief(jnp.asarray(outputs, float), self.scale, self.std_min)

    def sample(self, key: PRNGKeyArray, state: State, num_samples: int) -> Plans:
        """Draw plans for a state, [K, H, A]."""
        return self.belief(state).sample(key, num_samples)

    def log_prob(self, state: State, plans: Plans) -> Float[Array, " K"]:
        """Log q_φ(a|s) of plans for a state."""
        return self.belief(state).log_prob(plans)

    def check_bound(self) -> None:
        """Raise a `ValueError` unless the network is bound."""
        if self.network is None or self.params is None:
            raise ValueError("plan network must be bound: network.init(model, state), got one without parameters")


def plan_network(
    horizon: int,
    *,
    hidden: Any = (64, 64),
    std: Any = 0.5,
    std_min: Any = 0.05,
    head: str = "gaussian",
    num_components: int | None = None,
    order: int | None = None,
    observe: Callable[..., Any] | None = None,
) -> PlanNetwork:
    """Make an amortised plan, q_φ(a|s): for each state a belief of `planners.beliefs`, as `head` says.

    The last layer begins at 0, so that at first all states get the same: N(0, std²), or a mixture whose components
    stand so far apart. `mirrax.learning` trains it: `distil` from a planner's weighted plans, `amortise` by its
    evidence bound. `planners.primed` makes it the prior of a planner, `planners.amortised` plans only where it does
    not do, and `planners.controller` acts by it alone.

    Args:
        horizon: the number H of steps, that of the planner beside it.
        hidden: the sizes of the hidden layers, with tanh; () for a linear map.
        std: by which standard deviations are multiplied, > 0, scalar, [A] or [H, A]; 1 is the end of the actuators'
            range.
        std_min: below which no standard deviation falls, > 0; of an autoregressive head that of a number given those
            before.
        head: "gaussian", independent over steps and actuators; "mixture" of such Gaussians, with weights of the
            state, for several ways to go; or "autoregressive", a_t affine in the actions before it, which makes a
            Gaussian of any covariance.
        num_components: of a mixture; None for 4.
        order: on how many steps before each step of an autoregressive head depends; None for all, which takes
            (H A)²/2 outputs.
        observe: state -> observation [n], a function of a module's or a pytree; None for `state.obs` where there is
            one, else the floating-point numbers of the state.

    Returns:
        The network, to be bound by `init(model, state)`.

    Raises:
        ValueError: for a parameter outside its range.
    """
    if observe is not None and not callable(observe):
        raise ValueError(f"observe must be a function of a state, got {observe!r}")
    return PlanNetwork(
        params=None,
        observe=traceable(observed if observe is None else observe),
        center=jnp.zeros(()),
        spread=jnp.ones(()),
        scale=real("std", std, above=0.0, shape=None),
        std_min=checked("std_min", std_min, required=True),
        horizon=checked("horizon", horizon),
        hidden=layer_sizes(hidden),
        head=head_of(head, num_components, order),
        network=None,
    )


def check_network(network: Any, horizon: int) -> PlanNetwork:
    """Return a network for a planner, or raise a `ValueError` unless it is bound and of the planner's horizon.

    Args:
        network: that the user gave.
        horizon: of the planner.
    """
    if not isinstance(network, PlanNetwork):
        got = network.__name__ if isinstance(network, type) else type(network).__name__
        raise ValueError(f"network must be a planners.policies.plan_network, got {got}")
    network.check_bound()
    if network.horizon != horizon:
        raise ValueError(f"network must have the planner's horizon {horizon}, got {network.horizon}")
    return network
