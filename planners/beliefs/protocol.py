"""Beliefs over plans: the protocol of all families, and the optional protocols of what some can do besides.

K counts plans, H the steps of the horizon, A the actuators. Plans of discrete actions are integers, without an axis
A.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

from ...dynamics.base import State
from ...dynamics.pytrees import difference
from ...dynamics.spaces import ActionSpace, Discrete
from .warm_start import Shifting

Plans = Float[Array, "K H A"] | Int[Array, "K H"]
Plan = Float[Array, "H A"] | Int[Array, " H"]

_MARGIN, _LEAST_MARGIN = 0.5, 0.25  # in standard deviations, in half ranges; see `range_of_centers`


@runtime_checkable
class Family(Protocol):
    """A family of beliefs as configuration, without shapes: `planners.beliefs.gaussian(std=0.5)`."""

    def bind(self, horizon: int, space: ActionSpace) -> Any:
        """The belief where inference starts, over plans of `horizon` steps.

        Raises:
            ValueError: if a parameter has another shape, or the family is not of such actions.
        """
        ...


@runtime_checkable
class Belief(Protocol):
    """A distribution q(a) over plans, from a family onto which weighted plans can be projected."""

    def sample(self, key: PRNGKeyArray, num_samples: int) -> Plans:
        """Draw plans a ~ q."""
        ...

    def log_prob(self, plans: Plans) -> Float[Array, " K"]:
        """Log q(a) of each plan."""
        ...

    def fit(self, plans: Plans, weights: Float[Array, " K"]) -> Any:
        """The member of the family nearest to the weighted plans, argmin KL(Σ w δ_a ‖ q); weights sum to 1."""
        ...

    def mode(self) -> Plan:
        """The plan to execute, around which the belief samples."""
        ...

    def shift(self, initial: Any, how: Shifting) -> Any:
        """The belief later, one time step or as many as `how` says; what it cannot know yet comes from `initial`."""
        ...

    def entropy(self) -> Float[Array, ""] | None:
        """−E log q, in nats; None where it has no density."""
        ...

    def kl(self, other: Any) -> Float[Array, ""] | None:
        """KL(q ‖ other), in nats; None where it has no density."""
        ...


# What a belief can do besides. Ask by `isinstance`, and never by names of attributes.


@runtime_checkable
class Proposing(Protocol):
    """A belief that proposes other plans than samples of its own. Ask by `propose`."""

    def propose(self, key: PRNGKeyArray, num_samples: int) -> "Proposal":
        """Plans to evaluate, in the place of `sample`."""
        ...


@runtime_checkable
class Updating(Protocol):
    """A belief that learns from returns, not from weights alone. Ask by `update`."""

    def update(self, plans: Plans, weights: Float[Array, " K *H"], returns: Float[Array, " K"]) -> Any:
        """The belief after these plans, in the place of `fit`."""
        ...


@runtime_checkable
class Sequential(Belief, Protocol):
    """A belief whose plans can be drawn step by step, as a particle filter needs."""

    def noise(self, key: PRNGKeyArray, num_samples: int) -> Any:
        """What drives K plans: a pytree of arrays [K, H, ...]."""
        ...

    def from_noise(self, noise: Any) -> Plans:
        """The plans that noise drives, each step by the noise of the steps up to it."""
        ...

    def step_log_probs(self, plans: Plans) -> Float[Array, "K H"]:
        """Log q(a_t | a_<t) of each plan and step, which does not depend on later steps."""
        ...


@runtime_checkable
class Centered(Protocol):
    """A belief that samples around one plan or several, which planners keep near the actuators' range."""

    def map_centers(self, function: Callable[[Float[Array, "*M H A"]], Float[Array, "*M H A"]]) -> Any:
        """The same belief around other centres: a monotone function of each of their numbers.

        Over knots it is applied to those, which may be more or fewer than the steps.
        """
        ...

    def spread(self) -> Float[Array, " A"]:
        """The standard deviation of its plans around a centre, averaged over the steps."""
        ...


@runtime_checkable
class HasMean(Protocol):
    """A belief that has a mean."""

    @property
    def mean(self) -> Float[Array, "H A"]:
        """The mean of its plans."""
        ...


@runtime_checkable
class Multimodal(Protocol):
    """A belief that has several modes."""

    def random_mode(self, key: PRNGKeyArray) -> Plan:
        """One of its modes, each as often as it is probable."""
        ...


@runtime_checkable
class HasModes(Protocol):
    """A belief with a few modes, all of which one can look at."""

    def modes(self) -> tuple[Plans, Float[Array, " M"]]:
        """Its modes, [M, H, A], and how much of it each stands for."""
        ...


@runtime_checkable
class LearnsSpread(Protocol):
    """A belief that may learn how wide it is."""

    @property
    def learns_spread(self) -> bool:
        """Whether fits change its spread."""
        ...


