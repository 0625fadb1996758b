"""What the README shows works: its Python runs, its commands parse, its links and names exist."""

import pathlib
import re
import shlex
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from mirrax import dynamics, planners
from mirrax.cli.flags import PLANNERS
from mirrax.cli.main import Run, parse
from mirrax.planners.beliefs.protocol import center
from mirrax.report import report_episode

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
EXAMPLE, POSTERIOR, PARTICLES, THROUGH, POLICY, EXACT, UNCERTAIN, ENVIRONMENT, FUNCTION, CLASS, COST, DEVICES = BLOCKS


def run(code, **replacements):
    """Execute a block, with smaller numbers, by itself."""
    for old, new in replacements.items():
        old = old.replace("__", "=")
        assert old in code, old
        code = code.replace(old, new)
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    return names


def plans_through(model):
    """That it traces, without compiling a robot."""
    key = jax.random.key(0)
    planner = planners.mppi(2, num_samples=2)
    belief, _ = jax.eval_shape(planners.infer, planner, model, key, jax.eval_shape(model.init, key), None)
    return belief.mean.shape == (2, model.action_size)


def test_the_example_drives_the_ant():
    assert len(EXAMPLE.strip().splitlines()) <= 12
    names = run(EXAMPLE, **{"horizon__16": "horizon=2", "num_samples__128": "num_samples=4", "200": "2"})
    assert jnp.isfinite(names["action"]).all()
    assert names["action"].shape == (8,)
    assert names["state"].pipeline_state.x.pos.shape == (9, 3)


def test_the_posterior_is_the_closed_form():
    names = run(POSTERIOR)
    exact, belief, info = names["exact"], names["belief"], names["info"]
    assert jnp.abs(belief.covariance() - exact.covariance).max() < 0.1 * exact.covariance.max()
    assert abs(float(info.log_evidence[-1] - exact.log_evidence)) < 0.03
    assert abs(float(info.elbo_gap[-1])) < 0.03


def test_particles_leave_nothing_to_chance():
    names = run(PARTICLES)
    assert abs(float(names["info"].log_evidence[-1] - names["exact"].log_evidence)) < 1e-3
    assert names["belief"].plans.shape == (16, 4, 1)


def test_derivatives_swing_a_pole_up():
    names = run(THROUGH)
    assert jnp.cos(names["belief"].states[-1, 1]) > 0.9
    assert names["belief"].gains.shape == (60, 1, 4)


def test_a_policy_is_improved_and_left_as_it_is():
    names = run(POLICY)
    belief, info = names["belief"], names["info"]
    assert info.worth.max() > info.worth[0, 0] + 1.0
    assert (belief.given.mean(names["state"]) == 0).all()
    assert (jnp.abs(belief.improved.mean(names["state"])) > 0.01).all()


def test_who_gambles_and_who_does_not(capsys):
    messages = run(EXACT)["messages"]
    assert messages.policy[0, 0, 1] > 0.5
    direct, _ = capsys.readouterr().out.strip().splitlines()
    assert float(direct.split("]")[0].strip("[ ").split()[0]) > 0.5


def test_plans_under_uncertainty():
    names = run(UNCERTAIN)
    assert jnp.isfinite(names["episode"].rewards).all()
    assert names["episode"].infos.returns.shape == (20, 5, 64)


def test_ones_own_environment_is_a_model():
    names = run(ENVIRONMENT)
    assert plans_through(names["model"])


def test_ones_own_function_is_driven_to_its_goal(capsys, tmp_path):
    names = run(FUNCTION)
    assert jnp.hypot(*(names["episode"].final_state[:2] - 1.0)) < 0.2
    assert capsys.readouterr().out
    report_episode(tmp_path / "car.html", names["car"], names["episode"])
    assert "<svg" in (tmp_path / "car.html").read_text()


def test_ones_own_class_is_a_model():
    slider = run(CLASS)["slider"]
    assert plans_through(slider)
    belief, _ = jax.jit(planners.infer)(planners.ilqr(10), slider, jax.random.key(0), jnp.array([1.0, 0.0]))
    assert belief.mode()[0, 0] == -1.0


def test_ones_own_cost_is_a_model():
    names = run(COST)
    assert plans_through(names["model"])


def test_plans_spread_over_devices():
    # this process has its devices already, and may not change their number
    names = run(DEVICES, **{"jax.config.update(": "print("})
    assert names["planner"].sharding.num_devices == jax.device_count()


def test_the_best_worth_is_differentiated_as_the_docs_say():
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "derivatives.md").read_text(), re.DOTALL)
    worth = jax.jit(run(block)["worth"])
    difference = (worth(1.1 + 0.01) - worth(1.1 - 0.01)) / 0.02
    assert abs(float(jax.grad(worth)(1.1) - difference)) < 0.01 * abs(float(difference))


@pytest.mark.parametrize(
    ("factory", "options"),
    [
        *((factory, {}) for factory in ("mppi", "cem", "vi_mpc", "icem", "dial")),
        *((factory, {"num_knots": 5}) for factory in ("mppi", "icem")),
    ],
)
def test_planners_start_from_a_plan_of_ones_own(factory, options):
    model, key, plan = dynamics.point_mass(), jax.random.key(0), 0.3 * jnp.sin(jnp.arange(24.0)).reshape(12, 2)
    state = model.init(key)
    planner = getattr(planners, factory)(12, 2, num_samples=32, num_iterations=1, **options)
    belief = planner.belief.belief if factory == "icem" else planner.belief
    given = belief.reduce @ plan if options else plan
    start = planner.init(model, state).map_centers(lambda _: given)
    expected = belief.expand @ given if options else plan
    assert jnp.abs(center(start.belief) - expected).max() < 1e-5
    jax.jit(planners.plan)(planner, model, key, state, start)


@pytest.mark.parametrize("line", re.findall(r"^mirrax .*?(?=\s*#|$)", README, re.MULTILINE))
def test_commands_parse(line):
    arguments = shlex.split(line)[1:]
    if "--help" not in arguments:
        command = parse(arguments)
        assert not isinstance(command, Run) or command.planner in PLANNERS


def test_the_table_names_every_planner():
    assert set(re.findall(r"^\| `planners\.(\w+)` \|", README, re.MULTILINE)) == set(PLANNERS)


def test_info_is_explained():
    fields = planners.Info.__dataclass_fields__
    assert all(f"`{name}`" in README for name in fields)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "benchmarks/results/README.md"])
def test_links_lead_somewhere(page):
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#]+?)\)", path.read_text()):
        assert target.startswith("http") or (path.parent / target).exists(), target
