"""What a policy would do: trajectories from one state, and where the outputs of its network should go."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import Array, Bool, Float, Int, Key

from ..dynamics.base import Model, State
from .families import NetworkPolicy
from .pathwise import reverse_mode
from .rollout import sizes, spread
from .stepping import At, prepare

GRADIENTS = ("score", "pathwise")


class Imagined(NamedTuple):
    """Trajectories that a policy makes, each in noise, and in a scenario of the model, of its own.

    Attributes:
        observations: before each step, [K, H, n].
        outputs: of the network there, [K, H, 2 A].
        actions: [K, H, A].
        gains: discounted rewards, [K, H]; the last with the value of what follows.
        alive: which steps come before the end of the episode, [K, H].
        returns: [K], reward units; NaN or infinite where a trajectory diverged.
    """

    observations: Float[Array, "K H n"]
    outputs: Float[Array, "K H outputs"]
    actions: Float[Array, "K H A"]
    gains: Float[Array, "K H"]
    alive: Bool[Array, "K H"]
    returns: Float[Array, " K"]


class Lessons(NamedTuple):
    """What trajectories say of the policy that made them.

    Attributes:
        returns: [K], reward units.
        worth: R − λ Σ_t KL(π_θ ‖ π_φ)(s_t) of each, [K]; −∞ where it diverged.
        kl: the mean of these divergences over all steps, nats.
        observations: [K, H, n]; 0 where a trajectory diverged.
        gradients: of the expected worth by what the network says at each of these, [K, H, 2 A]: their sum over
            trajectories over K is what a gradient by its parameters is made of; 0 where one diverged.
        valid: which did not, [K].
    """

    returns: Float[Array, " K"]
    worth: Float[Array, " K"]
    kl: Float[Array, ""]
    observations: Float[Array, "K H n"]
    gradients: Float[Array, "K H outputs"]
    valid: Bool[Array, " K"]


class Imagination(NamedTuple):
    """Where a policy is tried: all but the policy.

    Attributes:
        model: what to imagine with.
        key: of the model's noise; the same key, the same noise.
        state: where trajectories start.
        noise: that drives the actions, standard normal, [K, H, A].
        given: π_φ.
        temperature: λ, in reward units.
        chunk_size: how many trajectories at once; None chooses for the backend.
        sharding: how to spread them over devices; None for one device.
    """

    model: Model
    key: Key[Array, ""]
    state: State
    noise: Float[Array, "K H A"]
    given: NetworkPolicy
    temperature: Float[Array, ""]
    chunk_size: int | None
    sharding: NamedSharding | None

    def follow(self, policy: NetworkPolicy) -> Imagined:
        """What the policy does."""
        return self._imagine(policy, self._still(policy), differentiable=False)

    def judge(self, policy: NetworkPolicy) -> tuple[Float[Array, " K"], Float[Array, ""]]:
        """The worth of each trajectory that the policy makes, as in `Lessons`, and the mean divergence."""
        imagined = self.follow(policy)
        kl = self._divergence(policy, imagined)
        worth = imagined.returns - self.temperature * kl.sum(1)
        valid = _sound(imagined) & jnp.isfinite(worth)
        return jnp.where(valid, worth, -jnp.inf), _mean_of(kl, imagined, valid)

    def score(self, policy: NetworkPolicy) -> Lessons:
        """Lessons without derivatives of the model: ∇ log π_θ(a_t|s_t) times what came of it (Williams, 1992).

        What came of an action is what is earned from it on, less λ times the divergences that follow. It is compared
        with what the other trajectories got from that step on, which are no part of it and therefore leave the
        expectation as it is.
        """
        imagined = self.follow(policy)
        kl = self._divergence(policy, imagined)
        worth = imagined.returns - self.temperature * kl.sum(1)
        valid = _sound(imagined) & jnp.isfinite(worth)
        counted = imagined.alive & valid[:, None]
        # Σ_{t'≥t} r_t' − λ Σ_{t'>t} KL_t': the divergence at t is not of the action's making
        earned = imagined.gains - self.temperature * kl
        to_go = jnp.flip(jnp.cumsum(jnp.flip(earned, 1), 1), 1) + self.temperature * kl
        to_go = jnp.where(counted, to_go, 0.0)
        others = jnp.maximum(counted.sum(0) - 1, 1)
        advantage = jnp.where(counted, to_go - (to_go.sum(0) - to_go) / others, 0.0)
        observations = jnp.where(valid[:, None, None], imagined.observations, 0.0)
        references = _moments(self.given, observations)

        def surrogate(outputs: Array) -> Float[Array, ""]:
            likely = policy.log_density(outputs, jnp.where(counted[..., None], imagined.actions, 0.0))
            near = jnp.where(counted, policy.divergence(outputs, references), 0.0)
            return (advantage * likely - self.temperature * near).sum()

        gradients = jax.grad(surrogate)(jnp.where(valid[:, None, None], imagined.outputs, 0.0))
        return _lessons(imagined, worth, _mean_of(kl, imagined, valid), gradients, valid)

    def pathwise(self, policy: NetworkPolicy) -> Lessons:
        """Lessons by derivatives through the model, feedback included (Heess et al., 2015, "SVG(∞)").

        The derivatives are taken by nudges of what the network says at each step of each trajectory, so that one that
        diverges spoils no other.

        Raises:
            ValueError: if the model cannot be differentiated so.
        """

        def total(nudges: Array) -> tuple[Float[Array, ""], tuple[Imagined, Array, Array]]:
            imagined = self._imagine(policy, nudges, differentiable=True)
            kl = self._divergence(policy, imagined)
            worth = imagined.returns - self.temperature * kl.sum(1)
            return jnp.where(jnp.isfinite(worth), worth, 0.0).sum(), (imagined, kl, worth)

        with reverse_mode(self.model):
            gradients, (imagined, kl, worth) = jax.grad(total, has_aux=True)(self._still(policy))
        valid = _sound(imagined) & jnp.isfinite(worth) & jnp.isfinite(gradients).all((1, 2))
        return _lessons(imagined, worth, _mean_of(kl, imagined, valid), gradients, valid)

    def _imagine(self, policy: NetworkPolicy, nudges: Array, *, differentiable: bool) -> Imagined:
        _, block_size = sizes(self.model, self.state, 1, self.chunk_size)
        follow = functools.partial(_follow, differentiable=differentiable)
        parts = (self.model, self.key, self.state, policy)
        return spread(follow, parts, (self.noise, nudges), block_size, self.sharding)

    def _still(self, policy: NetworkPolicy) -> Float[Array, "K H outputs"]:
        return jnp.zeros((*self.noise.shape[:2], 2 * self.noise.shape[2]))

    def _divergence(self, policy: NetworkPolicy, imagined: Imagined) -> Float[Array, "K H"]:
        """KL(π_θ ‖ π_φ) where each step began; 0 after an end."""
        kl = policy.divergence(imagined.outputs, _moments(self.given, imagined.observations))
        return jnp.where(imagined.alive, kl, 0.0)


def _follow(
    parts: tuple[Model, Key[Array, ""], State, NetworkPolicy],
    rows: tuple[Float[Array, "k H A"], Float[Array, "k H outputs"]],
    first: Int[Array, ""],
    *,
    differentiable: bool,
) -> Imagined:
    """The trajectories of a policy, all at once; `first` is the number of the first of them."""
    (model, key, state, policy), (noise, nudges) = parts, rows
    rollouts = prepare(
        model, key, state, len(noise), noise.shape[1], first, num_scenarios=1, common_noise=False, freeze=True
    )

    def body(at: At, now: tuple[Array, Array, Array]) -> tuple[At, tuple[Array, ...]]:
        keys, noise, nudges = now
        observations = jax.vmap(policy.observe)(rollouts.first(at.state))
        outputs = jax.vmap(policy.outputs)(observations) + nudges
        actions = policy.drawn(outputs, noise)
        after, gains = rollouts.advance(rollouts.models, keys, at, actions)
        return after, (observations, outputs, actions, rollouts.mean(gains), ~rollouts.over(at))

    if differentiable:
        body = jax.checkpoint(body, prevent_cse=False)  # which a scan does by itself
    steps = (rollouts.keys, noise.swapaxes(0, 1), nudges.swapaxes(0, 1))
    end, told = jax.lax.scan(body, rollouts.start, steps)
    observations, outputs, actions, gains, alive = (jnp.moveaxis(leaf, 0, 1) for leaf in told)
    returns = rollouts.certain(None, rollouts.worth(lambda model, state: model.value(state))(rollouts.models, end))
    gains = gains.at[:, -1].add(returns - rollouts.mean(end.total))
    return Imagined(observations, outputs, actions, gains, alive, returns)


def _moments(policy: NetworkPolicy, observations: Float[Array, "K H n"]) -> tuple[Array, Array]:
    return policy.moments(over_steps(policy.outputs)(observations))


def over_steps(function: Callable[..., Any]) -> Callable[..., Any]:
    """Apply a function of one observation to those of all steps, [K, H, n]."""
    return jax.vmap(jax.vmap(function))


def _sound(imagined: Imagined) -> Bool[Array, " K"]:
    """Which trajectories are all of numbers."""
    parts = (imagined.observations, imagined.outputs, imagined.actions)
    return jnp.isfinite(imagined.returns) & jnp.stack([jnp.isfinite(part).all((1, 2)) for part in parts]).all(0)


def _mean_of(kl: Float[Array, "K H"], imagined: Imagined, valid: Bool[Array, " K"]) -> Float[Array, ""]:
    counted = imagined.alive & valid[:, None]
    return jnp.where(counted, kl, 0.0).sum() / jnp.maximum(counted.sum(), 1)


def _lessons(
    imagined: Imagined,
    worth: Float[Array, " K"],
    kl: Float[Array, ""],
    gradients: Float[Array, "K H outputs"],
    valid: Bool[Array, " K"],
) -> Lessons:
    rows = valid[:, None, None]
    return Lessons(
        imagined.returns,
        jnp.where(valid, worth, -jnp.inf),
        kl,
        jnp.where(rows, imagined.observations, 0.0),
        jnp.where(rows, gradients, 0.0),
        valid,
    )
