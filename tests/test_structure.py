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

ROOT = pathlib.Path(__file__).parent.parent
FILES = sorted(path for folder in ("planners", "dynamics", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
FACE = sorted((ROOT / "src" / "mirrax").glob("*.py"))

# The layers of `planners`: a file imports from the layers below its own only.
LAYERS = [
    {"dynamics.base", "dynamics.coordinates", "dynamics.randomness"},
    {"planners.triangular"},
    {"planners.warm_start", "planners.noise", "planners.placement"},
    {"planners.base"},
    {"planners.diagnostics", "planners.differentiation", "planners.families.moments"},
    {
        "planners.likelihoods",
        "planners.priors",
        "planners.box_qp",
        "planners.optimizers",
        "planners.resampling",
        "planners.risk",
        "planners.step_sizes",
    },
    {"planners.particles.tempering", "planners.stepping", "planners.survivors"},
    {
        "planners.families.gaussian",
        "planners.families.full",
        "planners.families.network",
        "planners.families.points",
        "planners.families.kronecker",
        "planners.families.categorical",
        "planners.families.incumbent",
        "planners.families.remembering",
        "planners.families.splined",
        "planners.families.strategy",
    },
    {
        "planners.families.affine",
        "planners.families.annealed",
        "planners.families.enumeration",
        "planners.families.iterated",
        "planners.families.mixture",
        "planners.families.particles",
    },
    {"planners.families.choice", "planners.families.refined"},
    {"planners.families"},
    {"planners.rollout"},
    {"planners.slots", "planners.expansion", "planners.pathwise"},
    {"planners.riccati", "planners.ascent", "planners.imagination"},
    {
        "planners.ddp",
        "planners.plan_ascent",
        "planners.elbo_ascent",
        "planners.stein_ascent",
        "planners.policy_ascent",
    },
    {"planners.sequential", "planners.refinement"},
    {"planners.loop"},
    {"planners.composition"},
    {"planners.message_passing"},
    {
        "planners.random_shooting",
        "planners.predictive_sampling",
        "planners.cem",
        "planners.icem",
        "planners.mppi",
        "planners.pi2",
        "planners.tsallis",
        "planners.dial",
        "planners.evolution",
        "planners.vi_mpc",
        "planners.smc",
        "planners.gradient",
        "planners.elbo_gradient",
        "planners.stein",
        "planners.ilqr",
        "planners.iterative_policy",
    },
]


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


@pytest.mark.parametrize("path", [p for p in FILES if p.parts[-1] != "__init__.py"], ids=name_of)
def test_imports_go_down(path):
    name, imports = name_of(path), list(project_imports(path))
    if name.startswith("dynamics."):
        allowed = {"dynamics.base", "dynamics.coordinates", "dynamics.integration", "dynamics.rods"}
        allowed |= {"dynamics.randomness", "dynamics.wrapper"}
        assert set(imports) <= allowed - {name}, f"{name} may import dynamics.base, and what has no model, only"
    elif name.startswith("planners."):
        rank = next((i for i, layer in enumerate(LAYERS) if name in layer), None)
        assert rank is not None, f"give {name} a layer"
        below = set().union(*LAYERS[:rank])
        assert set(imports) <= below, f"{name} imports {set(imports) - below}"
    else:
        assert all(module.split(".")[0] in ("planners", "dynamics", "benchmarks") for module in imports)


def test_planner_files_are_short():
    for layer in LAYERS[-1]:
        path = ROOT / f"{layer.replace('.', '/')}.py"
        tree, text = ast.parse(path.read_text()), path.read_text().splitlines()
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.Module) and ast.get_docstring(node):
                told = node.body[0]
                text[told.lineno - 1 : told.end_lineno] = [""] * (told.end_lineno - told.lineno + 1)
        code = [line for line in text if line.strip()]
        assert len(code) <= 85, f"{path.name} has {len(code)} lines of code; it should only pick components"


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
    expected |= {f"mirrax/{path.name}" for path in FACE} | {"mirrax/py.typed"}
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
            arguments = (
                [a.arg for a in (*node.args.args, *node.args.kwonlyargs)] if isinstance(node, ast.FunctionDef) else []
            )
            if "Args:" in text:
                missing = [name for name in arguments if f"{name}:" not in text]
                assert not missing, f"{node.name} in {path.name} says nothing of {missing}"


@pytest.mark.parametrize("package", ["planners", "dynamics"])
def test_all_names_exist_and_are_sorted(package):
    module = importlib.import_module(f"mirrax.{package}")
    assert list(module.__all__) == sorted(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


def test_versions_agree():
    assert f"version: {mirrax.__version__}" in (ROOT / "CITATION.cff").read_text()
    assert f"## {mirrax.__version__}" in (ROOT / "CHANGELOG.md").read_text()
