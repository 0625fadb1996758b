"""Iterative LQR and differential dynamic programming: expand, solve backwards, try forwards, and again."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ...dynamics.actions import action_limit
from ...dynamics.base import Model, State, scenario_count
from ...dynamics.checks import real
from ...dynamics.coordinates import coordinates
from ...dynamics.pytrees import pytree, static
from ...dynamics.spaces import action_space
from ..beliefs.choice import Bound
from ..beliefs.gaussian import Gaussian, GaussianFamily
from ..beliefs.locked import divisor, locked_tril, log_scale
from ..beliefs.noise import white_noise
from ..beliefs.protocol import Plan, Plans, continuous_shape
from ..beliefs.reading import read
from ..beliefs.warm_start import Shift, shift_of
from ..checks import binding, check_own_belief, check_unconstrained, fresh, named
from ..differentiation import Equations, constant, implicit
from ..info import Info, info_row
from ..rollouts.ends import reuse_noise
from ..rollouts.simulation import draw_scenarios, with_new_noise
from ..sampling.priors import PolicyPrior
from ..sampling.regrets import regrets
from .affine import AffinePolicy, affine_policy, answered, unit_trils
from .expansion import Expansion, Problem, inside
from .riccati import Improvement, backward

FRACTIONS = tuple(1.1 ** -(j**2) for j in range(10))  # of the step, tried at once: 1 to 4e-4 (Tassa et al., 2012)
_LEAST, _GREATEST = 1e-6, 1e6  # regularisations; below the least μ is 0
_ENOUGH = 1e-4  # of the improvement that was expected, for a step to be taken


@pytree
class IterativeLQR:
    """Trajectory optimisation by local linear-quadratic problems. Make one with `planners.ilqr`.

    Attributes:
        proposal: the family around the plan where the first optimisation starts, from which other starts are drawn.
        temperature: λ of the policy's noise, in reward units; None for none.
        prior: of actions: the family of Gaussians of independent steps, or a `policy_prior`; None for none.
        regularization: μ at the start, a scalar, relative to derivatives of rewards where these are less than 1.
        tolerance: what counts as nothing to be gained, relative to 1 + |objective|, or less where derivatives of
            rewards are less than 1.
        limits: the least and the greatest action, scalars or [A]; None follows the model.
        warm_start: how beliefs move on by a time step; None to forget them.
        horizon: the number H of steps.
        num_samples: how many plans are drawn from the proposal, the best of which is a start too.
        num_iterations: the most iterations.
        second_order: whether dynamics are expanded to second order too (DDP).
        convex: whether negative curvatures of costs are taken as 0.
        execute: "mode" or "sample".
        keep: which arrays of plans `info` keeps.
        name: for errors and reports.
    """

    proposal: GaussianFamily
    temperature: Float[Array, ""] | None
    prior: Any
    regularization: Float[Array, ""]
    tolerance: Float[Array, ""]
    limits: tuple[Float[Array, "..."], Float[Array, "..."]] | None
    warm_start: Shift | None
    horizon: int = static()
    num_samples: int = static()
    num_iterations: int = static()
    second_order: bool = static()
    convex: bool = static()
    execute: str = static()
    keep: tuple[str, ...] = static()
    name: str = static()

    @property
    def num_starts(self) -> int:
        """The number of plans from which it continues: one."""
        return 1

    def resume(self, model: Model, state: State, plans: Plans) -> AffinePolicy:
        """The belief to continue from a plan, without feedback."""
        return dataclasses.replace(self.init(model, state), plan=plans[0])

    def init(self, model: Model, state: State) -> AffinePolicy:
        """The initial plan, without feedback: binds shapes, and checks them.

        Args:
            model: whose actions are planned.
            state: a state of `model`.

        Returns:
            The belief, in arrays of its own.

        Raises:
            ValueError: naming planner, model, parameter and shapes, if they do not fit.
        """
        with binding(self.name, model, state) as space:
            check_unconstrained(model)
            real("initial_plan", self.proposal.mean, shape=continuous_shape("iLQR", self.horizon, space))
            proposal = self.proposal.bind(self.horizon, space)
            if isinstance(self.prior, GaussianFamily | Bound):
                with named("prior"):
                    self.prior.bind(self.horizon, space)
            if self.limits is not None:
                for limit in self.limits:
                    real("limits", limit, shape=space.shape)
        size = jax.eval_shape(lambda state: coordinates(model, state), state).shape
        return fresh(self._blind(proposal, jnp.zeros((self.horizon, *size))))

    def improve(
        self, model: Model, key: Key[Array, ""], state: State, belief: AffinePolicy
    ) -> tuple[AffinePolicy, Info]:
        """Iterate from the policy `belief`, or from its plan alone where that is better from this state.

        The plan, and the states along it, have the derivatives of a converged plan, with respect to all that model,
        state and planner are made of; feedback, noise and `info` are constants.

        Raises:
            ValueError: if `belief` is not of the structure and shapes that `init` gives.
        """
        check_own_belief(self, model, state, belief)
        noise_key, sample_key = jax.random.split(key)
        solver, *parts = constant((self, model, state, belief))
        found, info = constant(solver._search(noise_key, sample_key, *parts))
        plan, states = implicit(
            found.plan[None],
            (found.plan, found.states),
            lambda plan: self._optimality(model, jax.random.clone(noise_key), state, found, plan[0]),
        )
        return dataclasses.replace(found, plan=plan, states=states), info

    def _optimality(
        self, model: Model, key: Key[Array, ""], state: State, found: AffinePolicy, plan: Plan
    ) -> Equations:
        """What holds at a converged plan: where no limit holds an action, the objective has no slope."""
        problem, tried = self._problem(model, key, state, found.proposal.locks), plan
        limits, problem = problem.limits, problem._replace(limits=None)
        if limits is not None:
            tried = plan + constant(inside(plan, limits) - plan)
        followed = problem.follow(tried, found.states, jnp.zeros_like(found.gains))
        states, slopes = problem.slope(followed)
        residuals = slopes
        if limits is not None:
            (low, high), near = limits, inside(plan, limits, 1e-5)
            residuals = jnp.where((plan < near) & (slopes > 0.0), plan - low, residuals)
            residuals = jnp.where((plan > near) & (slopes < 0.0), plan - high, residuals)
        residuals = jnp.where(problem.locks, plan - constant(plan), residuals)
        return Equations(residuals[None], (plan, states))

    def _search(
        self, noise_key: Key[Array, ""], sample_key: Key[Array, ""], model: Model, state: State, belief: AffinePolicy
    ) -> tuple[AffinePolicy, Info]:
        """The iterations."""
        problem = self._problem(model, noise_key, state, belief.proposal.locks)
        # first of all the belief with its feedback and without, and the best that chance has to offer
        plans = jnp.broadcast_to(belief.plan, (len(FRACTIONS), *belief.plan.shape))
        gains = jnp.zeros((len(FRACTIONS), *belief.gains.shape))
        if self.num_samples:
            drawn_plans = belief.proposal.sample(sample_key, self.num_samples)
            if (room := len(FRACTIONS) - 2) < self.num_samples:
                followed = jax.vmap(lambda plan: problem.follow(plan, belief.states, gains[0]))(drawn_plans)
                lasting = jnp.lexsort((followed.objective, followed.last_weight != 0))[::-1]
                drawn_plans = drawn_plans[lasting[:room]]
            plans = plans.at[2 : 2 + len(drawn_plans)].set(drawn_plans)
        starts = _Candidates(plans, belief.states, gains.at[0].set(belief.gains))

        def iterate(carry: tuple[_Search, Any]) -> tuple[_Search, Any]:
            search, info = carry
            after, row = self._iterate(problem, search, starts)
            return after, jax.tree.map(lambda rows, row: rows.at[search.num_tried].set(row), info, row)

        search = self._nowhere(problem, belief)
        row = jax.eval_shape(lambda search: self._iterate(problem, search, starts)[1], search)
        info = jax.tree.map(lambda leaf: jnp.zeros((1 + self.num_iterations, *leaf.shape), leaf.dtype), row)
        search, info = jax.lax.while_loop(
            lambda carry: ~carry[0].done & (carry[0].num_tried <= self.num_iterations), iterate, (search, info)
        )
        # the first row is that of the starts; iterations that were not needed repeat the last
        rows = jnp.minimum(1 + jnp.arange(self.num_iterations), search.num_tried - 1)
        found, info_rows = (
            self._believe(problem, search, belief.proposal),
            jax.tree.map(lambda leaf: leaf[rows], info),
        )
        invalid, column = info_rows.num_invalid, info.num_invalid[0]
        invalid = invalid.at[0].add(jnp.where(search.num_tried > 1, column, 0))
        info_rows = info_rows.replacing("num_invalid", invalid)
        if info.rounding is not None:  # of the starts, which differ
            info_rows = info_rows.replacing("rounding", info.rounding[0])
        info_rows = info_rows.replacing("best_return", jax.lax.cummax(info.best_return)[rows]).keeping(self.keep)
        # where no plan had a return, all stays as it was
        found = jax.tree.map(lambda new, old: jnp.where(search.objective > -jnp.inf, new, old), found, belief)
        return found, info_rows

    def act(self, key: Key[Array, ""], belief: AffinePolicy) -> Float[Array, " A"]:
        """The first action of the plan, or a sample of it."""
        return belief.mode()[0] if self.execute == "mode" else belief.sample(key, 1)[0, 0]

    def actions(self, key: Key[Array, ""], belief: AffinePolicy, times: Any) -> Float[Array, "n A"]:
        """The actions of that plan at some times, in model steps, [n]: without feedback."""
        return read(belief.mode() if self.execute == "mode" else belief.sample(key, 1)[0], times)

    def respond(
        self, model: Model, key: Key[Array, ""], state: State, belief: AffinePolicy, time: Any
    ) -> Float[Array, " A"]:
        """The action at a time by the policy's feedback: ū_t + K_t (x − x̄_t), plus the noise of a sample."""
        noise = None if self.execute == "mode" else white_noise(key, 1, belief.plan)[0]
        return belief.respond(coordinates(model, state), time, noise)

    def shift(self, belief: AffinePolicy, steps: Any = 1) -> AffinePolicy:
        """The policy from which to plan so many time steps later, > 0, whole or not."""
        initial, how = self._blind(belief.proposal, jnp.zeros_like(belief.states)), shift_of(self.warm_start, steps)
        return fresh(initial if how is None else belief.shift(initial, how))

    def _blind(self, proposal: Gaussian, states: Float[Array, "H n"]) -> AffinePolicy:
        return affine_policy(proposal, states, self.temperature is not None)

    def _problem(self, model: Model, key: Key[Array, ""], state: State, locks: Bool[Array, "H A"]) -> Problem:
        whole = model
        if scenario_count(model) is not None:  # the first of them
            key, models = draw_scenarios(model, key, scenario_count(model) or 1)
            model = jax.tree.map(lambda leaf: leaf[0], models)
        state = with_new_noise(whole, key, state)
        log_prior: Callable[..., Any] | None = None
        parameters: Any = None
        if isinstance(self.prior, GaussianFamily | Bound):
            prior = self.prior.bind(self.horizon, action_space(whole)).locked(locks)
            log_prior, parameters = _gaussian_log_prob, (prior.mean, prior.std)
        elif isinstance(self.prior, PolicyPrior):
            policy = self.prior.policy

            def log_prior(parameters: Any, state: State, action: Array) -> Array:
                return policy(state, action)

        keys = jax.random.split(key, self.horizon)
        return Problem(
            model,
            keys,
            state,
            log_prior,
            parameters,
            self.temperature,
            self._limits(whole, state),
            locks,
            convex=self.convex,
            second_order=self.second_order,
        )

    def _limits(self, model: Model, state: State) -> tuple[Float[Array, " A"], Float[Array, " A"]] | None:
        """The least and the greatest action; None for none."""
        shape = action_space(model).shape
        limit = None if self.limits is not None else action_limit(model, reuse_noise(state))
        if limit is None:
            if self.limits is None:
                return None
            return jnp.broadcast_to(self.limits[0], shape), jnp.broadcast_to(self.limits[1], shape)
        most = jnp.broadcast_to(constant(limit), shape)
        return -most, most

    def _nowhere(self, problem: Problem, belief: AffinePolicy) -> "_Search":
        """Before the first plan was tried."""

        def expanded() -> tuple[Expansion, Improvement]:
            expansion = problem.expand(problem.follow(belief.plan, belief.states, belief.gains))
            return expansion, self._backward(problem, expansion, belief.plan, self.regularization, jnp.ones(()))

        expansion, improvement = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(expanded)
        )
        return _Search(
            belief.plan,
            jnp.array(-jnp.inf),
            expansion,
            improvement,
            jnp.ones(()),
            self.regularization,
            jnp.ones(()),
            jnp.array(False),
            jnp.zeros((), jnp.int32),
        )

    def _iterate(self, problem: Problem, search: "_Search", starts: "_Candidates") -> tuple["_Search", Info]:
        """Try the candidates, take the best of them if it is better, and solve the problem that it is in."""
        first, improvement, mu = search.num_tried == 0, search.improvement, search.regularization
        fractions = jnp.asarray(FRACTIONS, float)
        steps = search.plan + fractions[:, None, None] * improvement.steps
        searched = _Candidates(steps, search.expansion.x, jnp.broadcast_to(improvement.gains, starts.gains.shape))
        plans, states, gains = jax.tree.map(lambda a, b: jnp.where(first, a, b), starts, searched)
        tried = jax.vmap(lambda plan, gains: problem.follow(plan, states, gains))(plans, gains)
        # an end is a cliff that derivatives do not see: do not start in front of one, if there is another way
        ends = first & (tried.last_weight == 0) & (tried.last_weight != 0).any()
        best = jnp.argmax(jnp.where(ends, -jnp.inf, tried.objective))
        fraction, followed = fractions[best], jax.tree.map(lambda leaf: leaf[best], tried)
        # by −(α slope + ½ α² bend) the objective should rise
        slope, bend = improvement.slope, improvement.bend
        expected_improvement = jnp.where(first, 0.0, -(slope + 0.5 * bend))
        gained = followed.objective - search.objective
        expected = -(fraction * slope + 0.5 * fraction**2 * bend)
        agreement = gained / jnp.where(expected == 0.0, 1.0, expected)
        taken = (gained > 0.0) & (first | (agreement > _ENOUGH))
        little = self.tolerance * (search.unit + jnp.abs(search.objective))
        # the small step of a large μ is no sign of convergence
        converged = ~first & (mu < 1e-5) & ((expected_improvement < little) | (taken & (gained < little)))
        falls = taken & ((fraction > 0.3) | (agreement > 0.5))
        rises = ~taken | (fraction < 0.06) | (agreement < 0.1)
        changed = jax.tree.map(
            lambda up, down, same: jnp.where(
                first | converged, same, jnp.where(falls, down, jnp.where(rises, up, same))
            ),
            _raise(mu, search.factor),
            _lower(mu, search.factor),
            (mu, search.factor),
        )
        plan = jnp.where(taken, followed.plan, search.plan)
        objective = jnp.where(taken, followed.objective, search.objective)
        expansion = jax.lax.cond(taken, problem.expand, lambda _: search.expansion, followed)
        unit = jnp.where(first, expansion.unit(), search.unit)
        following, next_mu, factor = self._solve(problem, expansion, plan, unit, *changed)
        invalid = tried.objective == -jnp.inf
        kind, where = expansion.fault(following.curvatures if self.second_order else None)
        row = info_row(
            returns=tried.total,
            best_return=jnp.where(jnp.isfinite(tried.total), tried.total, -jnp.inf).max(),
            objective=objective,
            expected_improvement=expected_improvement,
            step_size=jnp.where(taken, fraction, 0.0),
            regularization=mu * search.unit,
            num_invalid=invalid.sum(),
            converged=converged,
            degenerate=~following.solved | invalid.all(),
            rounding=regrets(tried.total, ~invalid).share_of_rounding() if self.num_samples else None,
            nonfinite_derivative=kind,
            nonfinite_step=where,
            log_evidence=self._log_evidence(problem, expansion, following, objective),
            temperature=self.temperature,
        )
        done = converged | ~following.solved | (first & ~taken)
        after = _Search(plan, objective, expansion, following, unit, next_mu, factor, done, search.num_tried + 1)
        return after, row

    def _solve(
        self,
        problem: Problem,
        expansion: Expansion,
        plan: Plan,
        unit: Float[Array, ""],
        mu: Float[Array, ""],
        factor: Float[Array, ""],
    ) -> tuple[Improvement, Float[Array, ""], Float[Array, ""]]:
        """The backward pass, with at least this regularisation and one that suffices, and that."""

        def attempt(carry: tuple[Any, ...]) -> tuple[Any, ...]:
            _, mu, factor, tried = carry
            mu, factor = jax.tree.map(lambda up, same: jnp.where(tried, up, same), _raise(mu, factor), (mu, factor))
            return self._backward(problem, expansion, plan, mu, unit), mu, factor, jnp.array(True)

        nothing = jax.eval_shape(lambda: self._backward(problem, expansion, plan, mu, unit))
        start = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), nothing)
        improvement, mu, factor, _ = jax.lax.while_loop(
            lambda carry: ~carry[0].solved & (carry[1] < _GREATEST), attempt, (start, mu, factor, jnp.array(False))
        )
        return improvement, mu, factor

    def _backward(
        self, problem: Problem, expansion: Expansion, plan: Plan, mu: Float[Array, ""], unit: Float[Array, ""]
    ) -> Improvement:
        curvature = problem.curvature if self.second_order else None
        return backward(expansion, plan, mu * unit, limits=problem.limits, locks=problem.locks, curvature=curvature)

    def _believe(self, problem: Problem, search: "_Search", proposal: Gaussian) -> AffinePolicy:
        # as little regularised as it can be
        improvement, _, _ = self._solve(
            problem, search.expansion, search.plan, search.unit, jnp.zeros(()), jnp.ones(())
        )
        policy = AffinePolicy(search.plan, search.expansion.x, improvement.gains, None, proposal)
        trils = self._noise(problem, search.expansion, improvement)
        return policy if trils is None else answered(policy, trils, search.expansion.f_z)

    def _noise(
        self, problem: Problem, expansion: Expansion, improvement: Improvement
    ) -> Float[Array, "H A A"] | None:
        """C_t of the covariances C_t C_tᵀ = λ Q_uu⁻¹; after an end nothing is known: unit noise of what moves."""
        if self.temperature is None:
            return None
        trils = jax.vmap(_noise, (0, 0, None))(improvement.curvatures, improvement.free, self.temperature)
        known = self._counted(expansion)[:, None, None]
        return jnp.where(known, trils, unit_trils(problem.locks, trils.dtype))

    def _counted(self, expansion: Expansion) -> Bool[Array, " H"]:
        """Of which steps the posterior knows something."""
        return expansion.counts if self.prior is None else jnp.ones_like(expansion.counts)

    def _log_evidence(
        self, problem: Problem, expansion: Expansion, improvement: Improvement, objective: Float[Array, ""]
    ) -> Float[Array, ""] | None:
        """(objective at the optimum)/λ + Σ_t ½ log det(2π λ Q_uu⁻¹)."""
        trils = self._noise(problem, expansion, improvement)
        if self.temperature is None or trils is None:
            return None
        objective -= improvement.slope + 0.5 * improvement.bend
        scales = jnp.diagonal(trils, axis1=1, axis2=2)
        log_dets = log_scale(scales) + 0.5 * (scales != 0) * jnp.log(2.0 * jnp.pi)
        return objective / self.temperature + jnp.where(self._counted(expansion)[:, None], log_dets, 0.0).sum()


