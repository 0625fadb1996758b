"""Derivatives: of solutions by the implicit function theorem, and errors where there are none."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jaxtyping import Array, Float

_AT_ONCE = 64  # columns of a Jacobian


class Equations(NamedTuple):
    """Equations that hold at a solution.

    Attributes:
        residuals: of K independent systems, [K, ...], like the unknowns; 0 at a solution.
        outputs: whatever else follows from the solution, a pytree of arrays.
    """

    residuals: Float[Array, "K ..."]
    outputs: Any


def constant(tree: Any) -> Any:
    """The same numbers, through which no derivative goes; what is no number stays as it is."""

    def held(leaf: Any) -> Any:
        return jax.lax.stop_gradient(leaf) if hasattr(leaf, "dtype") else leaf

    return jax.tree.map(held, tree)


def implicit(solution: Float[Array, "K ..."], found: Any, equations: Callable[[Array], Equations]) -> Any:
    """A solution of equations with its derivatives, by the implicit function theorem.

    With residuals g(x, w) = 0 these are dx/dw = −(∂g/∂x)⁻¹ ∂g/∂w, in forward and in reverse mode, with respect to
    all that the equations depend on. Unless derivatives are taken, the only cost is tracing the equations.

    Args:
        solution: x, of K independent systems, [K, ...], however it was found.
        found: what follows from the solution, like the `outputs` of the equations there.
        equations: x -> what holds. Unknowns that no equation depends on have no derivative, 0.

    Returns:
        `found`.
    """
    solution, found = constant((solution, found))
    closed, depends = _closed(equations, solution)

    @jax.custom_jvp
    def solved(solution: Array, depends: Any) -> Array:
        return solution

    @solved.defjvp
    def _(primals: Any, tangents: Any) -> tuple[Array, Array]:
        x, depends = solved(*primals), primals[1]
        _, residuals = jax.jvp(lambda depends: closed(x, *depends).residuals, (depends,), (tangents[1],))
        return x, -_solve(lambda x: closed(x, *depends).residuals, x, residuals)

    @jax.custom_jvp
    def follows(found: Any, x: Array, depends: Any) -> Any:
        return found

    @follows.defjvp
    def _(primals: Any, tangents: Any) -> tuple[Any, Any]:
        _, outputs = jax.jvp(lambda x, depends: closed(x, *depends).outputs, primals[1:], tangents[1:])
        return follows(*primals), outputs

    return follows(found, solved(solution, _again(depends)), _again(depends))


def _closed(equations: Callable[[Array], Equations], x: Array) -> tuple[Callable[..., Equations], list[Any]]:
    """The equations as a function of all that they depend on, which they close over: rules of derivatives must know.

    (`jax.closure_convert` leaves keys and integers where they are, which outlives the program that is being traced.)
    """
    traced, shape = jax.make_jaxpr(equations, return_shape=True)(x)
    structure = jax.tree.structure(shape)

    def closed(x: Array, *depends: Any) -> Equations:
        leaves = jaxpr_as_fun(ClosedJaxpr(traced.jaxpr, depends))(x)
        return jax.tree.unflatten(structure, leaves)

    return closed, traced.consts


def _again(tree: Any) -> Any:
    """The same, whose keys make the same noise once more on purpose."""

    def again(leaf: Any) -> Any:
        return jax.random.clone(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf

    return jax.tree.map(again, tree)


def _solve(residuals: Callable[[Array], Array], x: Float[Array, "K ..."], right: Array) -> Array:
    """(∂g/∂x)⁻¹ b of each of K systems, 0 for unknowns that nothing depends on."""
    number, size = len(x), x[0].size

    def column(unit: Array) -> Array:
        direction = jnp.broadcast_to(unit.reshape(1, *x.shape[1:]), x.shape)  # systems do not meet
        return jax.jvp(residuals, (x,), (direction,))[1].reshape(number, size)

    columns = jax.lax.map(column, jnp.eye(size, dtype=x.dtype), batch_size=min(size, _AT_ONCE))
    jacobian = jnp.moveaxis(columns, 0, -1)  # [K, equation, unknown]
    idle = ~(jacobian != 0.0).any(-2) & ~(jacobian != 0.0).any(-1)
    jacobian += jnp.where(idle[..., None], jnp.eye(size, dtype=x.dtype), 0.0)
    flat = jnp.where(idle, 0.0, right.reshape(number, size))
    return jnp.linalg.solve(jacobian, flat[..., None])[..., 0].reshape(x.shape)


def undifferentiable(tree: Any, reason: str) -> Any:
    """The same numbers, whose derivatives are an error rather than a silent zero.

    Args:
        tree: any pytree.
        reason: who has no derivative, and why.

    Returns:
        `tree`.

    Raises:
        ValueError: where it is differentiated.
    """
    leaves, structure = jax.tree.flatten(tree)
    moving = [hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]
    held = [_refuse(leaf, reason) if moves else leaf for leaf, moves in zip(leaves, moving, strict=True)]
    return jax.tree.unflatten(structure, held)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _refuse(leaf: Array, reason: str) -> Array:
    return leaf


@_refuse.defjvp
def _(reason: str, primals: Any, tangents: Any) -> Any:
    raise ValueError(
        f"{reason}; to take what is planned for a constant, pass jax.lax.stop_gradient of what it depends on"
    )