@runtime_checkable
class Wrapping(Protocol):
    """A belief around another one. Ask by `innermost`."""

    @property
    def inner(self) -> Any:
        """The belief inside."""
        ...


@runtime_checkable
class Density(Protocol):
    """The density of plans: of a belief, or of the policy that has drawn them."""

    def log_prob(self, plans: Plans) -> Float[Array, " K"]:
        """Log of the density of each plan."""
        ...


@runtime_checkable
class Policy(Protocol):
    """A distribution over actions in a state."""

    def sample(self, key: PRNGKeyArray, state: State) -> Num[Array, "*a"]:
        """Draw an action, [A], on the scale of plans, or an integer."""
        ...

    def log_prob(self, state: State, action: Num[Array, "*a"]) -> Float[Array, ""]:
        """Log of the density of an action in a state."""
        ...


class Proposal(NamedTuple):
    """Plans to evaluate.

    Attributes:
        plans: [K, H, A].
        belief: the belief that proposed them, with what it remembers of that.
        log_correction: log q(a) − log r(a) of plans that were drawn from another distribution r than q, [K]; None
            where they were drawn from q.
        log_density: log r of any plans [K, H, A], to mix r with other distributions, a pytree as all of this is (see
            `jax.tree_util.Partial`); None where there is no r, or it is not known.
        drawn: which of them were drawn, from q or r, [K]; None for all. Others (the mode, plans that are remembered)
            are no samples: they do not count in evidences, and have no weight under a prior.
    """

    plans: Plans
    belief: Any
    log_correction: Float[Array, " K"] | None = None
    log_density: Callable[[Plans], Float[Array, " K"]] | None = None
    drawn: Bool[Array, " K"] | None = None


def propose(belief: Any, key: PRNGKeyArray, num_samples: int) -> Proposal:
    """Plans to evaluate, by the belief's own `propose` if it has one, else by its `sample`."""
    if isinstance(belief, Proposing):
        return belief.propose(key, num_samples)
    return Proposal(belief.sample(key, num_samples), belief)


def update(belief: Any, plans: Plans, weights: Float[Array, " K *H"], returns: Float[Array, " K"]) -> Any:
    """The belief after these plans, by its own `update` if it has one, else by its `fit`.

    Args:
        belief: that proposed the plans.
        plans: [K, H, A].
        weights: [K], they sum to 1; [K, H] where each step has its own.
        returns: [K]; −inf for plans that must get no weight.

    Returns:
        A belief of the same structure.

    Raises:
        ValueError: if it is not.
    """
    if isinstance(belief, Updating):
        return check_same("what update returns", belief, belief.update(plans, weights, returns))
    return check_same("what fit returns", belief, belief.fit(plans, weights))


def check_same(name: str, belief: Any, changed: Any) -> Any:
    """Return what a belief was changed to, or raise a `ValueError` unless it is a belief of the same structure."""
    if (found := difference(name, belief, changed)) is not None:
        raise ValueError(f"{type(belief).__name__} must stay one of the same structure, shapes and dtypes: {found}")
    return changed


def innermost(belief: Any) -> Any:
    """The belief inside of splines and memories."""
    while isinstance(belief, Wrapping):
        belief = belief.inner
    return belief


def range_of_centers(belief: Any) -> Float[Array, " A"]:
    """How far centres may go in either direction, [A]: to the end of the actuators' range plus half a std, or 0.25.

    Beyond the range nothing changes for a model that clips: means of weighted plans would wander there by chance,
    further with each warm start, and take as long to come back. The margin is for plans at the ends of the range:
    around 1 noise takes 0.4 standard deviations of the force away on average, around the end of the margin 0.2. (Of
    half a std and 0.25 it is the greater.)

    Args:
        belief: where inference starts, whose spread decides the margin.
    """
    return 1.0 + jnp.maximum(_MARGIN * belief.spread(), _LEAST_MARGIN)


def within(belief: Any, most: Float[Array, " A"]) -> Any:
    """The belief, its centres clipped to ±`most`; its spread stays, and its densities are of the same family."""
    return belief.map_centers(lambda plans: jnp.clip(plans, -most, most))


def has_center(belief: Any) -> bool:
    """Whether a belief samples around plans, which then may wander: not one of discrete actions, or of a policy."""
    found = []

    def look(plans: Float[Array, "*M H A"]) -> Float[Array, "*M H A"]:
        found.append(plans)
        return plans

    if isinstance(belief, Centered):
        belief.map_centers(look)
    return bool(found)


def continuous_shape(family: str, horizon: int, space: ActionSpace) -> tuple[int, int]:
    """The shape [H, A] of plans, or a `ValueError` where actions are discrete."""
    if isinstance(space, Discrete):
        raise ValueError(f"{family} needs continuous actions, got {space}")
    return horizon, space.size
