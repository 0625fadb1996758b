"""Imagined trajectories of a policy from one state, and gradients by the outputs of its network."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import Array, Bool, Float, Int, Key

from ...dynamics.base import Model, State
from ..gradients.objective import reverse_mode
from ..rollouts.blocks import sizes, spread
from ..rollouts.simulation import RolloutState, start_rollouts
from .network import NetworkPolicy


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
    """The gradients that trajectories give for the policy that made them.

    Attributes:
        returns: [K], reward units.
        objective: R − λ Σ_t KL(π_θ ‖ π_φ)(s_t) of each, [K]; −∞ where it diverged.
        kl: the mean of these divergences over all steps, nats.
        observations: [K, H, n]; 0 where they are no numbers.
        gradients: by the network's output at each of these, [K, H, 2 A], of which the gradient by its parameters is
            made: their sum over all trajectories is that of the expected objective.
        valid: which did not diverge, [K].
        num_invalid_gradients: how many did not, and have no gradient; None where gradients are made of returns.
    """

    returns: Float[Array, " K"]
    objective: Float[Array, " K"]
    kl: Float[Array, ""]
    observations: Float[Array, "K H n"]
    gradients: Float[Array, "K H outputs"]
    valid: Bool[Array, " K"]
    num_invalid_gradients: Int[Array, ""] | None


class Imagination(NamedTuple):
    """Where a policy is tried: all but the policy.

    Attributes:
        model: what to imagine with.
        key: of the model's noise; the same key, the same noise.
        state: where trajectories start.
        noise: that drives the actions, standard normal, [K, H, A].
        given: π_φ.
        temperature: λ, in reward units.
        paired: whether the noise of the second half is that of the first with the other sign.
        chunk_size: how many trajectories at once; None chooses for the backend.
        sharding: how to spread them over devices; None for one device.
    """

    model: Model
    key: Key[Array, ""]
    state: State
    noise: Float[Array, "K H A"]
    given: NetworkPolicy
    temperature: Float[Array, ""]
    paired: bool = False
    chunk_size: int | None = None
    sharding: NamedSharding | None = None

    def follow(self, policy: NetworkPolicy) -> Imagined:
        """What the policy does."""
        return self._imagine(policy, self._still(), differentiable=False)

    def judge(self, policy: NetworkPolicy) -> tuple[Float[Array, " K"], Float[Array, ""]]:
        """The objective of each trajectory that the policy makes, as in `Lessons`, and the mean divergence."""
        judged = self._judge_trajectories(policy, self.follow(policy))
        return judged.objective, judged.mean_kl

    def score(self, policy: NetworkPolicy) -> Lessons:
        """Lessons without derivatives of the model: ∇ log π_θ(a_t|s_t) times what came of it (Williams, 1992).

        What came of an action is what is earned from it on, less λ times the divergences that follow. It is compared
        with what the other trajectories got from that step on (but for the one of opposite noise), which are no part
        of it and therefore leave the expectation as it is. A trajectory that diverges got the least that any got.
        """
        imagined = self.follow(policy)
        judged = self._judge_trajectories(policy, imagined)
        counted = imagined.alive & judged.valid[:, None]
        # Σ_{t'≥t} r_t' − λ Σ_{t'>t} KL_t': the divergence at t is not of the action's making
        earned = imagined.gains - self.temperature * judged.kl
        to_go = jnp.flip(jnp.cumsum(jnp.flip(earned, 1), 1), 1) + self.temperature * judged.kl
        lost = imagined.alive & ~judged.valid[:, None] & _finite(imagined) & judged.valid.any()
        least = jnp.where(counted, to_go, jnp.inf).min(0)
        counted = (counted | lost) & jnp.isfinite(least)
        to_go = jnp.where(counted, jnp.where(judged.valid[:, None], to_go, least), 0.0)
        own, number = to_go, counted.astype(to_go.dtype)
        if self.paired:
            own, number = (leaf + jnp.roll(leaf, len(leaf) // 2, axis=0) for leaf in (own, number))
        others = (to_go.sum(0) - own) / jnp.maximum(counted.sum(0) - number, 1.0)
        advantage = jnp.where(counted, to_go - others, 0.0)
        rows = counted[..., None]
        observations, outputs, actions = (
            jnp.where(rows, leaf, 0.0) for leaf in (imagined.observations, imagined.outputs, imagined.actions)
        )
        references = _moments(self.given, observations)

        def surrogate(outputs: Array) -> Float[Array, ""]:
            near = jnp.where(counted, policy.divergence(outputs, references), 0.0)
            return (advantage * policy.log_density(outputs, actions) - self.temperature * near).sum()

        gradients = jax.grad(surrogate)(outputs) / jnp.maximum((judged.valid | lost.any(1)).sum(), 1)
        return Lessons(
            imagined.returns, judged.objective, judged.mean_kl, observations, gradients, judged.valid, None
        )

    def pathwise(self, policy: NetworkPolicy) -> Lessons:
        """Lessons by derivatives through the model, feedback included (Heess et al., 2015, "SVG(∞)").

        The derivatives are taken by nudges of the network's output at each step of each trajectory, so that one that
        diverges spoils no other; it teaches nothing. Nor do they know that actions decide when an episode ends.

        Raises:
            ValueError: if the model cannot be differentiated so.
        """

        def total(nudges: Array) -> tuple[Float[Array, ""], tuple[Imagined, _Told]]:
            imagined = self._imagine(policy, nudges, differentiable=True)
            judged = self._judge_trajectories(policy, imagined)
            return jnp.where(judged.valid, judged.objective, 0.0).sum(), (imagined, judged)

        with reverse_mode(self.model):
            gradients, (imagined, judged) = jax.grad(total, has_aux=True)(self._still())
        valid = judged.valid & jnp.isfinite((gradients**2).sum((1, 2)))  # of which no norm overflows
        rows = valid[:, None, None]
        observations = jnp.where(rows, imagined.observations, 0.0)
        gradients = jnp.where(rows, gradients, 0.0) / jnp.maximum(valid.sum(), 1)
        return Lessons(
            imagined.returns,
            jnp.where(valid, judged.objective, -jnp.inf),
            judged.mean_kl,
            observations,
            gradients,
            valid,
            (judged.valid & ~valid).sum(),
        )

    def _judge_trajectories(self, policy: NetworkPolicy, imagined: Imagined) -> "_Told":
        kl = policy.divergence(imagined.outputs, _moments(self.given, imagined.observations))
        kl = jnp.where(imagined.alive, kl, 0.0)
        objective = imagined.returns - self.temperature * kl.sum(1)
        valid = jnp.isfinite(objective) & _finite(imagined).all(1)
        counted = imagined.alive & valid[:, None]
        mean_kl = jnp.where(counted, kl, 0.0).sum() / jnp.maximum(counted.sum(), 1)
        return _Told(kl, jnp.where(valid, objective, -jnp.inf), valid, mean_kl)

    def _imagine(self, policy: NetworkPolicy, nudges: Array, *, differentiable: bool) -> Imagined:
        _, block_size = sizes(self.model, self.state, 1, self.chunk_size, self.sharding)
        follow = functools.partial(_follow, differentiable=differentiable)
        parts = (self.model, jax.random.clone(self.key), self.state, policy)  # the same noise for all policies
        return spread(follow, parts, (self.noise, nudges), block_size, self.sharding)

    def _still(self) -> Float[Array, "K H outputs"]:
        return jnp.zeros((*self.noise.shape[:2], 2 * self.noise.shape[2]))


class _Told(NamedTuple):
    """KL(π_θ ‖ π_φ) of each step, the objective of each trajectory, whether that is a number, and the mean KL."""

    kl: Float[Array, "K H"]
    objective: Float[Array, " K"]
    valid: Bool[Array, " K"]
    mean_kl: Float[Array, ""]


def _follow(
    parts: tuple[Model, Key[Array, ""], State, NetworkPolicy],
    rows: tuple[Float[Array, "k H A"], Float[Array, "k H outputs"]],
    first: Int[Array, ""],
    *,
    differentiable: bool,
) -> Imagined:
    """The trajectories of a policy, all at once; `first` is the number of the first of them."""
    (model, key, state, policy), (noise, nudges) = parts, rows
    rollouts = start_rollouts(
        model, key, state, len(noise), noise.shape[1], first, num_scenarios=1, common_noise=False, freeze=True
    )

    def body(at: RolloutState, now: tuple[Array, Array, Array]) -> tuple[RolloutState, tuple[Array, ...]]:
        keys, noise, nudges = now
        observations = jax.vmap(policy.observe)(rollouts.first(at.state))
        outputs = jax.vmap(policy.outputs)(observations) + nudges
        actions = policy.drawn(outputs, noise)
        after, gains = rollouts.advance(rollouts.models, keys, at, actions)
        return after, (observations, outputs, actions, rollouts.mean(gains), ~rollouts.ended(at))

    if differentiable:
        body = jax.checkpoint(body, prevent_cse=False)  # which a scan does by itself
    steps = (rollouts.keys, noise.swapaxes(0, 1), nudges.swapaxes(0, 1))
    end, history = jax.lax.scan(body, rollouts.start, steps)
    observations, outputs, actions, gains, alive = (jnp.moveaxis(leaf, 0, 1) for leaf in history)
    returns = rollouts.risk_adjusted(
        None, rollouts.total_with(lambda model, state: model.value(state))(rollouts.models, end)
    )
    gains = gains.at[:, -1].add(returns - rollouts.mean(end.total))
    return Imagined(observations, outputs, actions, gains, alive, returns)


def _moments(policy: NetworkPolicy, observations: Float[Array, "K H n"]) -> tuple[Array, Array]:
    return policy.moments(over_steps(policy.outputs)(observations))


def over_steps(function: Callable[..., Any]) -> Callable[..., Any]:
    """Apply a function of one observation to those of all steps, [K, H, n]."""
    return jax.vmap(jax.vmap(function))


def _finite(imagined: Imagined) -> Bool[Array, "K H"]:
    """Which steps are finite."""
    parts = (imagined.observations, imagined.outputs, imagined.actions)
    return jnp.stack([jnp.isfinite(part).all(-1) for part in parts]).all(0)
