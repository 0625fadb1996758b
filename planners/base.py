"""What the loop is made of: beliefs over plans, optimality likelihoods, priors, and planners; all are pytrees.

K counts plans, H the steps of the horizon, A the actuators, I iterations.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

from ..dynamics.base import Model, State, pytree, static
from .warm_start import Shifting

_MARGIN, _LEAST_MARGIN = 0.5, 0.25  # in standard deviations, in half ranges; see `range_of_centers`
Plans = Float[Array, "K H A"]
Plan = Float[Array, "H A"]


@runtime_checkable
class Belief(Protocol):
    """A distribution q(a) over plans, from a family onto which weighted plans can be projected.

    What searches by more than a family may also define any of:

    * `propose(key, num_samples) -> Proposal`, in the place of `sample`;
    * `update(plans, weights, returns) -> belief`, in the place of `fit`, where the returns themselves matter;
    * `center() -> plan`, around which it samples, where that is not its mode;
    * `random_mode(key) -> plan`, one of several modes, each as often as it is probable;
    * `map_centers(function) -> belief` and `spread() -> [A]`, see `Centered`: without them nothing keeps it near
      the actuators' range.
    """

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
        """The plan to execute."""
        ...

    def shift(self, initial: Any, how: Shifting) -> Any:
        """The belief one time step later; what it cannot know yet comes from `initial`."""
        ...

    def entropy(self) -> Float[Array, ""] | None:
        """−E log q, in nats; None where it has no density."""
        ...

    def kl(self, other: Any) -> Float[Array, ""] | None:
        """KL(q ‖ other), in nats; None where it has no density."""
        ...


@runtime_checkable
class Centered(Protocol):
    """A belief that samples around one plan or several."""

    def map_centers(self, function: Callable[[Float[Array, "*M H A"]], Float[Array, "*M H A"]]) -> Any:
        """The same belief around other centres: what the function, which never falls, makes of each of their numbers.

        Over knots it is applied to those, which may be more or fewer than the steps.
        """
        ...

    def spread(self) -> Float[Array, " A"]:
        """The standard deviation of its plans around a centre, averaged over the steps."""
        ...


def range_of_centers(belief: Any) -> Float[Array, " A"]:
    """How far centres may go in either direction, [A]: to the ends of the actuators' range and half a std, or 0.25.

    Beyond the range nothing changes for a model that clips: means of weighted plans would wander there by chance,
    further with each warm start, and take as long to come back. The margin is for plans at the ends of the range:
    around 1 noise takes 0.4 standard deviations of the force away on average, around the end of the margin 0.2. (Of
    half a std and 0.25 it is the greater.)

    Args:
        belief: where inference starts, of whose spread the margin is.
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


@runtime_checkable
class Sequential(Belief, Protocol):
    """A belief whose plans can be drawn step by step, so that particles which meet part again."""

    def noise(self, key: PRNGKeyArray, num_samples: int) -> Any:
        """What drives K plans: a pytree of arrays [K, H, ...]."""
        ...

    def from_noise(self, noise: Any) -> Plans:
        """The plans that noise drives, each step by the noise of the steps up to it."""
        ...

    def step_log_probs(self, plans: Plans) -> Float[Array, "K H"]:
        """Log q(a_t | a_<t) of each plan and step, which tells nothing of later steps."""
        ...


@runtime_checkable
class Policy(Protocol):
    """A distribution over actions in a state."""

    def sample(self, key: PRNGKeyArray, state: State) -> Float[Array, " A"]:
        """Draw an action, on the scale of plans."""
        ...

    def log_prob(self, state: State, action: Float[Array, " A"]) -> Float[Array, ""]:
        """Log of the density of an action in a state."""
        ...


@runtime_checkable
class Density(Protocol):
    """What tells how probable plans are: a belief, or what is known of the plans that a policy has drawn."""

    def log_prob(self, plans: Plans) -> Float[Array, " K"]:
        """Log of the density of each plan."""
        ...


