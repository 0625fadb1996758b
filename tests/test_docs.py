"""What the documentation shows works: its Python runs, its commands parse, its links, names and tables are right."""

import functools
import importlib
import importlib.util
import inspect
import pathlib
import re
import shlex
import sys
from typing import Any

import jax
import jax.numpy as jnp
import pytest
import yaml

from mirrax import dynamics, planners
from mirrax.benchmarks.arguments import parse as read_options
from mirrax.cli.commands import Run
from mirrax.cli.flags import PLANNERS
from mirrax.cli.main import main, parse
from mirrax.planners.options import OPTIONS
from mirrax.report import report_episode
from mirrax.results.journal import Journal

ROOT = pathlib.Path(__file__).parent.parent
PAGES = ["README.md", *sorted(f"docs/{path.relative_to(ROOT / 'docs')}" for path in (ROOT / "docs").glob("*.md"))]
LINKED = [*PAGES, "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "benchmarks/results/README.md"]
TEXT = {page: (ROOT / page).read_text() for page in LINKED}
BLOCKS = {page: re.findall(r"```python\n(.*?)```", TEXT[page], re.DOTALL) for page in [*PAGES, "CONTRIBUTING.md"]}
EXCERPTS = "docs/risky_bridge.md"  # of a script, to which tests/test_example.py holds them
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text())

# a robot is slow to simulate, and this process may not change the number of its devices
SMALLER = {
    "horizon=16, num_samples=128": "horizon=2, num_samples=4",
    "(200, 2)": "(2, 2)",
    "num_steps=150": "num_steps=2",
    'jax.config.update("jax_num_cpu_devices", 2)': "pass",
}


def load_hooks():
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hooks = load_hooks()


@functools.cache
def run(page, number):
    """The names that a block leaves behind; each block runs by itself."""
    code = BLOCKS[page][number]
    for old, new in SMALLER.items():
        code = code.replace(old, new)
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(code, f"{page}, block {number + 1}", "exec"), names)
    return names


def block_with(page, text):
    """The names that the block of a page leaves behind in which this text stands."""
    (number,) = [n for n, code in enumerate(BLOCKS[page]) if text in code]
    return run(page, number)


def plans_through(model):
    """That it traces, without compiling a robot."""
    key = jax.random.key(0)
    planner = planners.mppi(2, num_samples=2)
    belief, _ = jax.eval_shape(planners.infer, planner, model, key, jax.eval_shape(model.init, key), None)
    return belief.mean.shape == (2, model.action_size)


@pytest.fixture
def _a_run(tmp_path, monkeypatch):
    """What the page about the files of a run reads."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Journal, "remove", lambda self: self.close())  # as if the process had been killed
    main(["run", "point_mass", "--horizon", "4", "--num-samples", "16", "--steps", "3", "--devices", "1"])


@pytest.fixture
def _a_robot(tmp_path, monkeypatch):
    """What the page about one's own robot has its reader write."""
    (tmp_path / "cart.xml").write_text(re.search(r"```xml\n(.*?)```", TEXT["docs/your_robot.md"], re.DOTALL)[1])
    (tmp_path / "cart_task.py").write_text(BLOCKS["docs/your_robot.md"][0])
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("cart_task", None)


