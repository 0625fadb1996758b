"""Linear dynamics with quadratic costs: the model whose posterior over plans is known exactly."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .actions import check_action
from .base import Step
from .checks import integer, real
from .pytrees import pytree


class QuadraticCost(NamedTuple):
    """The cost of a plan a [d], d = H·A, as ½ aᵀ hessian a + gradientᵀ a + constant.

    Attributes:
        hessian: [d, d].
        gradient: [d].
        constant: the cost of the zero plan, a scalar.
    """

    hessian: Float[Array, "d d"]
    gradient: Float[Array, " d"]
    constant: Float[Array, ""]


class PlanPosterior(NamedTuple):
    """The exact Gaussian posterior over plans.

    Attributes:
        mean: [H, A].
        covariance: [H·A, H·A].
        log_evidence: log p(O = 1), a scalar; relative to Lebesgue measure under a flat prior.
    """

    mean: Float[Array, "H A"]
    covariance: Float[Array, "d d"]
    log_evidence: Float[Array, ""]


class LinearPolicy(NamedTuple):
    """A time-varying Gaussian policy π(a|s) = N(gain s + offset, covariance) and its soft cost-to-go.

    In the states of `dynamics.timed(model)` it is a policy to draw plans from (`sample`, `log_prob`), and `value` the
    exact soft value.

    Attributes:
        gain: [H, A, n].
        offset: [H, A].
        covariance: [H, A, A].
        cost_hessian: P of V_t(s) = ½ sᵀPs + pᵀs + v, [H + 1, n, n].
        cost_gradient: p, [H + 1, n].
        cost_constant: v, [H + 1]. The log-evidence at s is −V₀(s)/temperature.
    """

    gain: Float[Array, "H A n"]
    offset: Float[Array, "H A"]
    covariance: Float[Array, "H A A"]
    cost_hessian: Float[Array, "H+1 n n"]
    cost_gradient: Float[Array, "H+1 n"]
    cost_constant: Float[Array, " H+1"]

    def cost(self, state: Float[Array, " n"], step: Any = 0) -> Float[Array, ""]:
        """The soft cost-to-go V at `state` [n] before `step`, 0 to H; it may be traced."""
        P, p, v = self.cost_hessian[step], self.cost_gradient[step], self.cost_constant[step]
        return 0.5 * state @ P @ state + p @ state + v

    def value(self, state: Any) -> Float[Array, ""]:
        """Minus the cost-to-go in a state of `dynamics.timed`."""
        return -self.cost(state.state, state.step)

    def sample(self, key: PRNGKeyArray, state: Any) -> Float[Array, " A"]:
        """Draw an action in a state of `dynamics.timed`."""
        noise = jax.random.normal(key, self.offset.shape[1:], self.offset.dtype)
        return self._mean(state) + jnp.linalg.cholesky(self.covariance[state.step]) @ noise

    def log_prob(self, state: Any, action: Float[Array, " A"]) -> Float[Array, ""]:
        """Log π of an action in a state of `dynamics.timed`."""
        log_prob = jax.scipy.stats.multivariate_normal.logpdf(action, self._mean(state), self.covariance[state.step])
        return jnp.asarray(log_prob)

    def _mean(self, state: Any) -> Float[Array, " A"]:
        return self.gain[state.step] @ state.state + self.offset[state.step]


@pytree
class LinearQuadratic:
    """s' = A s + B a + c + w, w ~ N(0, W), at the cost ½ sᵀQs + qᵀs + ½ aᵀRa + rᵀa + aᵀNs, finally ½ sᵀQf s + qfᵀs.

    Rewards are minus the costs, the final one is the model's `value`; actions are not bounded. Make one with
    `linear_quadratic`, whose arguments the attributes are.
    """

    A: Float[Array, "n n"]
    B: Float[Array, "n m"]
    Q: Float[Array, "n n"]
    R: Float[Array, "m m"]
    N: Float[Array, "m n"]
    Qf: Float[Array, "n n"]
    c: Float[Array, " n"]
    q: Float[Array, " n"]
    r: Float[Array, " m"]
    qf: Float[Array, " n"]
    W: Float[Array, "n n"] | None
    start: Float[Array, " n"]

    @property
    def action_size(self) -> int:
        """The number m of controls."""
        return self.B.shape[-1]

    @property
    def bounded(self) -> bool:
        """Actions have no range."""
        return False

    def init(self, key: PRNGKeyArray) -> Float[Array, " n"]:
        """The state that episodes start from."""
        return self.start

    def step(self, key: PRNGKeyArray, state: Float[Array, " n"], action: Float[Array, " m"]) -> Step:
        """One step of the dynamics; `key` drives the noise."""
        action = check_action(action, self.action_size)
        cost = 0.5 * state @ self.Q @ state + self.q @ state + 0.5 * action @ self.R @ action + self.r @ action
        state_next = self.A @ state + self.B @ action + self.c
        if self.W is not None:
            state_next += jax.random.multivariate_normal(key, jnp.zeros_like(state), self.W, method="svd")
        return Step(state_next, -(cost + action @ self.N @ state), jnp.ones(()))

    def value(self, state: Float[Array, " n"]) -> Float[Array, ""]:
        """Minus the final cost."""
        return -(0.5 * state @ self.Qf @ state + self.qf @ state)

    def plan_cost(self, state: Float[Array, " n"], horizon: int) -> QuadraticCost:
        """The noiseless cost of plans from `state` [n] over `horizon` steps, as a quadratic in the plan."""
        with jax.default_matmul_precision("highest"):
            return self._stack(state, integer("horizon", horizon))[0]

    def plan_posterior(
        self,
        state: Float[Array, " n"],
        horizon: int,
        temperature: Any,
        *,
        prior_mean: Float[Array, "H A"] | None = None,
        prior_covariance: Float[Array, "d d"] | None = None,
        outside: bool = False,
    ) -> PlanPosterior:
        """The exact posterior p(a) exp(E[R(a)]/β) over open-loop plans.

        Λ = S₀⁻¹ + H/β, mean = Λ⁻¹(S₀⁻¹m₀ − g/β): linear-Gaussian conditioning.

        Args:
            state: where plans start, [n].
            horizon: the number H of steps.
            temperature: β, in units of cost.
            prior_mean: m₀, [H, A]; zero unless given.
            prior_covariance: S₀, [H·A, H·A]; None for a flat prior.
            outside: with noise, take the expectation outside the exponential, E[exp(R/β)]: the posterior that is
                optimistic about the noise.

        Returns:
            Mean, covariance and log-evidence.

        Raises:
            ValueError: if `horizon` is no positive integer, `temperature` not positive, or a mean comes without a
                covariance.
        """
        horizon, temperature = integer("horizon", horizon), real("temperature", temperature, above=0.0)
        with jax.default_matmul_precision("highest"):  # a yardstick: accelerators would round matrix products
            return self._plan_posterior(state, horizon, temperature, prior_mean, prior_covariance, outside)

    def _plan_posterior(
        self,
        state: Float[Array, " n"],
        horizon: int,
        temperature: Any,
        prior_mean: Float[Array, "H A"] | None,
        prior_covariance: Float[Array, "d d"] | None,
        outside: bool,
    ) -> PlanPosterior:
        (hessian, gradient, constant), (noise_hessian, noise_cross, noise_gradient) = self._stack(state, horizon)
        precision, linear, log_evidence = (
            hessian / temperature,
            -gradient / temperature,
            -constant / temperature,
        )
        if self.W is not None:
            noise = jnp.kron(jnp.eye(horizon), self.W)
            if outside:
                # W may be singular: (W⁻¹ + X/β)⁻¹ = W (I + X W/β)⁻¹
                mixed = jnp.eye(len(noise)) + noise_hessian @ noise / temperature
                spread = noise @ jnp.linalg.inv(mixed)
                precision -= noise_cross.T @ spread @ noise_cross / temperature**2
                linear += noise_cross.T @ spread @ noise_gradient / temperature**2
                log_evidence += noise_gradient @ spread @ noise_gradient / (2.0 * temperature**2)
                log_evidence -= 0.5 * jnp.linalg.slogdet(mixed)[1]
            else:
                log_evidence -= jnp.trace(noise_hessian @ noise) / (2.0 * temperature)
        size = len(gradient)
        if prior_covariance is None:
            if prior_mean is not None:
                raise ValueError("prior_mean must come with a prior_covariance, got None")
            log_evidence += 0.5 * size * jnp.log(2.0 * jnp.pi)
        else:
            center = jnp.zeros(size) if prior_mean is None else jnp.reshape(prior_mean, (size,))
            prior_precision = jnp.linalg.inv(prior_covariance)
            precision += prior_precision
            linear += prior_precision @ center
            log_evidence -= 0.5 * (center @ prior_precision @ center + jnp.linalg.slogdet(prior_covariance)[1])
        covariance = jnp.linalg.inv(precision)
        mean = covariance @ linear
        log_evidence += 0.5 * (linear @ mean - jnp.linalg.slogdet(precision)[1])
        return PlanPosterior(mean.reshape(horizon, self.action_size), covariance, log_evidence)

    def policy(
        self,
        horizon: int,
        temperature: Any,
        *,
        prior_covariance: Float[Array, "m m"] | None = None,
        optimistic: bool = False,
    ) -> LinearPolicy:
        """The maximum-entropy policy by the soft Riccati recursion; its mean is the optimal linear regulator.

        Args:
            horizon: the number H of steps.
            temperature: β, in units of cost.
            prior_covariance: S₀ of a prior N(0, S₀) on each action, [A, A]; None for a flat prior.
            optimistic: condition the noise on success too (LEQG; Jacobson, 1973), as exact inference does.

        Returns:
            Gains, offsets, covariances and the cost-to-go, with log-evidence −V₀(s)/β.

        Raises:
            ValueError: if `horizon` is no positive integer, or `temperature` not positive.
        """
        horizon, temperature = integer("horizon", horizon), real("temperature", temperature, above=0.0)
        n, m = self.B.shape
        R = self.R if prior_covariance is None else self.R + temperature * jnp.linalg.inv(prior_covariance)

        def backward(carry: Any, _: None) -> tuple[Any, Any]:
            P, p, v = carry
            if self.W is not None:
                if optimistic:
                    mixed = jnp.linalg.inv(jnp.eye(n) + P @ self.W / temperature)
                    v += 0.5 * temperature * jnp.linalg.slogdet(jnp.eye(n) + self.W @ P / temperature)[1]
                    v -= 0.5 / temperature * p @ self.W @ mixed @ p
                    P, p = mixed @ P, mixed @ p
                    P = 0.5 * (P + P.T)
                else:
                    v += 0.5 * jnp.trace(P @ self.W)
            pull = P @ self.c + p
            Quu, Qus, Qss = (
                R + self.B.T @ P @ self.B,
                self.N + self.B.T @ P @ self.A,
                self.Q + self.A.T @ P @ self.A,
            )
            Qu, Qs = self.r + self.B.T @ pull, self.q + self.A.T @ pull
            inverse = jnp.linalg.inv(Quu)
            gain, offset = -inverse @ Qus, -inverse @ Qu
            v += 0.5 * self.c @ P @ self.c + p @ self.c + 0.5 * Qu @ offset
            v -= 0.5 * temperature * (m * jnp.log(2.0 * jnp.pi * temperature) - jnp.linalg.slogdet(Quu)[1])
            if prior_covariance is not None:
                log_det = jnp.linalg.slogdet(prior_covariance)[1]
                v += 0.5 * temperature * (m * jnp.log(2.0 * jnp.pi) + log_det)
            P, p = Qss + Qus.T @ gain, Qs + Qus.T @ offset
            cost = (0.5 * (P + P.T), p, v)
            return cost, ((gain, offset, temperature * inverse), cost)

        with jax.default_matmul_precision("highest"):
            final = (self.Qf, self.qf, jnp.zeros(()))
            _, (policy, costs) = jax.lax.scan(backward, final, length=horizon, reverse=True)
        costs = jax.tree.map(lambda before, last: jnp.concatenate([before, last[None]]), costs, final)
        return LinearPolicy(*policy, *costs)

    def _stack(self, state: Float[Array, " n"], horizon: int) -> tuple[QuadraticCost, tuple[Array, Array, Array]]:
        """All states at once, S = free + G a + D w, and the cost in terms of plan a and noise w."""
        n, m = self.B.shape
        free, G, D = state, jnp.zeros((n, horizon * m)), jnp.zeros((n, horizon * n))
        stages = [(free, G, D)]
        for t in range(horizon):
            free = self.A @ free + self.c
            G = (self.A @ G).at[:, t * m : (t + 1) * m].add(self.B)
            D = (self.A @ D).at[:, t * n : (t + 1) * n].add(jnp.eye(n))
            stages.append((free, G, D))
        free, G, D = (jnp.concatenate(parts) for parts in zip(*stages, strict=True))
        last = jnp.zeros((horizon + 1, horizon + 1)).at[-1, -1].set(1.0)
        Q = jnp.kron(jnp.eye(horizon + 1) - last, self.Q) + jnp.kron(last, self.Qf)
        q = jnp.concatenate([jnp.tile(self.q, horizon), self.qf])
        N = jnp.kron(jnp.eye(horizon, horizon + 1), self.N)
        r = jnp.tile(self.r, horizon)
        slope = Q @ free + q
        hessian = G.T @ Q @ G + jnp.kron(jnp.eye(horizon), self.R) + N @ G + G.T @ N.T
        cost = QuadraticCost(hessian, G.T @ slope + r + N @ free, 0.5 * free @ Q @ free + q @ free)
        return cost, (D.T @ Q @ D, D.T @ (Q @ G + N.T), D.T @ slope)


def linear_quadratic(
    A: Any,
    B: Any,
    Q: Any,
    R: Any,
    *,
    N: Any = None,
    Qf: Any = None,
    c: Any = None,
    q: Any = None,
    r: Any = None,
    qf: Any = None,
    W: Any = None,
    start: Any = None,
) -> LinearQuadratic:
    """Make a linear-quadratic model, the yardstick for planners: its posterior over plans is Gaussian and known.

    Args:
        A: dynamics, [n, n].
        B: effect of the action, [n, m].
        Q: cost of the state, [n, n], symmetric.
        R: cost of the action, [m, m], symmetric.
        N: cost of action times state, [m, n]; zero unless given.
        Qf: final cost, [n, n], symmetric; Q unless given.
        c: drift, [n]; zero unless given.
        q: linear cost of the state, [n]; zero unless given.
        r: linear cost of the action, [m]; zero unless given.
        qf: linear final cost, [n]; q unless given.
        W: covariance of the noise, [n, n], positive semi-definite; None for none.
        start: where episodes start, [n]; ones unless given.

    Returns:
        The model; all its parameters are traced.

    Raises:
        ValueError: for a parameter of the wrong shape, not finite, or not symmetric (W: semi-definite) where it must
            be.
    """
    B = real("B", B, shape=None)
    if B.ndim != 2:
        raise ValueError(f"B must be a matrix [n, m], got shape {jnp.shape(B)}")
    n, m = jnp.shape(B)
    zero, symmetric = jnp.zeros, ("Q", "R", "Qf", "W")

    def array(name: str, value: Any, default: Any, shape: tuple[int, ...]) -> Float[Array, "..."]:
        matrix = real(name, default if value is None else value, shape=None)
        if matrix.shape != shape:
            raise ValueError(f"{name} must have shape {shape} to fit B {(n, m)}, got {matrix.shape}")
        known = not isinstance(matrix, jax.core.Tracer)
        if known and name in symmetric and not np.allclose(matrix, np.transpose(matrix)):
            raise ValueError(f"{name} must be symmetric, got {value!r}")
        if name == "W" and not isinstance(matrix, jax.core.Tracer):
            eigenvalues = np.linalg.eigvalsh(matrix)
            if eigenvalues[0] < -1e-5 * np.abs(eigenvalues).max():
                raise ValueError(f"W must be positive semi-definite, got {value!r}")
        return matrix

    q_array = array("q", q, zero(n), (n,))
    return LinearQuadratic(
        A=array("A", A, None, (n, n)),
        B=array("B", B, None, (n, m)),
        Q=array("Q", Q, None, (n, n)),
        R=array("R", R, None, (m, m)),
        N=array("N", N, zero((m, n)), (m, n)),
        Qf=array("Qf", Qf, Q, (n, n)),
        c=array("c", c, zero(n), (n,)),
        q=q_array,
        r=array("r", r, zero(m), (m,)),
        qf=array("qf", qf, q_array, (n,)),
        W=None if W is None else array("W", W, None, (n, n)),
        start=array("start", start, jnp.ones(n), (n,)),
    )
