"""Iterative LQR and differential dynamic programming: expand, solve backwards, try forwards, and again."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ..dynamics.base import Model, State, pytree, scenario_count, static
from ..dynamics.coordinates import coordinates
from .base import Plan, check_belief
from .expansion import Expansion, Problem
from .families.affine import AffinePolicy, affine_policy, answered
from .families.gaussian import Gaussian
from .priors import PolicyPrior
from .riccati import Improvement, backward
from .stepping import drawn
from .warm_start import Shift

_FRACTIONS = 1.1 ** -(jnp.arange(10.0) ** 2)  # of the step, tried at once: 1 to 4e-4 (Tassa et al., 2012)
_LEAST, _GREATEST = 1e-6, 1e6  # regularisations; below the least there is none
_ENOUGH = 1e-4  # of the improvement that was promised, for a step to be taken


@pytree
class TrajectoryInfo:
    """What happened in a trajectory optimisation; one row per iteration, those that were not needed repeat the last.

    Attributes:
        returns: of the plans that the line search tried, [..., L], reward units.
        worth: of the plan after the iteration: its return, plus temperature times the prior's log p.
        promised: by how much the whole step would raise the worth if the expansion were exact.
        step_size: the fraction of the step that was taken; 0 where none was.
        regularization: μ of the last backward pass.
        num_invalid: how many of the plans tried had a return that was NaN or infinite.
        converged: whether nothing more was to be gained.
        degenerate: whether no step could be tried: derivatives were not finite, or all plans invalid.
        log_evidence: log ∫ p(a) exp(R/λ) da by Laplace's approximation, exact on linear-quadratic problems; relative
            to the Lebesgue measure without a prior. None without a temperature.
        temperature: in reward units, or None.
    """

    returns: Float[Array, "... L"]
    worth: Float[Array, "..."]
    promised: Float[Array, "..."]
    step_size: Float[Array, "..."]
    regularization: Float[Array, "..."]
    num_invalid: Int[Array, "..."]
    converged: Bool[Array, "..."]
    degenerate: Bool[Array, "..."]
    log_evidence: Float[Array, "..."] | None
    temperature: Float[Array, "..."] | None


@pytree
class IterativeLQR:
    """Trajectory optimisation by local linear-quadratic problems. Make one with `planners.ilqr`.

    Attributes:
        proposal: where the first optimisation starts, and of what other plans are tried first.
        temperature: λ of the policy's noise, in reward units; None for none.
        prior: of actions: a Gaussian of independent steps or a `policy_prior`; None for none.
        regularization: μ at the start, a scalar.
        tolerance: what counts as nothing to be gained, relative to 1 + |worth|.
        limits: the least and the greatest action, [A] each; None for none.
        warm_start: how beliefs move on by a time step; None to forget them.
        num_samples: how many plans are drawn from the proposal, the best of which is a start too.
        num_iterations: the most iterations.
        second_order: whether dynamics are expanded to second order too (DDP).
        convex: whether negative curvatures of costs are taken as 0.
        execute: "mode" or "sample".
    """

    proposal: Gaussian
    temperature: Float[Array, ""] | None
    prior: Any
    regularization: Float[Array, ""]
    tolerance: Float[Array, ""]
    limits: tuple[Float[Array, " A"], Float[Array, " A"]] | None
    warm_start: Shift | None
    num_samples: int = static()
    num_iterations: int = static()
    second_order: bool = static()
    convex: bool = static()
    execute: str = static()

    def start(self, model: Model, state: State) -> AffinePolicy:
        """The initial plan, without feedback."""
        size = jax.eval_shape(lambda state: coordinates(model, state), state).shape
        return self._blind(jnp.zeros((len(self.proposal.mean), *size)))

    def improve(
        self, model: Model, key: Key[Array, ""], state: State, belief: AffinePolicy
    ) -> tuple[AffinePolicy, TrajectoryInfo]:
        """Iterate from the policy `belief`, or from its plan alone where that is better from this state.

        Raises:
            ValueError: if `belief` is of another shape than `start` gives.
        """
        check_belief(self.start(model, state), belief)
        noise_key, sample_key = jax.random.split(key)
        problem = self._problem(model, noise_key, state)
        # with its feedback, without, and what chance has to offer
        plans = jnp.broadcast_to(belief.plan, (2 + self.num_samples, *belief.plan.shape))
        gains = jnp.zeros((len(plans), *belief.gains.shape)).at[0].set(belief.gains)
        if self.num_samples:
            plans = plans.at[2:].set(self.proposal.sample(sample_key, self.num_samples))
        tried = jax.vmap(lambda plan, gains: problem.follow(plan, belief.states, gains))(plans, gains)
        best = jnp.argmax(tried.worth)
        start = jax.tree.map(lambda leaf: leaf[best], tried)
        search = _Search(
            start.plan,
            start.worth,
            problem.expand(start),
            self.regularization,
            jnp.ones(()),
            jnp.array(False),
            jnp.zeros((), jnp.int32),
        )
        rows = jax.eval_shape(lambda search: self._iterate(problem, search)[1], search)
        info = jax.tree.map(lambda row: jnp.zeros((self.num_iterations, *row.shape), row.dtype), rows)

        def iterate(carry: tuple[_Search, Any]) -> tuple[_Search, Any]:
            search, info = carry
            after, row = self._iterate(problem, search)
            return after, jax.tree.map(lambda rows, row: rows.at[search.count].set(row), info, row)

        search, info = jax.lax.while_loop(
            lambda carry: ~carry[0].done & (carry[0].count < self.num_iterations), iterate, (search, info)
        )
        last = jnp.minimum(jnp.arange(self.num_iterations), search.count - 1)
        return self._believe(problem, search), jax.tree.map(lambda rows: rows[last], info)

    def act(self, key: Key[Array, ""], belief: AffinePolicy) -> Float[Array, " A"]:
        """The first action of the plan, or a sample of it."""
        return belief.mode()[0] if self.execute == "mode" else belief.sample(key, 1)[0, 0]

    def shift(self, belief: AffinePolicy) -> AffinePolicy:
        """The policy from which to plan at the next time step."""
        initial = self._blind(jnp.zeros_like(belief.states))
        return initial if self.warm_start is None else belief.shift(initial, self.warm_start)

    def _blind(self, states: Float[Array, "H n"]) -> AffinePolicy:
        return affine_policy(self.proposal.mean, states, self.temperature is not None)

    def _problem(self, model: Model, key: Key[Array, ""], state: State) -> Problem:
        if scenario_count(model) is not None:  # the first of them
            key, models = drawn(model, key, scenario_count(model) or 1)
            model = jax.tree.map(lambda leaf: leaf[0], models)
        log_prior: Callable[..., Any] | None = None
        parameters: Any = None
        if isinstance(self.prior, Gaussian):
            log_prior, parameters = _gaussian_log_prob, (self.prior.mean, self.prior.std)
        elif isinstance(self.prior, PolicyPrior):
            policy = self.prior.policy

            def log_prior(parameters: Any, state: State, action: Array) -> Array:
                return policy(state, action)

        keys = jax.random.split(key, len(self.proposal.mean))
        return Problem(model, keys, state, log_prior, parameters, self.temperature, self.limits, convex=self.convex)

    def _iterate(self, problem: Problem, search: "_Search") -> tuple["_Search", TrajectoryInfo]:
        improvement, mu, factor = self._solve(problem, search)
        slope, bend = improvement.slope, improvement.bend
        promised = -(slope + 0.5 * bend)
        tried = jax.vmap(
            lambda fraction: problem.follow(
                search.plan + fraction * improvement.steps, search.expansion.x, improvement.gains
            )
        )(_FRACTIONS)
        best = jnp.argmax(tried.worth)
        fraction, followed = _FRACTIONS[best], jax.tree.map(lambda leaf: leaf[best], tried)
        gained = followed.worth - search.worth
        # of −(α slope + ½ α² bend)
        agreement = gained / -(fraction * slope + 0.5 * fraction**2 * bend)
        taken = improvement.solved & (gained > 0.0) & (agreement > _ENOUGH)
        little = self.tolerance * (1.0 + jnp.abs(search.worth))
        # the small step of a great μ says nothing
        converged = improvement.solved & (mu < 1e-5) & ((promised < little) | (taken & (gained < little)))
        falls = taken & ((fraction > 0.3) | (agreement > 0.5))
        rises = ~taken | (fraction < 0.06) | (agreement < 0.1)
        next_mu, next_factor = _raise(mu, factor)
        lower_mu, lower_factor = _lower(mu, factor)
        next_mu = jnp.where(falls, lower_mu, jnp.where(rises, next_mu, mu))
        next_factor = jnp.where(falls, lower_factor, jnp.where(rises, next_factor, factor))
        plan = jnp.where(taken, followed.plan, search.plan)
        worth = jnp.where(taken, followed.worth, search.worth)
        expansion = jax.lax.cond(taken, problem.expand, lambda _: search.expansion, followed)
        invalid = tried.worth == -jnp.inf
        row = TrajectoryInfo(
            returns=tried.total,
            worth=worth,
            promised=promised,
            step_size=jnp.where(taken, fraction, 0.0),
            regularization=mu,
            num_invalid=invalid.sum(),
            converged=converged,
            degenerate=~improvement.solved | invalid.all(),
            log_evidence=self._log_evidence(improvement, search.worth + promised),
            temperature=self.temperature,
        )
        done = converged | ~improvement.solved | (next_mu > _GREATEST)
        return _Search(plan, worth, expansion, next_mu, next_factor, done, search.count + 1), row

    def _solve(self, problem: Problem, search: "_Search") -> tuple[Improvement, Float[Array, ""], Float[Array, ""]]:
        """The backward pass, with a regularisation that suffices, and that."""
        curvature = problem.curvature if self.second_order else None

        def attempt(carry: tuple[Any, ...]) -> tuple[Any, ...]:
            _, mu, factor, tried = carry
            raised, greater = _raise(mu, factor)
            mu, factor = jnp.where(tried, raised, mu), jnp.where(tried, greater, factor)
            improvement = backward(search.expansion, search.plan, mu, limits=self.limits, curvature=curvature)
            return improvement, mu, factor, jnp.array(True)

        nothing = jax.eval_shape(
            lambda mu: backward(search.expansion, search.plan, mu, limits=self.limits), search.regularization
        )
        start = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), nothing)
        improvement, mu, factor, _ = jax.lax.while_loop(
            lambda carry: ~carry[0].solved & (carry[1] < _GREATEST),
            attempt,
            (start, search.regularization, search.factor, jnp.array(False)),
        )
        return improvement, mu, factor

    def _believe(self, problem: Problem, search: "_Search") -> AffinePolicy:
        # as little regularised as it can be
        search = search._replace(regularization=jnp.zeros(()), factor=jnp.ones(()))
        improvement, _, _ = self._solve(problem, search)
        policy = AffinePolicy(search.plan, search.expansion.x, improvement.gains, None)
        if self.temperature is None:
            return policy
        trils = jax.vmap(lambda curvature: _noise(curvature, self.temperature))(improvement.curvatures)
        return answered(policy, trils, search.expansion.f_z)

    def _log_evidence(self, improvement: Improvement, worth: Float[Array, ""]) -> Float[Array, ""] | None:
        """worth/λ + Σ_t ½ log det(2π λ Q_uu⁻¹)."""
        if self.temperature is None:
            return None
        trils = jax.vmap(lambda curvature: _noise(curvature, self.temperature))(improvement.curvatures)
        log_dets = jnp.log(jnp.diagonal(trils, axis1=1, axis2=2)).sum()
        return worth / self.temperature + log_dets + 0.5 * self.proposal.mean.size * jnp.log(2.0 * jnp.pi)


class _Search(NamedTuple):
    """Where the optimisation is.

    Attributes:
        plan: [H, A].
        worth: of the plan.
        expansion: around it.
        regularization: μ.
        factor: by which μ changes next, which itself grows.
        done: whether to stop.
        count: of the iterations so far.
    """

    plan: Plan
    worth: Float[Array, ""]
    expansion: Expansion
    regularization: Float[Array, ""]
    factor: Float[Array, ""]
    done: Bool[Array, ""]
    count: Int[Array, ""]


def _raise(mu: Float[Array, ""], factor: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    factor = jnp.maximum(2.0, 2.0 * factor)
    return jnp.maximum(_LEAST, mu * factor), factor


def _lower(mu: Float[Array, ""], factor: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    factor = jnp.minimum(0.5, 0.5 * factor)
    return jnp.where(mu * factor < _LEAST, 0.0, mu * factor), factor


def _noise(curvature: Float[Array, "A A"], temperature: Float[Array, ""]) -> Float[Array, "A A"]:
    """C of the covariance C Cᵀ = λ Q_uu⁻¹, whose curvatures are at least 1e-6 of the greatest."""
    known = jnp.where(jnp.isfinite(curvature), curvature, 0.0)
    values, vectors = jnp.linalg.eigh(0.5 * (known + known.T))
    values = jnp.maximum(values, jnp.maximum(1e-6 * values[-1], jnp.finfo(values.dtype).tiny ** 0.5))
    # an orthogonal factor to a triangular one: Σ = (V √(λ/w)) (…)ᵀ = Rᵀ R
    root = (vectors * jnp.sqrt(temperature / values)).T
    upper = jnp.linalg.qr(root, mode="r")
    return (upper * jnp.sign(jnp.diagonal(upper))[:, None]).T


def _gaussian_log_prob(parameters: tuple[Array, Array], state: State, action: Float[Array, " A"]) -> Array:
    mean, std = parameters
    return jax.scipy.stats.norm.logpdf(action, mean, std).sum()