@pytest.mark.parametrize(
    ("page", "number"),
    [(page, n) for page in BLOCKS if page != EXCERPTS for n in range(len(BLOCKS[page]))],
)
def test_blocks_run(page, number, capsys, request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # they may write files
    if page == "docs/runs.md":
        request.getfixturevalue("_a_run")
    if page == "docs/your_robot.md":
        request.getfixturevalue("_a_robot")
    run(page, number)


def test_the_planner_of_contributing_plans():
    half_cem = block_with("CONTRIBUTING.md", "def half_cem")["half_cem"]
    assert "std: " in half_cem.__doc__
    with pytest.raises(ValueError, match="std must be finite and > 0, got 0"):
        half_cem(4, std=0.0)
    model = dynamics.from_function(
        lambda key, state, action: (state, -((action - 0.7) ** 2).sum(), 1.0), action_size=1
    )
    belief, _ = planners.infer(half_cem(4, num_iterations=16), model, jax.random.key(0), jnp.zeros(()))
    assert abs(belief.mode() - 0.7).max() < 0.1


def test_the_example_drives_the_ant():
    assert BLOCKS["README.md"][0] == BLOCKS["docs/index.md"][0]
    assert len(BLOCKS["README.md"][0].strip().splitlines()) <= 12
    names = run("README.md", 0)
    assert jnp.isfinite(names["action"]).all()
    assert names["action"].shape == (8,)
    assert names["state"].pipeline_state.x.pos.shape == (9, 3)


def test_the_posterior_is_the_closed_form():
    names = block_with("docs/posteriors.md", "plan_posterior")
    exact, belief, info = names["exact"], names["belief"], names["info"]
    assert jnp.abs(belief.covariance() - exact.covariance).max() < 0.1 * exact.covariance.max()
    assert abs(float(info.log_evidence[-1] - exact.log_evidence)) < 0.03
    assert abs(float(info.elbo_gap[-1])) < 0.03


def test_particles_leave_nothing_to_chance():
    names = block_with("docs/particles.md", "plan_posterior")
    assert abs(float(names["info"].log_evidence[-1] - names["exact"].log_evidence)) < 1e-3
    assert names["belief"].plans.shape == (16, 4, 1)


def test_derivatives_swing_a_pole_up():
    names = block_with("docs/simulator.md", "planners.ilqr")
    assert jnp.cos(names["belief"].states[-1, 1]) > 0.9
    assert names["belief"].gains.shape == (60, 1, 4)


def test_a_policy_is_improved_and_left_as_it_is():
    names = block_with("docs/simulator.md", "iterative_policy")
    belief, info = names["belief"], names["info"]
    assert info.objective.max() > info.objective[0] + 1.0
    assert (belief.given.mean(names["state"]) == 0).all()
    assert (jnp.abs(belief.improved.mean(names["state"])) > 0.01).all()


def test_who_gambles_and_who_does_not():
    names = block_with("docs/posteriors.md", "message_passing")
    mdp, structured = names["mdp"], names["messages"]
    direct = planners.message_passing(mdp, horizon=3, temperature=1.0)
    assert structured.policy[0, 0, 1] > 0.5
    assert direct.policy[0, 0, 0] > 0.5


def test_plans_under_uncertainty():
    names = block_with("docs/uncertainty.md", "conditional_value_at_risk")
    assert jnp.isfinite(names["episode"].rewards).all()
    assert names["episode"].infos.ess.shape == (20, 5)
    assert names["planner"].evaluator.rollouts.risk is not None


def test_ones_own_environment_is_a_model():
    assert plans_through(block_with("docs/models.md", "BackwardsAnt")["model"])


@pytest.mark.parametrize("page", ["README.md", "docs/models.md"])
def test_ones_own_function_is_driven_to_its_goal(page, tmp_path):
    names = block_with(page, "unicycle")
    assert jnp.hypot(*(names["episode"].final_state[:2] - 1.0)) < 0.2
    report_episode(tmp_path / "car.html", names["car"], names["episode"])
    assert "<svg" in (tmp_path / "car.html").read_text()


def test_ones_own_class_is_a_model():
    slider = block_with("docs/models.md", "class Slider")["slider"]
    assert plans_through(slider)
    belief, _ = jax.jit(planners.infer)(planners.ilqr(10), slider, jax.random.key(0), jnp.array([1.0, 0.0]))
    assert belief.mode()[0, 0] == -1.0


def test_discrete_actions_are_integers():
    names = block_with("docs/models.md", "dynamics.discretized")
    assert names["action"].dtype == jnp.int32
    assert names["action"].shape == ()


def test_ones_own_cost_is_a_model():
    assert plans_through(block_with("docs/rewards.md", "stand_still")["model"])
    model = block_with("docs/rewards.md", "leaving costs")["model"]
    at_the_edge = jnp.array([2.6, 0.0, 0.0, 0.0])
    step = model.step(jax.random.key(0), at_the_edge, jnp.zeros(2))
    assert step.discount == 0
    assert step.reward < -100.0


def test_plans_spread_over_devices():
    assert block_with("docs/speed.md", "NamedSharding")["planner"].sharding.num_devices == jax.device_count()


def test_the_best_return_is_differentiated_as_the_docs_say():
    worth = jax.jit(block_with("docs/derivatives.md", "stop_gradient")["worth"])
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
    planner = getattr(planners, factory)(12, num_samples=32, num_iterations=1, **options)
    belief = planner.init(model, state)
    inside = belief.belief.belief if factory == "icem" else belief.belief
    given = inside.reduce @ plan if options else plan
    start = belief.map_centers(lambda _: given)
    expected = inside.expand @ given if options else plan
    assert jnp.abs(start.belief.mode() - expected).max() < 1e-5
    jax.jit(planners.plan)(planner, model, key, state, start)


def commands():
    blocks = [block for text in TEXT.values() for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL)]
    return sorted({line for block in blocks for line in re.findall(r"^mirrax .*?(?=\s*#|$)", block, re.MULTILINE)})


