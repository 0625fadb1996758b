"""A rollout expanded along its plan: dynamics to first order, costs to second, each step by itself."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ...dynamics.base import Model, State
from ...dynamics.checks import scalar
from ...dynamics.coordinates import coordinates, with_coordinates
from ...dynamics.engines import reward_between
from ..beliefs.protocol import Plan
from ..rollouts.ends import frozen_step, reuse_noise
from .curvature import hessian_of, nearest_convex, over_steps

LogProb = Callable[..., Float[Array, ""]]


class Expansion(NamedTuple):
    """x' = f(x, u) and cost c(x, u) around x̄_t, ū_t, where Σ_t c_t + v is the cost of the plan: discounts are in c.

    Attributes:
        x: coordinates x̄ before each step, [H, n].
        f_z: derivatives of the next coordinates by z = (x, u), [H, n, n + A]; from an end on states are frozen.
        c_z: of the cost, [H, n + A].
        c_zz: second ones of the cost, [H, n + A, n + A].
        counts: whether a step comes before the end of the episode, [H]; after it rewards are 0.
        lasts: whether the next one does, [H].
        v_x: derivative of the cost beyond the horizon by the last x, [n].
        v_xx: second ones, [n, n].
        at: what `curvature` needs to expand once more, with a leading axis H; None where it will not.
    """

    x: Float[Array, "H n"]
    f_z: Float[Array, "H n z"]
    c_z: Float[Array, "H z"]
    c_zz: Float[Array, "H z z"]
    counts: Bool[Array, " H"]
    lasts: Bool[Array, " H"]
    v_x: Float[Array, " n"]
    v_xx: Float[Array, "n n"]
    at: Any

    def unit(self) -> Float[Array, ""]:
        """What rewards are measured by: 1, or the greatest derivative of the cost where this is less."""
        parts = (self.c_z, self.c_zz, self.v_x, self.v_xx)
        greatest = jnp.stack([jnp.abs(jnp.nan_to_num(part)).max() for part in parts]).max()
        return jnp.where(greatest > 0.0, jnp.minimum(greatest, 1.0), 1.0)

    def fault(self, curvatures: Float[Array, "H A A"] | None) -> tuple[Int[Array, ""], Int[Array, ""]]:
        """Which derivative is no number, by its place in `complaints.DERIVATIVES`, and at which step; 0 and −1: none.

        Args:
            curvatures: what the backward pass made of the second derivatives of the dynamics, which are not kept;
                None where it needs none.
        """
        steps = len(self.x)
        rows = [(~jnp.isfinite(leaf)).reshape(steps, -1).any(1) for leaf in (self.f_z, self.c_z, self.c_zz)]
        first = [jnp.argmax(row) for row in rows]
        bent = jnp.zeros(steps, bool) if curvatures is None else (~jnp.isfinite(curvatures)).any((1, 2))
        value = [~jnp.isfinite(leaf).all() for leaf in (self.v_x, self.v_xx)]
        # what is spoilt by all others comes last: steps before the last that the backward pass could not take
        bad = jnp.stack([*(row.any() for row in rows), *value, bent.any()])
        where = jnp.stack([*first, jnp.asarray(steps), jnp.asarray(steps), steps - 1 - jnp.argmax(bent[::-1])])
        kind, which = jnp.array([1, 2, 3, 5, 6, 4]), jnp.argmax(bad)
        return jnp.where(bad.any(), kind[which], 0), jnp.where(bad.any(), where[which], -1)


def inside(
    actions: Float[Array, "*H A"], limits: tuple[Float[Array, " A"], Float[Array, " A"]], share: float = 1e-6
) -> Float[Array, "*H A"]:
    """The nearest actions within limits by a share of their distance, where the model's own clip has a slope."""
    low, high = limits
    width = high - low
    margin = share * jnp.where(jnp.isfinite(width), width, 0.0)
    return jnp.clip(actions, low + margin, high - margin)


