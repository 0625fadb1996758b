"""Programs compiled ahead of time, for a person who waits for them."""

import os
from collections.abc import Callable
from typing import Any

import jax

# Of the CPU's code generators in jaxlib 0.10 the newer one takes up to twice as long to compile physics, which then
# runs slower: `python -m mirrax.benchmarks.speed`, with XLA_FLAGS=--xla_cpu_use_fusion_emitters=false and without.
CPU_OPTIONS = {"xla_cpu_use_fusion_emitters": False}


def compiled(function: Callable[..., Any], *arguments: Any, **jit_options: Any) -> Any:
    """Compile a function for arguments like these.

    Args:
        function: what to compile.
        *arguments: pytrees like those that it will be given.
        **jit_options: of `jax.jit`.

    Returns:
        The program, to be called with such arguments. On a CPU it is made with `CPU_OPTIONS`, but for those that
        `XLA_FLAGS` decides, and without any where jaxlib does not know them.
    """
    lowered = jax.jit(function, **jit_options).lower(*arguments)
    flags = os.environ.get("XLA_FLAGS", "")
    options: dict[str, str | bool] = {name: value for name, value in CPU_OPTIONS.items() if name not in flags}
    if jax.default_backend() != "cpu" or not options:
        return lowered.compile()
    try:
        return lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError:  # another jaxlib may not know an option; what else is wrong comes again
        return lowered.compile()