class _Candidates(NamedTuple):
    """Policies to try from one start, L side by side.

    Attributes:
        plans: [L, H, A].
        states: coordinates that feedback is about, [H, n].
        gains: [L, H, A, n].
    """

    plans: Float[Array, "L H A"]
    states: Float[Array, "H n"]
    gains: Float[Array, "L H A n"]


class _Search(NamedTuple):
    """Where the optimisation is.

    Attributes:
        plan: [H, A].
        objective: of the plan.
        expansion: around it.
        improvement: what to try next.
        unit: of rewards, by which tolerance and μ are measured.
        regularization: μ of that, in this unit.
        factor: by which μ changes next, which itself grows.
        done: whether to stop.
        num_tried: of what was tried so far, the start included.
    """

    plan: Plan
    objective: Float[Array, ""]
    expansion: Expansion
    improvement: Improvement
    unit: Float[Array, ""]
    regularization: Float[Array, ""]
    factor: Float[Array, ""]
    done: Bool[Array, ""]
    num_tried: Int[Array, ""]


def _raise(mu: Float[Array, ""], factor: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    factor = jnp.maximum(2.0, 2.0 * factor)
    return jnp.maximum(_LEAST, mu * factor), factor


def _lower(mu: Float[Array, ""], factor: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    factor = jnp.minimum(0.5, 0.5 * factor)
    return jnp.where(mu * factor < _LEAST, 0.0, mu * factor), factor


def _noise(
    curvature: Float[Array, "A A"], free: Bool[Array, " A"], temperature: Float[Array, ""]
) -> Float[Array, "A A"]:
    """C of C Cᵀ = λ Q_uu⁻¹ over what is free, whose curvatures are at least 1e-6 of the greatest; 0 elsewhere."""
    known = jnp.where(jnp.isfinite(curvature) & free[:, None] & free, curvature, 0.0)
    values, vectors = jnp.linalg.eigh(0.5 * (known + known.T))
    values = jnp.maximum(values, jnp.maximum(1e-6 * values[-1], jnp.finfo(values.dtype).tiny ** 0.5))
    # an orthogonal factor to a triangular one: Σ = (V √(λ/w)) (…)ᵀ = Rᵀ R
    root = (vectors * jnp.sqrt(temperature / values)).T
    upper = jnp.linalg.qr(root, mode="r")
    return locked_tril((upper * jnp.sign(jnp.diagonal(upper))[:, None]).T, free.astype(upper.dtype))


def _gaussian_log_prob(parameters: tuple[Array, Array], state: State, action: Float[Array, " A"]) -> Array:
    mean, std = parameters
    z, units = (action - mean) / divisor(std), (std != 0) * jnp.log(2.0 * jnp.pi)
    return -(0.5 * (z**2 + units) + log_scale(std)).sum()
