"""The shape of the repository: who imports whom, what importing does, what the wheel holds, what is documented."""

import ast
import importlib
import inspect
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

import mirrax
from mirrax import planners
from mirrax.planners.factory import options_of
from mirrax.planners.options import OPTIONS

ROOT = pathlib.Path(__file__).parent.parent
FILES = sorted(path for folder in ("planners", "dynamics", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
FACE = sorted(
    path
    for folder in ("", "cli", "learning", "learning/policies", "report", "results")
    for path in (ROOT / "src" / "mirrax" / folder).glob("*.py")
)

# Imports go one way: a module imports from its own floor (without cycles) and from those below.
FLOORS = [
    {"dynamics"},
    {
        f"planners.{name}"
        for name in (
            "checks",
            "complaints",
            "differentiation",
            "factory",
            "info",
            "loop_options",
            "option",
            "options",
        )
    },
    {"planners.beliefs"},
    {"planners.rollouts"},
    {"planners.wrapper"},
    {"planners.sampling"},
    {"planners.particles", "planners.gradients", "planners.lqr", "planners.exact"},
    {"planners.policies"},
    {
        f"planners.{name}"
        for name in (
            "composition",
            "rest",
            "rates",
            "api",
            "episodes",
            "anytime",
            "primed",
            "controller",
            "amortised",
        )
    },
]
PLANNER_FILES = sorted({factory.__module__.removeprefix("mirrax.") for factory in planners.PLANNERS})
# what of `dynamics` is no model
BASE = [
    "actions",
    "actuators",
    "base",
    "checks",
    "constraints",
    "coordinates",
    "drawings",
    "ends",
    "engines",
    "environments",
    "errors",
    "figures",
    "integration",
    "motion",
    "observations",
    "perceptron",
    "pytrees",
    "randomness",
    "rewards",
    "rods",
    "saving",
    "spaces",
    "track",
    "trial",
    "wrapper",
]
# what the model of Brax environments is made of
BRAX = ["brax_actuators", "brax_labels", "brax_motion", "brax_rewards"]
# what the models of MuJoCo files are made of
MUJOCO = [
    "mujoco_coordinates",
    "mujoco_data",
    "mujoco_engine",
    "mujoco_figure",
    "mujoco_file",
    "mujoco_kinematics",
    "mujoco_model",
    "mujoco_names",
    "mujoco_robot",
    "mujoco_task",
    "mujoco_warp",
    "rotations",
]
# what the model of Playground's environments is made of
PLAYGROUND = ["playground_parts", "playground_suites"]
# what learned models are made of
LEARNED = [
    f"learned.{name}" for name in ("data", "factory", "fitting", "likelihood", "model", "scaling", "transitions")
]
# what a file over 300 lines must give a reason for
LONG = {
    "dynamics.uncertain": "two ways to be uncertain, side by side",
    "planners.options": "one table, of all options",
    "planners.lqr.solver": "one search, whose steps share all that it carries",
    "planners.particles.filter": "one filter, whose steps share all that particles carry",
    "dynamics.brax": "one engine, with the repairs that it needs",
    "dynamics.linear_quadratic": "one model, with its exact solutions",
    "benchmarks.peer_tasks": "the peers' tasks, side by side",
    "benchmarks.peers": "one benchmark",
    "benchmarks.returns": "one benchmark",
}


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def project_imports(path):
    """The modules of the project that a file imports, as dotted names below mirrax."""
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            yield ".".join([*base, *([node.module] if node.module else [])])
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mirrax"):
            yield from (f"{node.module}.{alias.name}".removeprefix("mirrax.") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("mirrax"))


def floor_of(module):
    """The number of the floor that a module of planners or dynamics is on."""
    return next((i for i, names in enumerate(FLOORS) if any(f"{module}.".startswith(f"{n}.") for n in names)), None)


def module_of(name):
    """The module that an imported name lies in: itself, or the one that has it as an attribute."""
    paths = [root / name.replace(".", "/") for root in (ROOT, ROOT / "src" / "mirrax")]
    known = any(path.is_dir() or path.with_suffix(".py").exists() for path in paths)
    return name if known else name.rpartition(".")[0]


@pytest.mark.parametrize("path", [p for p in FILES if p.parts[-1] != "__init__.py"], ids=name_of)
def test_imports_go_down(path):
    name, imports = name_of(path), {module_of(module) for module in project_imports(path)}
    if name.startswith("dynamics."):
        allowed = {f"dynamics.{part}" for part in (*BASE, *BRAX, *MUJOCO, *PLAYGROUND, *LEARNED)}
        assert imports <= allowed - {name}, f"{name} may import what is no model only, not {imports - allowed}"
    elif name.startswith("planners.") and name not in PLANNER_FILES:
        floor = floor_of(name)
        assert floor is not None, f"give {name} a floor"
        above = {module for module in imports if (floor_of(module) is None or floor_of(module) > floor)}
        assert not above, f"{name} imports {above}"
        others = {module for module in imports if floor_of(module) == floor and floor > 1}
        package = name.rpartition(".")[0]
        assert all(module.startswith(package) for module in others), f"{name} imports {others}, on its own floor"
    elif name.startswith("planners."):
        assert all(floor_of(module) is not None for module in imports), f"{name} imports another planner: {imports}"
    else:
        known = {"planners", "dynamics", "benchmarks", "learning", "report", "results"}
        assert {module.split(".")[0] for module in imports} <= known


def test_modules_import_each_other_without_cycles():
    graph = {name_of(path): {module_of(m) for m in project_imports(path)} for path in FILES}
    done: set[str] = set()

    def visit(module, trail):
        assert module not in trail, " -> ".join([*trail[trail.index(module) :], module])
        if module not in done:
            for other in graph.get(module, ()):
                if other in graph and not (ROOT / other.replace(".", "/")).is_dir():
                    visit(other, [*trail, module])
            done.add(module)

    for module in graph:
        visit(module, [])


def test_the_loop_imports_no_family_and_no_engine():
    imports = set(project_imports(ROOT / "planners/sampling/loop.py"))
    allowed = {"planners.beliefs.protocol", "planners.beliefs.reading", "planners.beliefs.warm_start"}
    assert not {module for module in imports if module.startswith("planners.beliefs") and module not in allowed}
    assert not {module for module in imports if module in ("planners.particles", "dynamics.brax")}


@pytest.mark.parametrize("path", [*FILES, *FACE], ids=name_of)
def test_files_are_short(path):
    length = len(path.read_text().splitlines())
    assert length <= 300 or name_of(path) in LONG, f"{path.name} has {length} lines"


@pytest.mark.parametrize("name", PLANNER_FILES)
def test_planner_files_only_choose_components(name):
    text = (ROOT / name.replace(".", "/")).with_suffix(".py").read_text()
    assert len(text.splitlines()) <= 150
    for node in ast.walk(ast.parse(text)):
        assert not isinstance(node, ast.ClassDef | ast.For | ast.While), f"{name} does more than choose components"


def test_every_option_is_used_and_declared_once():
    """A parameter of a planner is declared in `planners.options`; what nobody takes is not."""
    taken = set(planners.LoopOptions.__annotations__)
    for factory in (*planners.PLANNERS, planners.okada):
        taken |= set(inspect.signature(factory).parameters) - {"options"}
    assert taken == set(OPTIONS)


def test_option_defaults_are_in_their_range():
    for factory in planners.PLANNERS:
        parameters = inspect.signature(factory).parameters
        for name, option in options_of(factory).items():
            if parameters[name].default is not inspect.Parameter.empty:
                option.check(name, parameters[name].default)


def test_every_planner_is_public():
    assert all(getattr(planners, factory.__name__) is factory for factory in planners.PLANNERS)
    assert all(factory.__name__ in planners.__all__ for factory in planners.PLANNERS)


def test_importing_does_nothing_else():
    """No engine, no viewer, no JAX backend, no setting, no file: only names."""
    code = inspect.cleandoc("""
        import sys
        import jax
        before = dict(jax.config.values)
        import mirrax, mirrax.planners, mirrax.dynamics, mirrax.report, mirrax.cli
        heavy = {"brax", "mujoco", "viser", "matplotlib", "flax", "optax"} & set(sys.modules)
        assert not heavy, heavy
        assert dict(jax.config.values) == before
        from jax._src import xla_bridge
        assert not xla_bridge.backends_are_initialized()
    """)
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_every_module_is_in_the_wheel(tmp_path):
    shutil.rmtree(ROOT / "build" / "lib", ignore_errors=True)  # what an older build left would be packed too
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    held = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    expected = {f"mirrax/{path.relative_to(ROOT)}" for path in FILES}
    expected |= {f"mirrax/{path.relative_to(ROOT / 'src' / 'mirrax')}" for path in FACE} | {"mirrax/py.typed"}
    expected |= {f"mirrax/{path.relative_to(ROOT)}" for path in (ROOT / "benchmarks" / "mjcf").glob("*.xml")}
    assert expected <= held, expected - held
    assert not any(name.startswith(("planners", "tests")) for name in held)


@pytest.mark.parametrize("path", [*FILES, *FACE], ids=lambda path: path.stem)
def test_public_names_are_documented(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), f"{path} says not what it is"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            text = ast.get_docstring(node) or ""
            assert text, f"{node.name} in {path.name}"
            if any(isinstance(d, ast.Name) and d.id == "planner" for d in node.decorator_list):
                continue  # its arguments are described by `planners.options`
            arguments = (
                [a.arg for a in (*node.args.args, *node.args.kwonlyargs)] if isinstance(node, ast.FunctionDef) else []
            )
            if "Args:" in text:
                missing = [name for name in arguments if f"{name}:" not in text]
                assert not missing, f"{node.name} in {path.name} says nothing of {missing}"


@pytest.mark.parametrize("package", ["planners", "dynamics"])
def test_all_names_exist(package):
    module = importlib.import_module(f"mirrax.{package}")
    assert len(set(module.__all__)) == len(module.__all__)  # their order is checked by ruff
    assert all(hasattr(module, name) for name in module.__all__)


def test_versions_agree():
    assert f"version: {mirrax.__version__}" in (ROOT / "CITATION.cff").read_text()
    assert f"## {mirrax.__version__}" in (ROOT / "CHANGELOG.md").read_text()
