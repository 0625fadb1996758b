"""How the command line compiles: what it knows of XLA helps where it is known, and harms nowhere else."""

import jax
import jax.numpy as jnp
import pytest

from mirrax.cli import ahead_of_time

OWN = ahead_of_time.CPU_OPTIONS


UNKNOWN = {"xla_of_another_version": False}


@pytest.mark.parametrize(
    ("options", "flags", "tried"),
    [
        pytest.param(OWN, "", [OWN], id="its own"),
        pytest.param(OWN, f"--{next(iter(OWN))}=true", [None], id="as the user wants"),
        pytest.param(UNKNOWN, "", [UNKNOWN, None], id="unknown"),
    ],
)
def test_options_where_they_help_and_nowhere_else(options, flags, tried, monkeypatch):
    seen, own = [], jax.stages.Lowered.compile

    def compile_(lowered, compiler_options=None):
        seen.append(compiler_options)
        return own(lowered, compiler_options)

    monkeypatch.setattr(jax.stages.Lowered, "compile", compile_)
    monkeypatch.setattr(ahead_of_time, "CPU_OPTIONS", options)
    monkeypatch.setenv("XLA_FLAGS", flags)
    numbers = jnp.arange(8.0)
    program = ahead_of_time.compiled(lambda x: jnp.sin(x).sum(), numbers)
    assert program(numbers) == pytest.approx(jnp.sin(numbers).sum())
    assert seen == tried