class Proposal(NamedTuple):
    """Plans to look at.

    Attributes:
        plans: [K, H, A].
        belief: what proposed them, with what it remembers of that.
        log_correction: log q(a) − log r(a) of plans that were drawn from another distribution r than q, [K]; None
            where they were drawn from q.
        log_density: log r of any plans [K, H, A], for those who mix r with others, a pytree as all of this is (see
            `jax.tree_util.Partial`); None where there is no r, or it is not known.
        drawn: which of them were drawn at all, from q or r, [K]; None for all. Others (the centre, plans that are
            remembered) are no samples: they count in no evidence, and weigh nothing under a prior.
    """

    plans: Plans
    belief: Any
    log_correction: Float[Array, " K"] | None = None
    log_density: Callable[[Plans], Float[Array, " K"]] | None = None
    drawn: Bool[Array, " K"] | None = None


def propose(belief: Any, key: PRNGKeyArray, num_samples: int) -> Proposal:
    """Plans to look at, by the belief's own `propose` if it has one, else by its `sample`."""
    own = getattr(belief, "propose", None)
    return Proposal(belief.sample(key, num_samples), belief) if own is None else own(key, num_samples)


def update(belief: Any, plans: Plans, weights: Float[Array, " K *H"], returns: Float[Array, " K"]) -> Any:
    """What is believed after these plans, by the belief's own `update` if it has one, else by its `fit`.

    Args:
        belief: what the plans were proposed by.
        plans: [K, H, A].
        weights: [K], they sum to 1; [K, H] where each step has its own.
        returns: [K]; −inf for plans that must get no weight.

    Returns:
        A belief of the same structure.
    """
    own = getattr(belief, "update", None)
    return belief.fit(plans, weights) if own is None else own(plans, weights, returns)


def center(belief: Any) -> Plan:
    """The plan around which a belief samples."""
    return getattr(belief, "center", belief.mode)()


class Optimality(NamedTuple):
    """What a likelihood says of each plan: log W(a) = log_weights + log_scale.

    Attributes:
        log_weights: [K]; −inf for plans that count for nothing. Their greatest is near 0, so that they can be
            exponentiated.
        log_scale: a scalar, the same for all plans, which only evidences need.
        temperature: by which returns were divided, in reward units; None where there is none.
    """

    log_weights: Float[Array, " K"]
    log_scale: Float[Array, ""]
    temperature: Float[Array, ""] | None


@runtime_checkable
class Likelihood(Protocol):
    """W(R), how likely a plan of return R is optimal."""

    def __call__(self, returns: Float[Array, " K"]) -> Optimality:
        """Weigh plans by their returns [K], which are finite, or −inf for plans that must get no weight."""
        ...


@runtime_checkable
class Prior(Protocol):
    """What is known of plans before their returns, and the entropy that the posterior keeps.

    Where plans are resampled on the way, one that `tells_steps` counts step by step, by its `step_log_probs(plans) ->
    [K, H]`, log p(a_t | a_<t); others where plans end. Where a policy draws them, `belief` is a `Density` only.
    """

    def log_ratio(self, plans: Plans, belief: Belief) -> Float[Array, " K"]:
        """Log p(a) − log q(a) of plans drawn from `belief` q."""
        ...


@pytree
class Lineage:
    """What became of the particles of sequential Monte Carlo, step by step; one row per iteration.

    Attributes:
        ess: effective sample size after each step, before resampling, [..., H].
        resampled: whether they were resampled after it, [..., H].
        num_ancestors: how many particles of each step have descendants with weight at the end, [..., H]: the first
            is the number of distinct roots (of discrete actions more than there are actions: two particles may take
            the same one). Few of them early on is path degeneracy: the first actions rest on few
            plans, and more particles, a better look-ahead or a shorter horizon help.
    """

    ess: Float[Array, "... H"]
    resampled: Bool[Array, "... H"]
    num_ancestors: Int[Array, "... H"]


@pytree
class Refinement:
    """What came of refining the plan that the loop had found; no rows.

    Attributes:
        worth: returns of the belief's mode, of the plan of the time step before, and of the refined plan, [..., 3],
            reward units; −∞ if invalid.
        accepted: whether the refined plan is the best of them, and executed.
        info: of the planner that refined.
    """

    worth: Float[Array, "... 3"]
    accepted: Bool[Array, "..."]
    info: Any