@pytest.mark.parametrize("line", commands())
def test_commands_parse(line):
    arguments = shlex.split(line)[1:]
    if arguments[0] == "bench":
        benchmark = importlib.import_module(f"mirrax.benchmarks.{arguments[1]}")
        assert read_options(benchmark.Options, arguments[2:])
    elif "--help" not in arguments:
        command = parse(arguments)
        assert not isinstance(command, Run) or command.planner in (None, *PLANNERS)


def test_targets_of_make_exist():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page, text in TEXT.items():
        for words in re.findall(r"(?:^|`|\s)make ((?:[A-Z]+=\S+ )*)(\w+)\b", text):
            assert words[1] in targets or page == "CHANGELOG.md" or words[0] == "", f"{page}: make {words[1]}"


def test_readme_is_short():
    assert len(TEXT["README.md"].splitlines()) <= 150


@pytest.mark.parametrize("page", ["README.md", "docs/map.md"])
def test_tables_written_by_hand_name_every_planner(page):
    named = re.findall(r"^\| `planners\.(\w+)`(?:, \w+)? \|", TEXT[page], re.MULTILINE)
    exact = {"okada", "message_passing", "value_iteration"}
    assert set(named) - exact == set(PLANNERS)
    assert len(named) == len(set(named)) or page != "README.md"


def test_the_table_of_planners_is_complete():
    rows = [line.split("|") for line in hooks.planners_table().splitlines()[2:]]
    assert [row[1].strip() for row in rows] == [f"`planners.{name}`" for name in PLANNERS]
    actions = {row[1].strip("` ").removeprefix("planners."): row[4].strip() for row in rows}
    assert actions["vi_mpc"] == "vectors, integers"
    assert actions["ilqr"] == "vectors"
    beliefs = {row[1].strip("` ").removeprefix("planners."): row[3].strip() for row in rows}
    assert beliefs["icem"] == "[`Gaussian`][planners.beliefs.Gaussian]"
    assert beliefs["smc"] == "[`Particles`][planners.particles.Particles]"
    assert "<!-- planners -->" in TEXT["docs/which_planner.md"]


def test_the_table_of_options_is_complete():
    rows = {re.match(r"\| `(\w+)`", line)[1]: line for line in hooks.options_table().splitlines()[2:]}
    assert list(rows) == list(OPTIONS)
    assert all(len(re.split(r"(?<!\\)\|", line)) == 7 for line in rows.values()), "a cell has a bar that ends it"
    for factory in planners.PLANNERS:
        for name in set(inspect.signature(factory).parameters) - {"options", "horizon"}:
            assert re.search(rf"\b{factory.__name__}\b", rows[name].rpartition("|")[0].rpartition("|")[2]), name
    assert "<!-- options -->" in TEXT["docs/options.md"]


