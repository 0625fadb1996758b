"""A perceptron: layers of units, each of which sees the whole layer before."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .checks import integer

ACTIVATIONS = ("tanh", "swish", "relu", "elu", "gelu")


@dataclasses.dataclass(frozen=True)
class Perceptron:
    """A perceptron: a module of flax, made when it is used.

    It pickles, and is equal in every process, as modules of flax are not, which hold functions without a name.

    Attributes:
        output_size: the number of outputs.
        hidden: the sizes of the hidden layers.
        activation: of the hidden units, one of `ACTIVATIONS`.
        zero_last: whether the weights of the last layer begin at 0, so that all outputs do.
    """

    output_size: int
    hidden: tuple[int, ...]
    activation: str = "tanh"
    zero_last: bool = False

    def init(self, key: PRNGKeyArray, inputs: Float[Array, " n"]) -> Any:
        """Its first parameters."""
        return self._module().init(key, inputs)

    def apply(self, params: Any, inputs: Float[Array, " n"]) -> Float[Array, " outputs"]:
        """Its outputs."""
        return self._module().apply(params, inputs)

    def input_size(self, params: Any) -> int:
        """The number n of inputs that parameters are for."""
        return int(params["params"]["layers_0"]["kernel"].shape[0])

    def _module(self) -> Any:
        import flax.linen as nn  # for those who use it

        # as all other numbers: flax itself stays with float32, and updates would change the types of parameters
        layers, dtype = [], jnp.result_type(float)
        for size in self.hidden:
            layers += [nn.Dense(size, param_dtype=dtype), getattr(nn, self.activation)]
        first = nn.initializers.zeros if self.zero_last else nn.initializers.lecun_normal()
        return nn.Sequential((*layers, nn.Dense(self.output_size, kernel_init=first, param_dtype=dtype)))


def layer_sizes(hidden: Any) -> tuple[int, ...]:
    """Return the sizes of hidden layers as a tuple, or raise a `ValueError` unless they are some; () is a linear map.

    Args:
        hidden: as a user gives them.
    """
    if isinstance(hidden, str | bytes) or not isinstance(hidden, Sequence):
        raise ValueError(f"hidden must be a tuple of sizes, got {hidden!r}")
    return tuple(integer("hidden", size) for size in hidden)
