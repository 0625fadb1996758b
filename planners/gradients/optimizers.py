"""Any optimiser of optax as a pytree, whose learning rate is traced."""

from collections.abc import Callable
from typing import Any

from jaxtyping import Array, Float

from ...dynamics.pytrees import pytree, traceable
from ..options import checked


@pytree
class Optimizer:
    """How gradients become steps. Make one with `optimizer`.

    Attributes:
        make: learning rate -> `optax.GradientTransformation`.
        learning_rate: a scalar.
        max_norm: to which longer gradients are shortened; None for no limit.
    """

    make: Callable[..., Any]
    learning_rate: Float[Array, ""]
    max_norm: Float[Array, ""] | None

    def transformation(self) -> Any:
        """The optimiser, an `optax.GradientTransformationExtraArgs`, which minimises."""
        import optax

        made = self.make(self.learning_rate)
        if self.max_norm is not None:
            made = optax.chain(optax.clip_by_global_norm(self.max_norm), made)
        return optax.with_extra_args_support(made)


def _adam(learning_rate: Any) -> Any:
    """Adam for gradients in any unit: the usual ε = 10⁻⁸ would decide where rewards are as small as that."""
    import optax

    return optax.adam(learning_rate, eps=1e-16)


def optimizer(kind: Any = "adam", *, learning_rate: Any = 0.1, max_norm: Any = None) -> Optimizer:
    """Make an optimiser.

    Args:
        kind: what makes an optax optimiser of a learning rate: the name of one in optax ("sgd", "lbfgs", or "adam",
            whose ε is small enough here for rewards in any unit), or a function, such as
            `lambda rate: optax.chain(optax.scale_by_adam(), optax.scale(-rate))`. Pass a function of a module's, or a
            `jax.tree_util.Partial`: a lambda made anew compiles anew.
        learning_rate: > 0.
        max_norm: the norm to which the gradient of each plan is shortened if it is longer, > 0; None for no limit.

    Returns:
        The optimiser.

    Raises:
        ValueError: for a parameter outside its range, or an optimiser that does not exist.
    """
    import optax  # half a second, for those who use it

    make = getattr(optax, kind, None) if isinstance(kind, str) else kind
    make = _adam if kind == "adam" else make
    if isinstance(make, optax.GradientTransformation):
        raise ValueError(
            "optimizer must be what makes an optimiser of a learning rate, such as optax.adam, got one that is made"
        )
    if not callable(make) or isinstance(make, type):
        raise ValueError(f"optimizer must be one in optax by name, or a function of a learning rate, got {kind!r}")
    rate = checked("learning_rate", learning_rate)
    norm = checked("max_norm", max_norm)
    made = Optimizer(traceable(make), rate, norm)
    try:
        sample = make(rate)
    except Exception as error:
        raise ValueError(f"optimizer must be made of a learning rate alone, got {kind!r}: {error}") from error
    if not isinstance(sample, optax.GradientTransformation):
        raise ValueError(f"optimizer must make an optax.GradientTransformation, got {type(sample).__name__}")
    return made
