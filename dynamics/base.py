"""What a model is, and what every file stands on: pytree dataclasses and checks that name the parameter."""

import dataclasses
import inspect
import operator
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol, TypeVar, dataclass_transform, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

State = Any  # an opaque pytree; only the model looks inside

C = TypeVar("C")


def static(**kwargs: Any) -> Any:
    """A dataclass field that is part of the compiled program: a size, a flag, a function. Changing it retraces."""
    return dataclasses.field(metadata={"static": True}, **kwargs)


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, static))
def pytree(cls: type[C]) -> type[C]:
    """Make `cls` a frozen dataclass and a pytree: its fields are traced, except those declared with `static()`.

    A decorator of classes with annotated fields, such as models: `@dynamics.pytree`.
    """
    made: Any = dataclasses.dataclass(frozen=True, eq=False)(cls)
    fields = dataclasses.fields(made)
    traced = tuple(field.name for field in fields if not field.metadata.get("static"))
    fixed = tuple(field.name for field in fields if field.metadata.get("static"))
    children_of, aux_of = _getter(traced), _getter(fixed)

    def flatten(node: C) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return children_of(node), aux_of(node)  # part of every call of a compiled function: let it be quick

    def flatten_with_keys(node: C) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return tuple(zip(map(jax.tree_util.GetAttrKey, traced), children_of(node), strict=True)), aux_of(node)

    def unflatten(aux: tuple[Any, ...], children: Iterable[Any]) -> C:
        # Past __init__: JAX unflattens with placeholders and batched leaves, which no check may see.
        node = object.__new__(cls)
        node.__dict__.update(zip(traced, children, strict=True))
        node.__dict__.update(zip(fixed, aux, strict=True))
        return node

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


