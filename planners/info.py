"""What planners report of an inference."""

import dataclasses
from collections.abc import Sequence, Set
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num, Shaped

from ..dynamics.pytrees import pytree, static

_BRIEF = ("best_return", "num_invalid", "degenerate", "rounding", "violation", "executed_violation")
KEEP = ("returns", "weights", "samples", "lineage")  # what grows with the number of plans or steps


@pytree
class Lineage:
    """The history of the particles of sequential Monte Carlo, step by step; one row per iteration.

    Attributes:
        ess: effective sample size after each step, before resampling, [..., H].
        resampled: whether they were resampled after it, [..., H].
        num_ancestors: how many particles of each step have descendants with weight at the end, [..., H]: the first
            is the number of distinct roots (of discrete actions more than there are actions: two particles may take
            the same one). Few of them early on is path degeneracy: the first actions rest on few plans, and more
            particles, a better look-ahead or a shorter horizon help.
    """

    ess: Float[Array, "... H"]
    resampled: Bool[Array, "... H"]
    num_ancestors: Int[Array, "... H"]


@pytree
class Refinement:
    """The outcome of refining a plan, once for all iterations.

    Attributes:
        returns: of the belief's mode, of the plan of the time step before, and of the refined plan, [..., 3], reward
            units; −∞ if invalid.
        accepted: whether the refined plan is the best of them, and executed.
        info: of the planner that refined.
    """

    returns: Float[Array, "... 3"]
    accepted: Bool[Array, "..."]
    info: Any


class _Measure:
    """A number of each row of `Info`; None where a planner does not report it."""

    def __init__(self, kind: Any = float) -> None:
        self.kind = kind

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, info: Any, owner: type) -> Any:
        if info is None:
            return self
        if self.name not in info.names:
            return None
        values = info.measures[..., info.names.index(self.name)]
        return values if self.kind is float else values.astype(self.kind)


