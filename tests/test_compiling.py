"""How the command line compiles: what it knows of XLA helps where it is known, and harms nowhere else."""

import jax
import jax.numpy as jnp
import pytest

from mirrax import compiling

OWN = compiling.CPU_OPTIONS


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        pytest.param(OWN, "", id="its own"),
        pytest.param(OWN, f"--{next(iter(OWN))}=true", id="as the user wants"),
        pytest.param({"xla_of_another_version": False}, "", id="unknown"),
    ],
)
def test_the_program_is_the_same_whatever_the_options(options, flags, monkeypatch):
    monkeypatch.setattr(compiling, "CPU_OPTIONS", options)
    monkeypatch.setenv("XLA_FLAGS", flags)
    numbers = jnp.arange(8.0)
    assert compiling.compiled(lambda x: jnp.sin(x).sum(), numbers)(numbers) == pytest.approx(jnp.sin(numbers).sum())


def test_jaxlib_knows_its_options():
    """Else they would gain nothing, and nobody would notice."""
    jax.jit(jnp.sin).lower(1.0).compile(compiler_options=OWN)
