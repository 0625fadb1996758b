"""The benchmark of learning curves: what it prints, and what it says of mistakes."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mirrax import dynamics
from mirrax.benchmarks import learning
from mirrax.benchmarks.known import fast_twin, known_of

SMALL = ("--models", "cartpole", "--planners", "cem", "--budget", "16", "--seeds", "1", "--episodes", "2")
SIZES = ("--steps", "12", "--hidden", "8", "--members", "2", "--known")


def test_a_curve_is_measured_once(capsys, tmp_path):
    given = [*SMALL, *SIZES, "--out", str(tmp_path)]
    learning.main(given)
    said = capsys.readouterr().out
    assert "cartpole, cem, seed 0, episode 1" in said
    assert "| cartpole" in said
    (record,) = [json.loads(line) for line in (tmp_path / "cartpole.jsonl").read_text().splitlines()]
    assert len(record["returns"]) == 2
    assert record["known"]
    assert {path.name for path in tmp_path.iterdir()} == {"cartpole.jsonl", "learning.svg", "learning.html"}
    learning.main([*given, "--draw-only"])
    learning.main(given)
    assert "episode 1:" not in capsys.readouterr().out  # it was there


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--episodes", "1"), "episodes must be more than the 1 by chance, got 1"),
        (
            ("--models", "ant", "--known"),
            "models must be of pendulum, cartpole, double_cartpole, acrobot, halfcheetah beside known",
        ),
        (("--models", "nosuch"), "unknown model 'nosuch'"),
        (("--planners", "nosuch"), "nosuch"),
        (("--seeds", "0"), "seeds must be an integer of at least 1"),
    ],
)
def test_a_mistake_is_one_clear_line(capsys, tmp_path, arguments, message):
    with pytest.raises(SystemExit) as caught:
        learning.main([*arguments, "--out", str(tmp_path)])
    assert caught.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_what_is_known_of_a_model_is_true():
    """The reward of the cart-pole is its own; that of the half cheetah but for the speed within a step."""
    env = dynamics.cartpole()
    state, action = jnp.array([0.3, 2.0, 0.1, -0.4]), jnp.array([0.4])
    said = known_of("cartpole", env)
    after = env.step(jax.random.key(0), state, action)
    assert float(said["reward"](state, action, after.state)) == pytest.approx(float(after.reward), rel=1e-5)
    env = dynamics.brax("halfcheetah", "generalized")
    step = jax.jit(env.step)
    state = env.init(jax.random.key(1))
    actions = jax.random.uniform(jax.random.key(2), (20, env.action_size), minval=-1.0)
    reward, own, guessed = known_of("halfcheetah", env)["reward"], [], []
    for action in actions:
        after = step(jax.random.key(3), state, action)
        own.append(float(after.reward))
        guessed.append(float(reward(state.obs, action, after.state.obs)))
        state = after.state
    assert np.corrcoef(own, guessed)[0, 1] > 0.9
    assert np.abs(np.subtract(own, guessed)).mean() < 0.3 * np.std(own)


def test_the_twin_of_the_half_cheetah_has_its_physics():
    env = dynamics.brax("halfcheetah", "mjx")
    twin = fast_twin("halfcheetah", env, "mjx")
    assert fast_twin("halfcheetah", env, "spring") is env
    assert (twin.dt, twin.action_size) == (pytest.approx(env.dt), env.action_size)
    starts = jax.vmap(twin.init)(jax.random.split(jax.random.key(0), 50))
    assert float(np.abs(starts.qpos).max()) < 0.1
    assert float(np.std(starts.qvel)) == pytest.approx(0.1, rel=0.2)