def _getter(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """What takes the tuple of these attributes."""
    if len(names) > 1:
        return operator.attrgetter(*names)
    return lambda node: tuple(getattr(node, name) for name in names)


class Step(NamedTuple):
    """What one step of a model gives.

    Attributes:
        state: the next state, a pytree of the same structure as the one before.
        reward: the reward of this step, a scalar.
        discount: the weight of all that follows: 0 where the episode ends here, 1 (or γ) elsewhere; a scalar.
    """

    state: State
    reward: Float[Array, ""]
    discount: Float[Array, ""]


@runtime_checkable
class Model(Protocol):
    """What a planner imagines with. An environment is a model too.

    A model is a pytree: its parameters are traced, so that sweeping or batching them never recompiles. A model
    whose actuators have a range maps [-1, 1] to it and clips what lies beyond; one whose actions have none says so by
    `bounded` (see `HasBounds`, and the protocols beside it for what else a model may tell).
    """

    @property
    def action_size(self) -> int:
        """The number A of actuators."""
        ...

    def init(self, key: PRNGKeyArray) -> State:
        """Draw a first state."""
        ...

    def step(self, key: PRNGKeyArray, state: State, action: Float[Array, " A"]) -> Step:
        """Apply `action` for one time step; `key` drives the noise of a stochastic model."""
        ...

    def value(self, state: State) -> Float[Array, ""]:
        """The return expected beyond the horizon from `state`: 0 where nothing is known of it."""
        ...


# What a model may tell besides. Ask by the functions below, which know what holds where it does not tell, and not by
# names of attributes: wrappers (`dynamics.Wrapper`) answer for the model that they wrap.


@runtime_checkable
class HasScenarios(Protocol):
    """A model that is not the same in all scenarios. Ask by `scenario_count` and `scenarios`."""

    @property
    def num_scenarios(self) -> int | None:
        """In how many scenarios planners try a plan, unless they are told otherwise; None: it is the same in all."""
        ...

    def scenarios(self, key: PRNGKeyArray, num: int) -> Any:
        """The models that hold in `num` scenarios, as one model whose leaves have a leading axis."""
        ...


@runtime_checkable
class HasCoordinates(Protocol):
    """A model that knows its physical coordinates. Ask by `dynamics.coordinates` and `dynamics.with_coordinates`."""

    def coordinates(self, state: State) -> Float[Array, " n"]:
        """The physical state as a vector."""
        ...

    def with_coordinates(self, state: State, x: Float[Array, " n"]) -> State:
        """The state with these coordinates."""
        ...


@runtime_checkable
class HasDuration(Protocol):
    """A model that may know how long its steps last. Ask by `duration`."""

    @property
    def dt(self) -> Any:
        """The duration of one step, s; None: not known."""
        ...


@runtime_checkable
class HasBounds(Protocol):
    """A model that tells whether its actuators have a range. Ask by `bounded`."""

    @property
    def bounded(self) -> bool | None:
        """Whether actions beyond [-1, 1] do what those at its ends do; None where the model does not know."""
        ...


@runtime_checkable
class HasNoise(Protocol):
    """A model that knows where its states hold noise that is yet to come. Ask by `dynamics.redraw`."""

    def redraw(self, key: PRNGKeyArray, state: State) -> State:
        """The state, with that noise drawn anew."""
        ...


def duration(model: Any) -> Any:
    """The duration of one step of a model, s.

    Args:
        model: one that has `dt`, or wraps one.

    Raises:
        ValueError: if it has none.
    """
    dt = model.dt if isinstance(model, HasDuration) else None
    if dt is None:
        raise ValueError(f"model must have dt, the duration of a step in seconds, got {type(model).__name__} without")
    return dt


def bounded(model: Any) -> bool | None:
    """Whether the actuators of a model have a range: actions beyond [-1, 1] then do what those at its ends do.

    Args:
        model: any model.

    Returns:
        Whether they have; None where the model does not tell (see `HasBounds`): `saturates` tries.
    """
    return model.bounded if isinstance(model, HasBounds) else None


def saturates(model: Model, state: State, otherwise: Any = False) -> Bool[Array, ""]:
    """Whether actions beyond [-1, 1] do in this state what those at its ends do: by trying some.

    Args:
        model: any model.
        state: one of its states.
        otherwise: what to say where actions have no effect at all in this state, a scalar.

    Returns:
        A scalar.
    """
    size = model.action_size
    # not the same for all actuators, whose differences might cancel
    beyond = 1.0 + 0.25 * (1.0 + jnp.modf(0.618 * jnp.arange(1, size + 1))[0])
    tried = jnp.stack([jnp.ones(size), beyond, -jnp.ones(size), -beyond, jnp.zeros(size)])
    after = jax.vmap(lambda action: checked_step(model.step(jax.random.key(0), state, action)))(tried)

    def same(leaf: Any, left: Any, right: Any) -> Bool[Array, ""]:
        values = jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else jnp.asarray(leaf)
        one, other = values[left], values[right]
        return ((one == other) | ((one != one) & (other != other))).all()  # NaN is as good as NaN

    def all_same(left: list[int], right: list[int]) -> Bool[Array, ""]:
        places = jnp.asarray(left), jnp.asarray(right)
        return jnp.stack([same(leaf, *places) for leaf in jax.tree.leaves(after)]).all()

    return jnp.where(all_same([0, 2], [4, 4]), otherwise, all_same([0, 2], [1, 3]))


def action_limit(model: Model, state: State, otherwise: Any = True) -> Float[Array, ""] | None:
    """How far actions have an effect in either direction: 1; None where they have no end.

    Where the model does not tell, it is tried out (see `saturates`), and no end is an infinite one.

    Args:
        model: any model.
        state: one of its states.
        otherwise: whether there is an end where that cannot be tried out, see `saturates`.

    Returns:
        A scalar, or None.
    """
    known = bounded(model)
    if known is None:
        return jnp.where(saturates(model, state, otherwise), 1.0, jnp.inf)
    return jnp.ones(()) if known else None


def steps(model: Any, seconds: float) -> int:
    """How many steps of a model last so many seconds, rounded, and one at least: a horizon, say.

    Args:
        model: one that has `dt`, the duration of a step in seconds.
        seconds: > 0.

    Returns:
        The number of steps.

    Raises:
        ValueError: if the model does not tell its `dt`, or a number is not positive.
    """
    dt = float(real("dt of the model", duration(model), above=0.0))
    return max(1, round(float(real("seconds", seconds, above=0.0)) / dt))


def scenario_count(model: Any) -> int | None:
    """In how many scenarios a model wants a plan to be tried: None for a model that is the same in all.

    Args:
        model: any model.
    """
    return model.num_scenarios if isinstance(model, HasScenarios) else None


def scenarios(model: Any, key: PRNGKeyArray, num: int) -> Any:
    """The models that hold in `num` scenarios, as one model whose leaves have a leading axis.

    Args:
        model: one whose `scenario_count` is not None.
        key: of what is random about them.
        num: how many.
    """
    return model.scenarios(key, num)


def check_action(action: Any, action_size: int) -> Float[Array, " A"]:
    """Return `action` as a float array, or raise a `ValueError` that says which shape the model wants."""
    action = jnp.asarray(action, float)
    if action.shape != (action_size,):
        raise ValueError(f"action must have shape ({action_size},), got {action.shape}")
    return action


def to_range(action: Float[Array, " A"], low: Any, high: Any) -> Float[Array, " A"]:
    """Clip `action` to [-1, 1] and map that affinely onto [`low`, `high`]."""
    return low + (jnp.clip(action, -1.0, 1.0) + 1.0) * 0.5 * (high - low)


def check_model(name: str, model: Any) -> Any:
    """Return `model`, or raise a `ValueError` unless it has what a `Model` has and is a pytree."""
    kind = type(model).__name__
    if isinstance(model, type):
        raise ValueError(f"{name} must be an instance, got the class {model.__name__}")
    missing = [part for part in ("init", "step", "value") if not callable(getattr(model, part, None))]
    missing += [] if hasattr(model, "action_size") else ["action_size"]
    if len(missing) == 4:
        raise ValueError(f"{name} must be a model, got {kind}")
    if missing:
        raise ValueError(f"{name} must have {', '.join(missing)} (see dynamics.Model), got {kind} without")
    integer(f"action_size of the {name}", model.action_size)
    if jax.tree_util.all_leaves([model]):
        raise ValueError(f"{name} must be a pytree: decorate {kind} with @dynamics.pytree, or register it with JAX")
    return model


def checked_step(result: Any, before: State = None) -> Step:
    """What a step of a model gave as a `Step`; costs nothing once it is compiled.

    Args:
        result: a `Step`, or any (state, reward, discount).
        before: the state before it; None where there is nothing to compare.

    Raises:
        ValueError: if it is no such triple, reward and discount are no scalar numbers, or the state has not kept its
            structure, shapes and dtypes.
    """
    if not isinstance(result, tuple) or len(result) != 3:
        raise ValueError(f"step must return (state, reward, discount), got {type(result).__name__}: {result!r}")
    state, reward, discount = result
    if jnp.asarray(discount).dtype == bool:
        raise ValueError("discount of a step must be a number, 0 where the episode ends, got a boolean (Gym's done?)")
    if before is not None:
        _check_state(*jax.eval_shape(lambda *states: states, before, state))
    return Step(state, scalar("reward of a step", reward), scalar("discount of a step", discount))


def _check_state(before: Any, after: Any) -> None:
    old_tree: Any = jax.tree.structure(before)
    new_tree: Any = jax.tree.structure(after)
    if old_tree != new_tree:
        raise ValueError(f"the state must keep its structure in a step, got {new_tree} after {old_tree}")
    for (path, old), new in zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True):
        # a number of Python becomes whatever it is added to
        if old.shape != new.shape or (old.dtype != new.dtype and not old.weak_type):
            raise ValueError(
                f"state{jax.tree_util.keystr(path)} must keep its shape and dtype in a step, "
                f"got {new.dtype}{list(new.shape)} after {old.dtype}{list(old.shape)}"
            )


