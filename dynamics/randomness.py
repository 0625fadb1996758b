"""Keys in states: future noise, which a planner must not know."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core
from jaxtyping import PRNGKeyArray

from .base import HasNoise, Model, State
from .spaces import action_space

# Primitives that move numbers without changing them: a key that goes through one is the same key.
_MOVES = {
    "broadcast_in_dim",
    "concatenate",
    "copy",
    "copy_p",
    "dynamic_slice",
    "dynamic_update_slice",
    "gather",
    "optimization_barrier",
    "reshape",
    "select_n",
    "slice",
    "split",
    "squeeze",
    "transpose",
}


def redraw(model: Any, key: PRNGKeyArray, state: State) -> State:
    """The state with its future noise drawn anew: imagined rollouts must not know what will happen.

    That noise is every key of `jax.random.key`, of any shape, and every array of numbers that a step uses as a key
    (those of `jax.random.PRNGKey`); unless the model has a `redraw(key, state)` of its own. Counters
    and integers of which a step makes keys are not found: noise that depends on them is known beforehand.

    Args:
        model: whose state it is.
        key: of the new noise; the same key gives the same noise.
        state: a state of `model`.

    Returns:
        A state of the same structure, which differs in nothing else.
    """
    return model.redraw(key, state) if isinstance(model, HasNoise) else redrawn(key, state, raw_keys(model, state))


def redrawn(key: PRNGKeyArray, state: State, raw: Iterable[Any] = (), *, typed: bool = True) -> State:
    """The state with other keys.

    Args:
        key: of what they will be.
        state: any pytree.
        raw: whether each leaf, in order, is a raw key, which its dtype does not show; empty for none.
        typed: whether every key of `jax.random.key` is drawn anew too.

    Returns:
        The state with these drawn anew.
    """
    leaves, structure = jax.tree.flatten(state)
    marked = list(raw) or [False] * len(leaves)

    def anew(number: int, leaf: Any) -> Any:
        own = jax.random.fold_in(key, number)
        if is_key(leaf):
            data = jax.random.key_data(leaf)
            return jax.random.wrap_key_data(
                jax.random.bits(own, data.shape, data.dtype), impl=jax.random.key_impl(leaf)
            )
        return jax.random.bits(own, jnp.shape(leaf), leaf.dtype)

    chosen = [raw or (typed and is_key(leaf)) for leaf, raw in zip(leaves, marked, strict=True)]
    return jax.tree.unflatten(
        structure, [anew(n, leaf) if new else leaf for n, (leaf, new) in enumerate(zip(leaves, chosen, strict=True))]
    )


def is_key(leaf: Any) -> bool:
    """Whether an array is one of keys, as `jax.random.key` makes them."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def raw_keys(model: Model, state: State) -> list[bool]:
    """Which leaves of a state, in order, a step of the model uses as raw keys.

    Args:
        model: whose step is traced, once, if the state has arrays that may be keys (unsigned numbers).
        state: a state of `model`.
    """

    def step(state: State, model: Any) -> Any:
        return model.step(jax.random.key(0), state, action_space(model).zeros())

    return used_as_keys(step, state, model)


def used_as_keys(function: Callable[..., Any], state: State, *parts: Any) -> list[bool]:
    """Which leaves of a state, in order, a function uses as raw keys.

    Args:
        function: (state, *parts) -> a pytree; traced, once, if the state has arrays that may be keys.
        state: any pytree.
        *parts: pytrees.
    """
    leaves, structure = jax.tree.flatten(state)
    if not any(getattr(leaf, "dtype", None) == jnp.uint32 and jnp.ndim(leaf) for leaf in leaves):
        return [False] * len(leaves)

    def of_leaves(leaves: Any, *parts: Any) -> Any:
        return function(jax.tree.unflatten(structure, leaves), *parts)

    forms = jax.eval_shape(lambda *parts: parts, leaves, *parts)
    traced = jax.make_jaxpr(of_leaves)(*forms).jaxpr
    sources: dict[Any, set[int]] = {var: {number} for number, var in enumerate(traced.invars[: len(leaves)])}
    used = _used_as_keys(traced, sources)
    return [number in used for number in range(len(leaves))]


def _used_as_keys(traced: Any, sources: dict[Any, set[int]]) -> set[int]:
    """Which of the numbered inputs become keys in a program; `sources` maps variables to inputs, and is filled."""
    used: set[int] = set()

    def of(var: Any) -> set[int]:
        return set() if isinstance(var, core.Literal) else sources.get(var, set())

    for equation in traced.eqns:
        held = [of(var) for var in equation.invars]
        if not any(held):
            continue
        if equation.primitive.name == "random_wrap":
            used |= held[0]
        elif equation.primitive.name in _MOVES:
            sources |= dict.fromkeys(equation.outvars, set().union(*held))
        for inner, start, returns in _programs(equation):
            given = dict(zip(inner.invars, held[start : start + len(inner.invars)], strict=True))
            used |= _used_as_keys(inner, given)
            if returns:
                for outer, own in zip(equation.outvars, inner.outvars, strict=True):
                    found = set() if isinstance(own, core.Literal) else given.get(own, set())
                    sources[outer] = sources.get(outer, set()) | found
    return used


def _programs(equation: Any) -> list[tuple[Any, int, bool]]:
    """The programs within an equation, which of its inputs is their first, and whether they return its outputs."""
    parameters = equation.params
    if equation.primitive.name == "while":
        first = parameters["cond_nconsts"]
        # the condition takes its own constants and the carry; it has seen no key that the body does not see
        return [(parameters["body_jaxpr"].jaxpr, first, True)]
    if equation.primitive.name == "cond":
        return [(branch.jaxpr, 1, True) for branch in parameters["branches"]]
    inner = parameters.get("jaxpr", parameters.get("call_jaxpr"))
    if inner is None:
        return []
    inner = getattr(inner, "jaxpr", inner)
    whole = len(inner.invars) == len(equation.invars)  # else a kernel, or something else that no key goes through
    return [(inner, 0, len(inner.outvars) == len(equation.outvars))] if whole else []
