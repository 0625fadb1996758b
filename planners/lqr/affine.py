"""Plans with feedback: a time-varying affine policy along a trajectory."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ...dynamics.base import Model
from ...dynamics.coordinates import coordinates
from ...dynamics.pytrees import pytree
from ..beliefs.full import FullGaussian
from ..beliefs.gaussian import Gaussian
from ..beliefs.locked import dimension, log_scale
from ..beliefs.protocol import Plan, Plans
from ..beliefs.reading import read
from ..beliefs.triangular import triangular_inverse
from ..beliefs.warm_start import Shift


@pytree
class AffinePolicy:
    """π_t(a|x) = N(ū_t + K_t (x − x̄_t), Σ_t), whose plan is the undisturbed part.

    Without a temperature there is no noise, Σ = 0. `policy(model)` is the policy in states; everything else is about
    plans, as they are where the dynamics are linear: each action as the policy answers to the noise of those before.

    Attributes:
        plan: ū, [H, A].
        states: the coordinates x̄ before each step, [H, n]; see `dynamics.coordinates`.
        gains: K, [H, A, n]; 0 where nothing is known yet.
        scale_tril: L of the covariance L Lᵀ of flattened plans, lower triangular, [H·A, H·A]; the blocks on its
            diagonal are those of Σ_t. None where there is no noise.
        proposal: the Gaussian around the initial plan, from which other starts are drawn.
    """

    plan: Plan
    states: Float[Array, "H n"]
    gains: Float[Array, "H A n"]
    scale_tril: Float[Array, "d d"] | None
    proposal: Gaussian

    @property
    def mean(self) -> Plan:
        """The plan."""
        return self.plan

    def covariances(self) -> Float[Array, "H A A"]:
        """Σ_t of an action in a known state, [H, A, A]."""
        tril = self._step_trils()
        return jnp.einsum("hij,hkj->hik", tril, tril, precision="highest")

    def covariance(self) -> Float[Array, "d d"]:
        """The covariance of the flattened plan, [H·A, H·A]."""
        return self._gaussian().covariance()

    def policy(self, model: Model) -> "StatePolicy":
        """The policy in the states of `dynamics.timed(model)`.

        Args:
            model: that gives the coordinates of states.

        Returns:
            What has `mean(state)`, `sample(key, state)` and `log_prob(state, action)`.
        """
        return StatePolicy(self, model)

    def respond(
        self, x: Float[Array, " n"], time: Any, noise: Float[Array, "H A"] | None = None
    ) -> Float[Array, " A"]:
        """The action in a state at a time, ū_t + K_t (x − x̄_t) of the step that holds then.

        Args:
            x: the coordinates of the state.
            time: in steps since the plan begins; between two steps x̄ lies between theirs.
            noise: ε of each step; adds C_t ε_t.
        """
        time = jnp.stack([time])
        step = read(jnp.arange(len(self.plan)), time)[0]
        share = jnp.clip(time[0] - step, 0.0, 1.0)
        following = self.states[jnp.minimum(step + 1, len(self.plan) - 1)]
        deviation = x - ((1.0 - share) * self.states[step] + share * following)
        action = self.plan[step] + jnp.matmul(self.gains[step], deviation, precision="highest")
        if noise is None:
            return action
        return action + jnp.matmul(self._step_trils()[step], noise[step], precision="highest")

    def sample(self, key: PRNGKeyArray, num_samples: int) -> Plans:
        """Draw plans [K, H, A]; without noise they are all the same."""
        if self.scale_tril is None:
            return jnp.broadcast_to(self.plan, (num_samples, *self.plan.shape))
        return self._gaussian().sample(key, num_samples)

    def log_prob(self, plans: Plans) -> Float[Array, " K"]:
        """Log q(a) of each plan."""
        return self._gaussian().log_prob(plans)

    def mode(self) -> Plan:
        """The plan."""
        return self.plan

    def best(self) -> Plan:
        """The plan: of all that were tried the best."""
        return self.plan

    def shift(self, initial: "AffinePolicy", how: Shift) -> "AffinePolicy":
        """The policy from a later step on; at the end it has no feedback, and the noise of its last step."""
        plan = how.plans(self.plan, initial.plan)
        states = how.forward(self.states, self.states[-1])
        gains = how.forward(self.gains.reshape(len(plan), -1), jnp.zeros(self.gains[0].size))
        gains = gains.reshape(self.gains.shape)
        tril = self.scale_tril
        if tril is not None:
            # what the first steps did is known now: of the others only their own noise and each other's is left
            last = jnp.kron(jnp.eye(len(plan)), self._step_trils()[-1])
            tril = how.carried(tril, last, plan.shape[1])
        return AffinePolicy(plan, states, gains, tril, initial.proposal)

    def entropy(self) -> Float[Array, ""] | None:
        """Of plans, nats; None without noise."""
        return None if self.scale_tril is None else self._gaussian().entropy()

    def kl(self, other: "AffinePolicy") -> Float[Array, ""] | None:
        """KL(self ‖ other) of plans, nats; None without noise."""
        return None if self.scale_tril is None else self._gaussian().kl(other._gaussian())

    def _gaussian(self) -> FullGaussian:
        if self.scale_tril is None:
            raise ValueError("a policy without noise has no density: give the planner a temperature, got None")
        return FullGaussian(self.plan, self.scale_tril, jnp.zeros(()), None)

    def _step_trils(self) -> Float[Array, "H A A"]:
        if self.scale_tril is None:
            return jnp.zeros((*self.plan.shape, self.plan.shape[1]))
        steps, size = self.plan.shape
        blocks = self.scale_tril.reshape(steps, size, steps, size)
        return blocks[jnp.arange(steps), :, jnp.arange(steps), :]


@pytree
class StatePolicy:
    """An affine policy in the states of a `dynamics.timed` model. Make one with `AffinePolicy.policy`.

    Attributes:
        affine: the policy in coordinates.
        model: that gives the coordinates of states.
    """

    affine: AffinePolicy
    model: Model

    def mean(self, state: Any) -> Float[Array, " A"]:
        """ū_t + K_t (x − x̄_t) in a `TimedState`; after the last step that of the last."""
        t = jnp.clip(state.step, 0, len(self.affine.plan) - 1)
        deviation = coordinates(self.model, state.state) - self.affine.states[t]
        return self.affine.plan[t] + jnp.matmul(self.affine.gains[t], deviation, precision="highest")

    def sample(self, key: PRNGKeyArray, state: Any) -> Float[Array, " A"]:
        """Draw an action; without noise its mean."""
        mean = self.mean(state)
        return mean + self._tril(state) @ jax.random.normal(key, mean.shape)

    def log_prob(self, state: Any, action: Float[Array, " A"]) -> Float[Array, ""]:
        """Log of the density of an action, over what is not locked."""
        if self.affine.scale_tril is None:
            raise ValueError("a policy without noise has no density: give the planner a temperature, got None")
        tril = self._tril(state)
        z = jnp.matmul(triangular_inverse(tril), action - self.mean(state), precision="highest")
        scale = jnp.diagonal(tril)
        return -0.5 * (z @ z) - log_scale(scale).sum() - 0.5 * dimension(scale) * jnp.log(2.0 * jnp.pi)

    def _tril(self, state: Any) -> Float[Array, "A A"]:
        return self.affine._step_trils()[jnp.clip(state.step, 0, len(self.affine.plan) - 1)]


def affine_policy(proposal: Gaussian, states: Float[Array, "H n"], noisy: bool) -> AffinePolicy:
    """Make the policy that follows the mean of a Gaussian blindly, with unit noise of what it moves, or none."""
    plan = proposal.mean
    steps, size = plan.shape
    tril = jnp.diag((~proposal.locks).reshape(-1).astype(plan.dtype)) if noisy else None
    return AffinePolicy(plan, states, jnp.zeros((steps, size, states.shape[1])), tril, proposal)


def unit_trils(locks: Bool[Array, "H A"], dtype: jnp.dtype) -> Float[Array, "H A A"]:
    """Factors of the covariances of unit noise, without that of locked actuators."""
    return jax.vmap(jnp.diag)((~locks).astype(dtype))


def answered(policy: AffinePolicy, trils: Float[Array, "H A A"], derivatives: Float[Array, "H n z"]) -> AffinePolicy:
    """A policy with noise of the factors C_t, whose plans answer to it through linear dynamics.

    Args:
        policy: plan, states and gains.
        trils: C_t of Σ_t = C_t C_tᵀ, [H, A, A].
        derivatives: of the next coordinates by (x, u), [H, n, n + A].

    Returns:
        The policy with `scale_tril` L: a = ū + L ε for the noise ε of all steps.
    """
    steps, size = policy.plan.shape
    n = policy.states.shape[1]
    each = jnp.eye(steps * size).reshape(steps, size, -1)

    def follow(deviation: Array, now: tuple[Array, ...]) -> tuple[Array, Array]:
        gain, tril, slope, noise = now
        action = gain @ deviation + tril @ noise
        return slope[:, :n] @ deviation + slope[:, n:] @ action, action

    with jax.default_matmul_precision("highest"):
        start = jnp.zeros((n, steps * size))
        _, rows = jax.lax.scan(follow, start, (policy.gains, trils, derivatives, each))
    return dataclasses.replace(policy, scale_tril=rows.reshape(steps * size, -1))
