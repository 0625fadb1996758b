"""Robots of Gymnasium, which this project did not write."""

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mirrax import dynamics, planners

pytest.importorskip("gymnasium")
SCRIPT = pathlib.Path(__file__).parent.parent / "examples" / "gymnasium_robots.py"
_spec = importlib.util.spec_from_file_location("gymnasium_robots", SCRIPT)
robots = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(robots)
KEY = jax.random.key(0)


@pytest.mark.parametrize("name", robots.ROBOTS)
def test_files_of_gymnasium_are_planned_for_as_they_are(name, capsys):
    model = robots.ROBOTS[name]()
    state = jax.jit(model.init)(KEY)
    still = jnp.zeros(model.action_size)
    step = jax.jit(model.step)(KEY, state, still)
    terms = dynamics.reward_terms(model, state, still, step.state)
    np.testing.assert_allclose(sum(terms.values()), step.reward, rtol=1e-5)
    assert step.discount == 1
    assert dynamics.end_reasons(model, state, still, step.state) == {"it fell": False}
    down = state.replace(qpos=state.qpos.at[2].set(0.1))
    assert dynamics.end_reasons(model, state, still, down) == {"it fell": True}
    report = robots.drive(model, planners.cem(horizon=2, num_samples=4, num_iterations=1), 0, 3 * model.dt)
    assert report.seconds == pytest.approx(3 * model.dt)
    assert np.isfinite([report.distance, report.ms]).all()
    assert not report.fell