@pytree
class Info:
    """What happened in an inference, of any planner; one row per iteration. What does not apply to a planner is None.

    Its numbers are columns of one array, because each array that a compiled function returns costs time: on a small
    problem as much as a step of the rollout. Arrays of all plans are there only where the planner's option `keep`
    names them, so that an episode of many steps fits into memory.

    Attributes: of all planners
        best_return: of the best plan so far, `belief.best()` (`elbo_gradient` keeps none), reward units; −inf where
            none was valid.
        num_invalid: how many plans had a return, a gradient or a log p that was NaN or infinite; they got no weight.
        degenerate: whether nothing could be learnt: no valid return or gradient, gradients that are all 0, or returns
            that are all equal (unless a prior says where to go). The belief stayed as it was (of particles whose
            returns are equal, their proposal).
        rounding: how much of the difference between the best return and the worst may be rounding, between 0 and 1:
            where it is 1 all are equal, as far as one can tell, and above 0.1 or so it is chance that decides. Of
            `ilqr` that between its starts. Slopes do not rest on differences: of `elbo_gradient` and `stein` it is 1
            or 0, of `gradient` None.
        temperature: of the likelihood, in reward units; None where it has none. Under a prior it is that of the
            posterior, where the iterations end, whatever the step size.

    Attributes: of plans under constraints
        violation: by how much the best plan so far, which is the one that violates least, violates the constraints of
            the model, Σ max(g, 0). None, as the other four, where it has none (see `dynamics.constrained`).
        mean_violation: of all plans, by their weights.
        feasible: which share of the plans violates nothing.
        multiplier: what a unit of violation costs in reward units, before an iteration; 0 where none is known yet.
            Planners that rank plans need none.
        executed_violation: of the plan to execute, once for all iterations.

    Attributes: of planners that weigh samples
        ess: effective sample size 1/Σw² of the weights, between 1 and K (Kish, 1965).
        max_weight: the greatest weight.
        perplexity: exp of the weights' entropy, between `ess` and K.
        elbo: E[log W + log p − log q], nats, of q restricted to the plans that are valid; −inf for an indicator
            likelihood. (Of `elbo_gradient` and `iterative_policy` an estimate of what they climb.)
        log_evidence: log E_q[W p/q], an estimate of log p(O = 1) that is meaningless when `evidence_ess` is below 5
            or so. Plans that are not valid are impossible: W = 0. It rests on the plans that were drawn: the mode of
            the belief, and remembered plans, which were not, do not count here nor in the four around it. (Of `ilqr`
            Laplace's approximation of it, exact on linear-quadratic problems; relative to the Lebesgue measure
            without a prior.)
        elbo_gap: log_evidence − elbo, estimates KL(q ‖ posterior); 0 where no plan is valid, infinite where none of
            those that are has any weight.
        posterior_kl: Σ w log(K w) of the weights before the step size κ, estimates KL(posterior ‖ q); 0 or infinite
            as `elbo_gap`.
        evidence_ess: effective sample size of these, on which `log_evidence` and `posterior_kl` rest; 0 where they
            rest on none. Of particles the least along the lineage.
        entropy: of the belief after the iteration, nats; None where it has no density.
        kl: of the belief after from the belief before the iteration, nats; None where it has no density. (Of
            `iterative_policy` the divergence from the given policy, nats per step.)
        step_size: κ of the mirror descent; None where steps are whole. (Of `ilqr` the fraction of
            the step that was taken; 0 where none was.)
        num_roots: how many distinct first actions the particles have.

    Attributes: of planners that follow derivatives
        objective: the best of what is climbed, the return plus temperature times log p, reward units; −inf where it
            is no number.
        gradient_norm: of the gradient there, before it was shortened; the greatest, where several plans climb.
        num_invalid_gradients: how many plans had a return that is a number, and a gradient that is none. None where
            gradients are made of returns.
        nonfinite_derivative: of `ilqr` which derivative was no number, so that the plan stayed: 1 the first one of
            the dynamics, 2 of the reward (log p included), 3 the second one of the reward, 4 of the dynamics, 5 the
            first one of the value, 6 the second; 0 for none. `planners.complaint` has the words.
        nonfinite_step: at which step of the plan that was, the first; −1 for none.
        expected_improvement: by how much the whole step would raise the objective if the expansion were exact.
        regularization: μ of the last backward pass.
        converged: whether nothing more was to be gained.

    Attributes: of planners that plan only where they must
        planned: whether it was planned; where not, the network's plan is executed, and what is of inference alone is
            NaN, or 0.
        regret: by how much the best of a few plans that were tried earns more than the network's, reward units;
            infinite where that one's return is not finite. None, as the next three, under another criterion.
        network_gap: log p(O) − ELBO of the network's belief, by plans that are drawn from it, nats: an estimate of
            its divergence from the posterior, from below.
        network_ess: the effective sample size of such plans as a share of their number, in [0, 1].
        disagreement: the standard deviation of the returns of the network's plan over scenarios, divided by that of
            the mean returns of the plans that were tried.

    Attributes: arrays, where they are kept
        returns: of each plan as the rollout gave it, [..., K], reward units; under several scenarios the risk measure
            of its returns. Where later iterations evaluate fewer plans, their rows end in NaN.
        weights: of each plan, they sum to 1, [..., K]; where every step has its own, their mean over the steps.
        samples: the plans that the last iteration weighed, as they were tried, [K, H, A]; of those that sample.
        lineage: of the particles, where plans were resampled. Plans are then those that survived, and
            `num_invalid` counts all that died of it; `elbo` is log_evidence itself, whose mean is a bound as well
            (Maddison et al., 2017), and `elbo_gap` None.
        refinement: the outcome of refining the plan, once for all iterations; None without a refiner.
        measures: the numbers that are reported, [..., n].
        names: theirs, in the order of `measures`.
    """

    measures: Float[Array, "... n"]
    returns: Float[Array, "... K"] | None
    weights: Float[Array, "... K"] | None
    samples: Num[Array, "..."] | None
    lineage: Lineage | None
    refinement: Refinement | None
    names: tuple[str, ...] = static()

    best_return = _Measure()
    num_invalid = _Measure(int)
    degenerate = _Measure(bool)
    rounding = _Measure()
    temperature = _Measure()
    violation = _Measure()
    mean_violation = _Measure()
    feasible = _Measure()
    multiplier = _Measure()
    executed_violation = _Measure()
    ess = _Measure()
    max_weight = _Measure()
    perplexity = _Measure()
    elbo = _Measure()
    log_evidence = _Measure()
    elbo_gap = _Measure()
    posterior_kl = _Measure()
    evidence_ess = _Measure()
    entropy = _Measure()
    kl = _Measure()
    step_size = _Measure()
    num_roots = _Measure(int)
    objective = _Measure()
    gradient_norm = _Measure()
    num_invalid_gradients = _Measure(int)
    nonfinite_derivative = _Measure(int)
    nonfinite_step = _Measure(int)
    expected_improvement = _Measure()
    regularization = _Measure()
    converged = _Measure(bool)
    planned = _Measure(bool)
    regret = _Measure()
    network_gap = _Measure()
    network_ess = _Measure()
    disagreement = _Measure()

    def nothing(self) -> "Info":
        """The same without any of it: NaN, and 0 for what counts or is true or false, arrays of plans included."""
        kinds = [vars(Info)[name].kind if name in vars(Info) else float for name in self.names]
        values = jnp.array([jnp.nan if kind is float else 0.0 for kind in kinds], self.measures.dtype)
        empty = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), self)
        return dataclasses.replace(empty, measures=jnp.broadcast_to(values, self.measures.shape))

    def brief(self) -> "Info":
        """The best return and what went wrong; None for all other numbers, which then are not computed."""
        names = tuple(name for name in _BRIEF if name in self.names)
        # each column by itself, which compilers understand
        measures = jnp.stack([self.measures[..., self.names.index(name)] for name in names], axis=-1)
        return dataclasses.replace(self, measures=measures, names=names)

    def keeping(self, names: tuple[str, ...]) -> "Info":
        """Without the arrays that are not named."""
        return dataclasses.replace(
            self,
            returns=self.returns if "returns" in names else None,
            weights=self.weights if "weights" in names else None,
            samples=self.samples if "samples" in names else None,
            lineage=self.lineage if "lineage" in names else None,
        )

    def adding(self, **measures: Num[Array, "..."]) -> "Info":
        """With more numbers; of several rows, those of each row, or one for all."""
        values = [jnp.broadcast_to(value, self.measures.shape[:-1]) for value in measures.values()]
        numbers = jnp.concatenate([self.measures, jnp.stack(values, axis=-1).astype(self.measures.dtype)], axis=-1)
        return dataclasses.replace(self, measures=numbers, names=(*self.names, *measures))

    def replacing(self, name: str, value: Num[Array, "..."]) -> "Info":
        """With another number in the place of one that it reports."""
        return dataclasses.replace(self, measures=self.measures.at[..., self.names.index(name)].set(value))