class Problem(NamedTuple):
    """What to follow and to expand plans of: a model and its return, plus temperature times the log of a prior.

    Attributes:
        model: whose dynamics and rewards they are.
        keys: of its noise at each step, [H].
        state: where plans start.
        log_prior: (parameters, state, action) -> log p(action | state); None for none.
        parameters: of `log_prior`, with a leading axis H.
        temperature: in reward units; None without a prior.
        limits: the least and the greatest action, [A] each; None for none.
        locks: which actions stay as they are, [H, A].
        convex: whether negative curvatures of costs are taken as 0.
        second_order: whether expansions are kept for `curvature`, which expands dynamics to second order too.
    """

    model: Model
    keys: Key[Array, " H"]
    state: State
    log_prior: LogProb | None
    parameters: Any
    temperature: Float[Array, ""] | None
    limits: tuple[Float[Array, " A"], Float[Array, " A"]] | None
    locks: Bool[Array, "H A"]
    convex: bool
    second_order: bool

    def follow(self, plan: Plan, states: Float[Array, "H n"], gains: Float[Array, "H A n"]) -> "Followed":
        """Act by u + K (x − x̄), within the limits."""

        def body(carry: Any, now: Any) -> tuple[Any, Any]:
            state, weight, total, log_prior = carry
            key, action, nominal, gain, parameters = now
            deviation = coordinates(self.model, state) - nominal
            action = self.limited(action + jnp.matmul(gain, deviation, precision="highest"))
            if self.log_prior is not None:
                # in the last state after an end, as in `rollout.score`, and never discounted
                log_prior += scalar("log p of the prior", self.log_prior(parameters, state, action))
            step = frozen_step(self.model, (key, action), state, weight)
            met = (action, reuse_noise(state), weight, step.discount)
            return (step.state, weight * step.discount, total + weight * step.reward, log_prior), met

        start = (reuse_noise(self.state), jnp.ones(()), jnp.zeros(()), jnp.zeros(()))
        inputs = (self._same_noise(), plan, states, gains, self.parameters)
        (last, weight, total, log_prior), (actions, states, weights, discounts) = jax.lax.scan(body, start, inputs)
        total += jnp.where(weight == 0, 0.0, weight * scalar("value", self.model.value(last)))
        objective = total if self.temperature is None else total + self.temperature * log_prior
        objective = jnp.where(jnp.isfinite(objective), objective, -jnp.inf)
        return Followed(objective, total, actions, states, weights, discounts, last, weight)

    def limited(self, actions: Float[Array, "*H A"]) -> Float[Array, "*H A"]:
        """The nearest actions within the limits."""
        return actions if self.limits is None else jnp.clip(actions, *self.limits)

    def expand(self, followed: "Followed") -> Expansion:
        """Expand every step of what was followed, in the very states that it met.

        To follow its plan once more would not do: where the dynamics are unstable, rounding leads elsewhere.
        """
        at = self._at(followed)
        x, f_z, c_z, c_zz = over_steps(self._step)(at)
        counts = followed.weights != 0
        lasts = counts & (followed.discounts != 0)
        f_z = _where(lasts, f_z, jnp.eye(*f_z.shape[1:]))
        if self.log_prior is None:
            c_z, c_zz = _where(counts, c_z, 0.0), _where(counts, c_zz, 0.0)
        v_x, v_xx = self._beyond(followed.last, followed.last_weight)
        kept = at if self.second_order else None
        return Expansion(x, f_z, c_z, self._shaped(c_zz), counts, lasts, v_x, self._shaped(v_xx), kept)

    def slope(self, followed: "Followed") -> tuple[Float[Array, "H n"], Float[Array, "H A"]]:
        """The coordinates before each step of what was followed, and the derivatives of the cost by the actions.

        By costates, ν_t = c_x + f_xᵀ ν_{t+1} and c_u + f_uᵀ ν_{t+1}, so that forward mode does.
        """
        x, f_z, c_z = over_steps(lambda at: self._first(at)[0])(self._at(followed))
        counts = followed.weights != 0
        f_z = _where(counts & (followed.discounts != 0), f_z, jnp.eye(*f_z.shape[1:]))
        if self.log_prior is None:
            c_z = _where(counts, c_z, 0.0)
        n = x.shape[1]

        def back(costate: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
            f_z, c_z = now
            by_z = c_z + f_z.T @ costate
            return by_z[:n], by_z[n:]

        with jax.default_matmul_precision("highest"):
            last, weight = followed.last, followed.last_weight
            v_x = jax.jacfwd(lambda x: self._cost_beyond(last, weight, x))(coordinates(self.model, last))
            _, slopes = jax.lax.scan(back, jnp.where(weight == 0, 0.0, v_x), (f_z, c_z), reverse=True)
        return x, slopes

    def curvature(self, at: Any, v_x: Float[Array, " n"]) -> Float[Array, "z z"]:
        """Second derivatives of v_xᵀ f(x, u) at a step, the term by which DDP differs from iLQR."""
        return hessian_of(lambda z: v_x @ self._next(at, z)[0], self._point(at))

    def _at(self, followed: "Followed") -> Any:
        """Where each step is expanded."""
        plan = followed.plan
        if self.limits is not None:
            plan = inside(plan, self.limits)
        return (self._same_noise(), followed.states, plan, followed.weights, self.parameters)

    def _same_noise(self) -> Key[Array, " H"]:
        """The keys, which all that is followed and expanded shares on purpose."""
        return jax.random.clone(self.keys)

    def _step(self, at: Any) -> tuple[Array, ...]:
        z = self._point(at)
        first, after = self._first(at)
        _, state, action, weight, parameters = at
        if jax.eval_shape(lambda: reward_between(self.model, state, action, state)) is None:
            return *first, hessian_of(lambda z: self._next(at, z)[1], z)
        # Gauss-Newton: the cost of (x, u, x') to second order, x' to first. Second derivatives through an engine's
        # solver cost minutes to compile, and may be NaN where all first ones are finite.
        _, f_z, c_z = first
        stacked = jnp.concatenate([jnp.eye(len(z)), f_z])

        def cost(point: Array) -> Array:
            moved, u = self._moved(at, point[: len(z)])
            reached = with_coordinates(self.model, reuse_noise(after), point[len(z) :])
            reward = reward_between(self.model, moved, u, reached)
            return -jnp.where(weight == 0, 0.0, weight * scalar("reward of a step", reward))

        with jax.default_matmul_precision("highest"):
            curvature = hessian_of(cost, jnp.concatenate([z, coordinates(self.model, after)]))
            c_zz = stacked.T @ curvature @ stacked
        if self.log_prior is not None and self.temperature is not None:
            log_prior, temperature = self.log_prior, self.temperature

            def prior(z: Array) -> Array:
                moved, u = self._moved(at, z)
                return -temperature * scalar("log p of the prior", log_prior(parameters, moved, u))

            c_zz += hessian_of(prior, z)
        return first[0], f_z, c_z, c_zz

    def _first(self, at: Any) -> tuple[tuple[Array, Array, Array], State]:
        """The coordinates, the first derivatives of the next ones and of the cost, and the state after the step."""
        z = self._point(at)
        n = len(z) - len(at[2])

        def both(z: Array) -> tuple[Array, State]:
            after, cost = self._stepped(at, z)
            return jnp.append(coordinates(self.model, after), cost), after

        first, after = jax.jacfwd(both, has_aux=True)(z)
        return (z[:n], first[:-1], first[-1]), after

    def _point(self, at: Any) -> Float[Array, " z"]:
        _, state, action, *_ = at
        return jnp.concatenate([coordinates(self.model, state), action])

    def _next(self, at: Any, z: Float[Array, " z"]) -> tuple[Float[Array, " n"], Float[Array, ""]]:
        """The next coordinates and the cost of a step."""
        after, cost = self._stepped(at, z)
        return coordinates(self.model, after), cost

    def _stepped(self, at: Any, z: Float[Array, " z"]) -> tuple[State, Float[Array, ""]]:
        """The next state and the cost of a step."""
        key, _, _, weight, parameters = at
        moved, u = self._moved(at, z)
        after, reward, _ = self.model.step(jax.random.clone(key), moved, u)  # in each derivative the same noise
        cost = -jnp.where(weight == 0, 0.0, weight * scalar("reward of a step", reward))
        if self.log_prior is not None and self.temperature is not None:
            log_prior = scalar("log p of the prior", self.log_prior(parameters, moved, u))
            cost -= self.temperature * log_prior
        return after, cost

    def _moved(self, at: Any, z: Float[Array, " z"]) -> tuple[State, Float[Array, " A"]]:
        """The state and the action of a point."""
        _, state, action, *_ = at
        x, u = jnp.split(z, [len(z) - len(action)])
        return with_coordinates(self.model, reuse_noise(state), x), u

    def _beyond(self, last: State, weight: Float[Array, ""]) -> tuple[Float[Array, " n"], Float[Array, "n n"]]:
        def cost(x: Array) -> Array:
            return self._cost_beyond(last, weight, x)

        x = coordinates(self.model, last)
        return jnp.where(weight == 0, 0.0, jax.jacfwd(cost)(x)), jnp.where(weight == 0, 0.0, hessian_of(cost, x))

    def _cost_beyond(self, last: State, weight: Float[Array, ""], x: Float[Array, " n"]) -> Float[Array, ""]:
        return -weight * scalar("value", self.model.value(with_coordinates(self.model, last, x)))

    def _shaped(self, hessian: Float[Array, "*H z z"]) -> Float[Array, "*H z z"]:
        """The nearest matrix of no negative curvature, if so wanted."""
        hessian = 0.5 * (hessian + hessian.mT)
        return nearest_convex(hessian) if self.convex else hessian


class Followed(NamedTuple):
    """What became of a policy.

    Attributes:
        objective: the return, plus temperature times the prior's log p; −∞ if that is no number.
        total: the return.
        plan: the actions, [H, A].
        states: before each step, with a leading axis H.
        weights: Π d of each, [H].
        discounts: d, [H].
        last: the state after the last step.
        last_weight: of that.
    """

    objective: Float[Array, "..."]
    total: Float[Array, "..."]
    plan: Float[Array, "... H A"]
    states: State
    weights: Float[Array, "... H"]
    discounts: Float[Array, "... H"]
    last: State
    last_weight: Float[Array, "..."]


def _where(counts: Bool[Array, " H"], leaf: Float[Array, "H ..."], other: Any) -> Float[Array, "H ..."]:
    """The rows that count; something else in the place of the others."""
    return jnp.where(counts.reshape(-1, *(1,) * (leaf.ndim - 1)), leaf, other)
