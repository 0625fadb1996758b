"""Evolution strategies of evosax as beliefs."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, UInt32

from ...dynamics.checks import integer, real
from ...dynamics.pytrees import pytree, static
from ...dynamics.spaces import ActionSpace
from ..options import checked
from .locked import divisor
from .protocol import Plan, Plans, Proposal, continuous_shape
from .warm_start import Shifting


@dataclasses.dataclass(frozen=True)
class Sized:
    """How a strategy is made: beliefs hold this instead of it, so that they pickle, and are equal elsewhere.

    Attributes:
        kind: the class of evosax.
        num_samples: the size K of the population.
        shape: of a solution.
        dtype: of its numbers, by name.
        elite_fraction: of the population that is elite; None for the strategy's own.
    """

    kind: Any
    num_samples: int
    shape: tuple[int, ...]
    dtype: str
    elite_fraction: float | None

    def made(self) -> Any:
        """The strategy."""
        return _instance(self.kind, self.num_samples, self.shape, self.dtype, self.elite_fraction)


@pytree
class Strategy:
    """The state of an evolution strategy (Lange, 2022). Make one with `strategy`.

    It has no density: no prior can weigh its plans, and entropy and divergence are None.

    Attributes:
        state: of the strategy.
        params: of the strategy.
        std: the unit in which the strategy searches, [H, A]; where it is 0, plans stay at 0.
        seed: of what is random after the returns are known.
        algorithm: the evosax strategy, or how it is made.
    """

    state: Any
    params: Any
    std: Float[Array, "H A"]
    seed: UInt32[Array, ""]
    algorithm: Any = static()

    @property
    def _evosax(self) -> Any:
        """The strategy of evosax itself."""
        return self.algorithm.made() if isinstance(self.algorithm, Sized) else self.algorithm

    def propose(self, key: PRNGKeyArray, num_samples: int) -> Proposal:
        """The strategy's next population; `num_samples` must be its size."""
        ask_key, tell_key = jax.random.split(key)
        population, state = self._evosax.ask(ask_key, self.state, self.params)
        if len(population) != num_samples:
            raise ValueError(f"num_samples must be the population size {len(population)}, got {num_samples}")
        seed = jax.random.bits(tell_key, dtype=jnp.uint32)
        return Proposal(self.std * population, dataclasses.replace(self, state=state, seed=seed), None)

    def sample(self, key: PRNGKeyArray, num_samples: int) -> Plans:
        """Plans [K, H, A] of the next population, repeated if there are fewer."""
        population, _ = self._evosax.ask(key, self.state, self.params)
        return self.std * population[jnp.arange(num_samples) % len(population)]

    def log_prob(self, plans: Plans) -> Float[Array, " K"]:
        """It has none."""
        raise ValueError("an evolution strategy has no density: it takes no prior and no step size")

    def fit(self, plans: Plans, weights: Float[Array, " K"]) -> "Strategy":
        """Take the weights for returns."""
        return self.update(plans, weights, weights)

    def update(self, plans: Plans, weights: Float[Array, " K"], returns: Float[Array, " K"]) -> "Strategy":
        """Give the strategy the fitness of its population; failures get that of the worst of the others."""
        worst = jnp.min(returns, initial=jnp.inf, where=returns > -jnp.inf)
        fitness = -jnp.where(returns > -jnp.inf, returns, jnp.where(jnp.isfinite(worst), worst, 0.0))
        key = jax.random.key(self.seed)
        state, _ = self._evosax.tell(key, plans / divisor(self.std), fitness, self.state, self.params)
        state = jax.tree.map(lambda new, old: jnp.asarray(new, jnp.asarray(old).dtype), state, self.state)
        return dataclasses.replace(self, state=state)

    def mode(self) -> Plan:
        """The strategy's mean; where it has none, the best plan of the population or of all."""
        for name, number in (("mean", 1), ("population", 2)):
            known = getattr(self.state, name, None)
            if known is not None and known.ndim == number:
                best = known if number == 1 else known[jnp.argmin(self.state.fitness)]
                return self.std * best.reshape(self.std.shape)
        found = self.state.best_solution.reshape(-1, *self.std.shape)  # of each, where there are several populations
        best = found[jnp.argmin(self.state.best_fitness)]
        return self.std * jnp.where(jnp.isfinite(best), best, 0.0)

    def map_centers(self, function: Callable[[Float[Array, "*K H A"]], Float[Array, "*K H A"]]) -> "Strategy":
        """The same around another mean, or with another population."""
        moved = {}
        for name in ("mean", "population"):
            known = getattr(self.state, name, None)
            if known is not None:
                plans = self.std * known.reshape(*known.shape[:-1], *self.std.shape)
                moved[name] = (function(plans) / divisor(self.std)).reshape(known.shape)
        return dataclasses.replace(self, state=self.state.replace(**moved))

    def spread(self) -> Float[Array, " A"]:
        """The unit in which it searches, averaged over the steps."""
        return self.std.mean(0)

    def shift(self, initial: "Strategy", how: Shifting) -> "Strategy":
        """The mean (or the population, the best first) later in the strategy's initial state."""

        def moved(flat: Float[Array, "*K d"]) -> Float[Array, "*K d"]:
            plans = self.std * flat.reshape(*flat.shape[:-1], *self.std.shape)
            return (how.plans(plans, jnp.zeros_like(self.std)) / divisor(initial.std)).reshape(flat.shape)

        kept = {}
        if hasattr(self.state, "mean"):
            kept["mean"] = moved(self.state.mean)
        if hasattr(self.state, "population"):
            kept["population"] = moved(self.state.population[jnp.argsort(self.state.fitness)])
        return dataclasses.replace(initial, state=initial.state.replace(**kept))

    def entropy(self) -> None:
        """It has none."""
        return None

    def kl(self, other: "Strategy") -> None:
        """It has none."""
        return None


