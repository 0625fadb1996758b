"""Integration of ordinary differential equations over one control interval."""

from collections.abc import Callable

from jaxtyping import Array, Float


def rk4(
    derivative: Callable[[Float[Array, " n"]], Float[Array, " n"]],
    state: Float[Array, " n"],
    dt: Float[Array, ""],
) -> Float[Array, " n"]:
    """One step of the classical Runge-Kutta method for ẋ = f(x), the action held constant (Kutta, 1901)."""
    k1 = derivative(state)
    k2 = derivative(state + 0.5 * dt * k1)
    k3 = derivative(state + 0.5 * dt * k2)
    k4 = derivative(state + dt * k3)
    return state + dt / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