def test_info_is_explained():
    told = {name for title, entries in hooks.sections(planners.Info) for name, _ in entries}
    measures = {name for name, value in vars(planners.Info).items() if type(value).__name__ == "_Measure"}
    assert told == measures | set(planners.Info.__dataclass_fields__)
    for title, _ in hooks.sections(planners.Info):
        assert f"<!-- info: {title} -->" in TEXT["docs/diagnostics.md"]
        assert hooks.info_table(title)


def pages_of(nav):
    for entry in nav:
        for place in entry.values() if isinstance(entry, dict) else [entry]:
            yield from pages_of(place) if isinstance(place, list) else [place]


def test_every_page_is_in_the_navigation():
    there = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    there = {page for page in there if not page.startswith(("generated/", "tutorials/"))}
    listed = [page for page in pages_of(SITE["nav"]) if page.endswith(".md")]
    assert set(listed) == there
    assert len(listed) == len(set(listed))
    assert "generated/tutorials" in set(pages_of(SITE["nav"]))


def test_every_subpackage_has_a_page_with_all_that_is_public():
    shown = {}
    for path in (ROOT / "docs" / "api").glob("*.md"):
        name, _, without = re.search(r"<!-- api: (.*?) -->", path.read_text())[1].partition(" without ")
        shown[name] = hooks.reference(name, tuple(without.split()))
        assert path.stem == name.rpartition(".")[2]
    assert set(shown) == set(hooks.SUBPACKAGES)
    packages = {name for name in planners.__all__ if inspect.ismodule(getattr(planners, name))}
    assert {f"planners.{name}" for name in packages} <= set(shown)
    directives = "\n".join(shown.values())
    for name in PLANNERS:
        assert f"\n::: mirrax.planners.{getattr(planners, name).__module__.rpartition('.')[2]}.{name}\n" in directives
    for name in ("beliefs.Gaussian", "beliefs.Belief", "likelihoods.exponential", "risk.mean", "exact.Messages"):
        assert f"#planners.{name} " in directives


def test_every_source_file_that_is_linked_has_a_page():
    assert hooks.target("planners/vi_mpc.py") == "source/planners/vi_mpc.md"
    assert "planners/vi_mpc.py" in hooks.source_files()
    assert "# planners/vi_mpc.py" in hooks.source_page("planners/vi_mpc.py")


@pytest.mark.parametrize("page", LINKED)
def test_links_lead_somewhere(page):
    path = ROOT / page
    for target, _, anchor in re.findall(r"\]\(([^)#\s]*)(#([^)\s]+))?\)", TEXT[page]):
        if target.startswith("http"):
            continue
        place = (path.parent / target) if target else path
        assert place.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", place.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}, anchor


@pytest.mark.parametrize("page", [page for page in LINKED if page != "CHANGELOG.md"])
def test_names_exist(page):
    """A name in backticks, such as `planners.cem` or `planners.beliefs.gaussian(std=0.5)`, is one of the library."""
    for name in re.findall(r"`((?:planners|dynamics)(?:\.[A-Za-z_]\w*)+)(?![\w/]*\.py)", TEXT[page]):
        found: Any = {"planners": planners, "dynamics": dynamics}[name.split(".")[0]]
        for part in name.split(".")[1:]:
            assert hasattr(found, part), f"{page}: {name}"
            found = getattr(found, part)


def test_nothing_is_fetched():
    """No font, script, style or picture from elsewhere."""
    assert SITE["theme"]["font"] is False
    assert "repo_url" not in SITE  # the theme would ask the forge for its stars
    assert not any("http" in str(path) for path in [*SITE["extra_css"], *SITE["extra"]["polyfills"]])
    for page, text in TEXT.items():
        assert not re.search(r"!\[[^\]]*\]\(http|<(?:script|img|link|iframe)[^>]*http", text), page
    assert "http" not in (ROOT / "docs" / "assets" / "site.css").read_text()


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "tutorials").glob("*.py")), ids=lambda path: path.stem)
def test_tutorials_have_a_title_and_a_picture(path):
    text = path.read_text()
    compile(text, path.name, "exec")
    assert text.startswith('"""\n# ')
    assert "plt.show()" in text
    assert text.count("\n# %%\n") >= 4