class _Measure:
    """A number of each row of `Info`, or None where a planner does not tell it."""

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
    """What happened in an inference; one row per iteration. Without `diagnostics` most are None, see `brief`.

    Its numbers are columns of one array, because each array that a compiled function returns costs time: on a small
    problem that of a step of the rollout.

    Attributes:
        returns: of each plan as the rollout gave it, [..., K], reward units; under several scenarios what the risk
            measure makes of them. Where later iterations look at fewer plans, their rows end in NaN.
        best_return: of the best plan so far, which is `belief.best()`, reward units; −inf where none was valid.
        weights: of each plan, they sum to 1, [..., K]; where every step has its own, their mean over the steps.
        elbo: E[log W + log p − log q], nats, of q restricted to the plans that are valid; −inf for an indicator
            likelihood.
        log_evidence: log E_q[W p/q], an estimate of log p(O = 1) that is meaningless when `evidence_ess` is below 5
            or so. Plans that are not valid are impossible: W = 0. It rests on the plans that were drawn: the centre
            of the belief, and remembered plans, which were not, count neither here nor in the four around it.
        elbo_gap: log_evidence − elbo, estimates KL(q ‖ posterior); 0 where no plan is valid, infinite where none of
            those that are has any weight.
        posterior_kl: Σ w log(K w) of the weights before the step size κ, estimates KL(posterior ‖ q); 0 or infinite
            as `elbo_gap`.
        evidence_ess: effective sample size of these, on which `log_evidence` and `posterior_kl` rest; 0 where they
            rest on none.
        ess: effective sample size 1/Σw² of `weights`, between 1 and K.
        max_weight: the greatest weight.
        perplexity: exp of the weights' entropy, between `ess` and K.
        entropy: of the belief after the iteration, nats; None where it has no density.
        kl: of the belief after from the belief before the iteration, nats; None where it has no density.
        temperature: of the likelihood, in reward units; None where it has none. Under a prior it is that of the
            posterior, where the iterations end, whatever the step size.
        step_size: κ of the mirror descent; None where there is none, and steps are whole.
        num_invalid: how many plans had a return, or a log p, that was NaN or infinite; they got no weight.
        degenerate: whether nothing could be learnt (no valid return, or all equal): the belief stayed as it was (of
            particles whose returns are equal, their proposal).
        lineage: of the particles, where plans were resampled on the way; None elsewhere. Plans are then those that
            survived, and `num_invalid` counts all that died of it. `elbo` is log_evidence itself, whose mean is a
            bound as well (Maddison et al., 2017), `elbo_gap` None, and `evidence_ess` the least of the lineage's.
        refinement: what came of it, once for all iterations; None without one.
        measures: the numbers that are told, [..., n].
        names: theirs, in the order of `measures`.
    """

    returns: Float[Array, "... K"]
    weights: Float[Array, "... K"] | None
    measures: Float[Array, "... n"]
    lineage: Lineage | None
    refinement: Refinement | None
    names: tuple[str, ...] = static()

    best_return = _Measure()
    elbo = _Measure()
    log_evidence = _Measure()
    elbo_gap = _Measure()
    posterior_kl = _Measure()
    evidence_ess = _Measure()
    entropy = _Measure()
    kl = _Measure()
    temperature = _Measure()
    step_size = _Measure()
    num_invalid = _Measure(int)
    degenerate = _Measure(bool)

    @property
    def ess(self) -> Float[Array, "..."] | None:
        """1/Σw² of `weights`, computed when it is asked for (Kish, 1965)."""
        return None if self.weights is None else 1.0 / (self.weights**2).sum(-1)

    @property
    def max_weight(self) -> Float[Array, "..."] | None:
        """The greatest of `weights`."""
        return None if self.weights is None else self.weights.max(-1)

    @property
    def perplexity(self) -> Float[Array, "..."] | None:
        """Exp of −Σ w log w of `weights`."""
        return None if self.weights is None else jnp.exp(jax.scipy.special.entr(self.weights).sum(-1))

    def brief(self) -> "Info":
        """Returns, the best of them, and what went wrong; None for all else, which then is not computed."""
        names = tuple(name for name in ("best_return", "num_invalid", "degenerate") if name in self.names)
        # each column by itself, which compilers understand
        measures = jnp.stack([self.measures[..., self.names.index(name)] for name in names], axis=-1)
        return dataclasses.replace(self, weights=None, measures=measures, lineage=None, names=names)

    def told(self, name: str, value: Float[Array, "..."]) -> "Info":
        """With another number in the place of one that it tells."""
        return dataclasses.replace(self, measures=self.measures.at[..., self.names.index(name)].set(value))