def scalar(name: str, value: Any) -> Float[Array, ""]:
    """Return what a user's function gave as a float scalar, or raise a `ValueError` that names it."""
    array = jnp.asarray(value)
    if array.shape != () or array.dtype == bool:
        raise ValueError(f"{name} must be a scalar number, got {array.dtype} of shape {array.shape}")
    return array.astype(float)


def integer(name: str, value: Any, minimum: int = 1) -> int:
    """Return `value` as an int, or raise a `ValueError` if it is none or lies below `minimum`."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < minimum:
        raise ValueError(f"{name} must be an integer of at least {minimum}, got {value!r}")
    return number


def boolean(name: str, value: Any) -> bool:
    """Return `value` as a bool, or raise a `ValueError` if it is none: the word "no" would count as true."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def fraction(name: str, value: Any) -> float:
    """Return `value`, which decides a size, as a float, or raise a `ValueError` unless it lies in [0, 1]."""
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a number that is not traced (it decides a size), got {value!r}") from error
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{name} must lie in [0, 1], got {value!r}")
    return number


def real(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    below: float | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    shape: tuple[int, ...] | None = (),
) -> Float[Array, "..."]:
    """Return `value` as a float array, so that every way of writing a number is the same trace.

    Args:
        name: the parameter, for the error message.
        value: a number or array; the bounds of a traced one are not checked, its shape is.
        above: a bound that every entry must exceed.
        below: a bound that every entry must stay below.
        minimum: the least allowed entry.
        maximum: the greatest allowed entry.
        shape: what `value` must broadcast to; None leaves its shape as it is.

    Raises:
        ValueError: naming the parameter, the constraint and the value.
    """
    bounds = [
        (">", above, operator.gt),
        (">=", minimum, operator.ge),
        ("<", below, operator.lt),
        ("<=", maximum, operator.le),
    ]
    limits = [(sign, bound, holds) for sign, bound, holds in bounds if bound is not None]
    rule = " and ".join(["finite", *(f"{sign} {bound:g}" for sign, bound, _ in limits)])
    try:
        array = jnp.asarray(value, float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a number ({rule}), got {value!r}") from error
    if shape is not None:
        try:
            array = jnp.broadcast_to(array, shape)
        except ValueError as error:
            or_less = ", or broadcast to it" if shape else ""
            raise ValueError(f"{name} must have shape {shape}{or_less}, got {array.shape}") from error
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value)):
        return array
    with np.errstate(over="ignore"):
        known = np.asarray(value, array.dtype)  # not `array`: within jit, JAX may have traced its conversion
    if not (np.isfinite(known).all() and all(holds(known, bound).all() for _, bound, holds in limits)):
        raise ValueError(f"{name} must be {rule}, got {value!r}")
    return array