@pytree
class StrategyFamily:
    """Evolution strategies without a shape. Make one with `strategy`, whose arguments the attributes are."""

    std: Float[Array, "..."]
    params: Any
    algorithm: Any = static()
    num_samples: int = static()
    elite_fraction: float | None = static()

    def bind(self, horizon: int, space: ActionSpace) -> Strategy:
        """The belief over plans of `horizon` steps, in the strategy's initial state.

        Raises:
            ValueError: for a strategy that cannot be made of this size, or parameters that it does not have.
        """
        shape = continuous_shape("an evolution strategy", horizon, space)
        algorithm = self.algorithm
        if isinstance(algorithm, type):
            dtype = jnp.result_type(float).name
            algorithm = Sized(algorithm, self.num_samples, shape, dtype, self.elite_fraction)
        made = algorithm.made() if isinstance(algorithm, Sized) else algorithm
        own = made.default_params
        for name, value in (self.params or {}).items():
            if not hasattr(own, name):
                raise ValueError(
                    f"params of {type(made).__name__} are {', '.join(vars(own)) or 'none'}, got {name!r}"
                )
            own = own.replace(**{name: value})
        own = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), own)
        key = jax.random.key(0)
        if hasattr(made, "get_population"):  # a population to begin with, of which nothing is known yet
            population = jax.random.normal(jax.random.key(1), (self.num_samples, *shape))
            state = made.init(key, population, jnp.full(self.num_samples, 1e9), own)
        else:
            start = jnp.zeros((made.num_populations, *shape) if hasattr(made, "num_populations") else shape)
            state = made.init(key, start, own)
        # as it is after the first generation, or JAX compiles anew
        state = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.asarray(leaf).dtype), state)
        return Strategy(state, own, real("std", self.std, shape=shape), jnp.zeros((), jnp.uint32), algorithm)


def strategy(
    *,
    algorithm: Any = "CMA_ES",
    num_samples: int,
    std: Any = 0.5,
    elite_fraction: Any = None,
    params: Any = None,
) -> StrategyFamily:
    """Make a family of an evolution strategy.

    Args:
        algorithm: the name of one of `evosax.algorithms`, such a class, or an instance made for a population of
            `num_samples` solutions of shape [H, A].
        num_samples: the size K of the population.
        std: the unit in which it searches, scalar, [A] or [H, A], > 0: a strategy's own initial std of 1 is this;
            0 for some actuators locks them at 0.
        elite_fraction: of the population that is elite, in (0, 1], a number; None for the strategy's own.
        params: its hyperparameters by name, which are traced; those that are not given are its own.

    Returns:
        The family.

    Raises:
        ValueError: for a strategy that does not exist, or a parameter outside its range.
    """
    try:
        from evosax import algorithms  # a heavy import, for those who evolve
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("evolution strategies need evosax: pip install 'mirrax[evosax]'") from error

    chosen = algorithms.algorithms.get(algorithm) if isinstance(algorithm, str) else algorithm
    if not callable(getattr(chosen, "tell", None)):
        known = ", ".join(name for name, kind in sorted(algorithms.algorithms.items()) if _needs_size_alone(kind))
        raise ValueError(f"strategy must be a class or an instance of evosax, or one of {known}, got {algorithm!r}")
    fraction = None
    if params is not None and not isinstance(params, Mapping):
        raise ValueError(f"params must be a mapping of names to values, got {params!r}")
    if elite_fraction is not None:
        if not isinstance(chosen, type):
            raise ValueError(
                f"elite_fraction must be None for an instance, which has its own, got {elite_fraction!r}"
            )
        with jax.ensure_compile_time_eval():  # a number in a program that is being traced, too
            fraction = float(checked("elite_fraction", elite_fraction, required=True))
    return StrategyFamily(
        std=checked("std", std, required=True),
        params=params,
        algorithm=chosen,
        num_samples=integer("num_samples", num_samples, 2),
        elite_fraction=fraction,
    )


def _needs_size_alone(kind: Any) -> bool:
    needed = {name for name, own in inspect.signature(kind).parameters.items() if own.default is own.empty}
    return needed == {"population_size", "solution"}


@functools.cache
def _instance(chosen: Any, num_samples: int, shape: tuple[int, ...], dtype: str, elite_fraction: float | None) -> Any:
    """One object per strategy, size and precision: JAX compiles anew for another one.

    It outlives the program that is being traced where it is made, of which it must therefore hold nothing.
    """
    try:
        with jax.ensure_compile_time_eval():
            made = chosen(population_size=num_samples, solution=jnp.zeros(shape, dtype))
    except TypeError as error:
        raise ValueError(f"strategy {chosen.__name__} needs more than a size: give an instance ({error})") from error
    except AssertionError as error:
        raise ValueError(f"num_samples must suit {chosen.__name__}, got {num_samples}: {error}") from error
    if elite_fraction is not None:
        if made.elite_ratio == 1.0:
            raise ValueError(
                f"elite_fraction is of strategies with elites, got {elite_fraction:g} for {chosen.__name__}"
            )
        made.elite_ratio = elite_fraction
    return made