def info_row(
    returns: Float[Array, " K"],
    weights: Float[Array, " K"],
    lineage: Lineage | None = None,
    **measures: Shaped[Array, ""] | None,
) -> Info:
    """Make a row of `Info`.

    Args:
        returns: see `Info`.
        weights: see `Info`.
        lineage: see `Info`.
        **measures: its numbers, by name; None for those that there are not.
    """
    told = {name: value for name, value in measures.items() if value is not None}
    numbers = jnp.stack([jnp.asarray(value, returns.dtype) for value in told.values()])
    return Info(returns, weights, numbers, lineage, None, tuple(told))


def check_part(name: str, part: Any, *methods: str) -> Any:
    """Return `part`, or raise a `ValueError` unless it is a pytree (so that jit can take it) with these methods."""
    if isinstance(part, type):
        raise ValueError(f"{name} must be an instance, got the class {part.__name__}")
    missing = [method for method in methods if not callable(getattr(part, method, None))]
    if missing:
        raise ValueError(f"{name} must have {', '.join(missing)}, got {part!r}")
    if jax.tree_util.all_leaves([part]):
        raise ValueError(f"{name} must be a pytree: register {type(part).__name__} with JAX, got {part!r}")
    return part


def check_unused(why: str, **options: Any) -> None:
    """Raise a `ValueError` if an option was given, any but None, that has no meaning beside others."""
    given = [f"{name}={value!r}" for name, value in options.items() if value is not None]
    if given:
        raise ValueError(f"{why}: {' and '.join(options)} must not be given, got {', '.join(given)}")


def check_key(key: Any) -> PRNGKeyArray:
    """Return one key as `jax.random.key` makes it, of either kind, or raise a `ValueError` that says what to give."""
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key) and shape == ():
        return key
    if dtype == jnp.uint32 and shape == jax.eval_shape(lambda: jax.random.PRNGKey(0)).shape:
        return jax.random.wrap_key_data(jnp.asarray(key))
    told = f"{key!r}" if dtype is None or shape == () else f"{dtype}{list(shape or ())}"
    raise ValueError(
        f"key must be one key, jax.random.key(seed) or jax.random.PRNGKey(seed) (of several take one, or vmap over "
        f"them), got {told}"
    )


def check_belief(own: Any, given: Any) -> Any:
    """Return the belief `given`, or raise a `ValueError` unless its structure and shapes are those of `own`."""

    def form(belief: Any) -> tuple[Any, list[tuple[int, ...]]]:
        return jax.tree.structure(belief), [jnp.shape(leaf) for leaf in jax.tree.leaves(belief)]

    if type(own) is not type(given):
        raise ValueError(
            f"belief must be of the planner's own family, {type(own).__name__}, got {type(given).__name__}"
        )
    (own_structure, own_shapes), (structure, shapes) = form(own), form(given)
    if shapes != own_shapes:
        raise ValueError(f"belief must have the shapes of the planner's own, {own_shapes}, got {shapes}")
    if structure != own_structure:
        raise ValueError("belief must be made of the same parts as the planner's own, got another structure")
    return given


def check_per_plan(name: str, values: Any, num_samples: int) -> Shaped[Array, " K"]:
    """Return what a user's function gave for K plans, or raise a `ValueError` unless its shape is [K]."""
    if jnp.shape(values) != (num_samples,):
        raise ValueError(f"{name} must have shape ({num_samples},), one entry per plan, got {jnp.shape(values)}")
    return values


@runtime_checkable
class Planner(Protocol):
    """Iterative inference: from a belief over plans to a better one."""

    def start(self, model: Model, state: State) -> Any:
        """Where inference starts when it is given no belief."""
        ...

    def improve(self, model: Model, key: PRNGKeyArray, state: State, belief: Any) -> tuple[Any, Any]:
        """Bring `belief` nearer to the posterior over plans from `state`: (belief, info)."""
        ...

    def act(self, key: PRNGKeyArray, belief: Any) -> Float[Array, " A"]:
        """The action to execute now."""
        ...

    def shift(self, belief: Any) -> Any:
        """The belief from which to plan at the next time step."""
        ...


def fresh(tree: Any) -> Any:
    """The same arrays in memory of their own, so that whoever gets them may donate it; keys too.

    What a program returns has memory of its own anyway.
    """
    return jax.tree.map(lambda leaf: leaf if isinstance(leaf, jax.core.Tracer) else jnp.array(leaf, copy=True), tree)