def distributions(name: str, value: Any) -> Float[Array, "..."]:
    """Return `value` as an array whose rows are distributions, or raise a `ValueError`; traced values pass."""
    rows = real(name, value, minimum=0.0, shape=None)
    if not isinstance(rows, jax.core.Tracer):
        totals = np.asarray(rows).sum(-1).ravel()  # in NumPy: within jit, JAX would trace this
        if (off := np.abs(totals - 1.0)).max(initial=0.0) > 1e-5:
            raise ValueError(f"{name} must have rows that sum to 1, got one of sum {totals[off.argmax()]:g}")
    return rows


def interval(name: str, value: Any, size: int) -> tuple[Float[Array, " A"], Float[Array, " A"]]:
    """Return the pair `value` = (low, high) of numbers or [A] as two arrays [A], or raise a `ValueError`."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ValueError(f"{name} must be a pair (low, high), got {value!r}")
    low, high = (real(f"{name} ({end})", x, shape=(size,)) for end, x in zip(("low", "high"), value, strict=True))
    if not any(isinstance(end, jax.core.Tracer) for end in (low, high)) and not (np.asarray(low) < high).all():
        raise ValueError(f"{name} must have low < high, got {value!r}")
    return low, high


def traceable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function a pytree, so that it can be a traced field.

    A callable that is a pytree already (`jax.tree_util.Partial`, a module with weights) keeps its leaves traced, as
    does a method of a pytree; a plain function becomes part of the compiled program.
    """
    owner = getattr(function, "__self__", None)
    if inspect.ismethod(function) and not isinstance(owner, type) and not jax.tree_util.all_leaves([owner]):
        return jax.tree_util.Partial(function.__func__, owner)
    return jax.tree_util.Partial(function) if jax.tree_util.all_leaves([function]) else function