def info_row(
    *,
    returns: Float[Array, " K"] | None = None,
    weights: Float[Array, " K"] | None = None,
    lineage: Lineage | None = None,
    **measures: Shaped[Array, ""] | None,
) -> Info:
    """Make a row of `Info`.

    Args:
        returns: see `Info`.
        weights: see `Info`; their effective sample size, greatest and perplexity are measures, too.
        lineage: see `Info`.
        **measures: its numbers, by name; None for those that do not apply.
    """
    if weights is not None:
        measures["ess"] = 1.0 / (weights**2).sum()
        measures["max_weight"] = weights.max()
        measures["perplexity"] = jnp.exp(jax.scipy.special.entr(weights).sum())
    named = {name: value for name, value in measures.items() if value is not None}
    numbers = jnp.stack([jnp.asarray(value, float) for value in named.values()])
    return Info(numbers, returns, weights, None, lineage, None, tuple(named))


def check_keep(keep: Any) -> tuple[str, ...]:
    """Return the names of arrays to keep, or raise a `ValueError` if there is another."""
    names = (keep,) if isinstance(keep, str) else keep
    if not isinstance(names, Sequence | Set) or not all(isinstance(name, str) and name in KEEP for name in names):
        raise ValueError(f"keep must be names among {', '.join(KEEP)}, got {keep!r}")
    return tuple(names)
