"""Models of one's own on the command line: MuJoCo files with a task, functions of modules, and their mistakes."""

import importlib
import json
import pathlib
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mirrax import dynamics, planners, results
from mirrax.benchmarks import robots
from mirrax.benchmarks.tasks import TASKS
from mirrax.cli.main import main
from mirrax.cli.own_models import is_own, usual_substeps
from mirrax.cli.task_file import load_task_file
from mirrax.results.journal import Journal

CART = """
<mujoco model="cart">
  <option timestep="0.01"/>
  <worldbody>
    <body name="cart">
      <joint name="slide" type="slide" axis="1 0 0" range="-2 2" limited="true"/>
      <geom type="box" size="0.2 0.1 0.1" mass="1" rgba="0.2 0.4 0.8 1"/>
      <body name="pole">
        <joint name="hinge" axis="0 1 0"/>
        <geom type="capsule" fromto="0 0 0 0 0 -0.6" size="0.04" mass="0.1" contype="0" conaffinity="0"/>
        <site name="tip" pos="0 0 -0.6"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor name="push" joint="slide" ctrlrange="-10 10"/></actuator>
  <sensor><framepos name="tip" objtype="site" objname="tip"/></sensor>
  <keyframe><key name="up" qpos="0 3.1"/></keyframe>
</mujoco>
"""
TASK = """
def reward(data, action):
    return {"height": data.sensor("tip").data[2], "effort": -0.001 * action[0] ** 2}
"""
SMALL = ["--horizon", "3", "--num-samples", "8", "--num-iterations", "1", "--steps", "3"]


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_robot(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "cart.xml").write_text(CART)
    (tmp_path / "task.py").write_text(TASK)


def refused(capsys, *words):
    """What is said of a mistake: one line, nothing else, and nothing is left behind."""
    before = sorted(pathlib.Path().rglob("*"))
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()
    lines = [line for line in said if line.startswith("mirrax: error: ")]
    assert len(lines) == 1, said
    left = [path for path in pathlib.Path().rglob("*") if path not in before and "cache" not in str(path)]
    assert not left
    return lines[0].removeprefix("mirrax: error: ")


def test_a_file_and_a_task_are_run(capsys, tmp_path):
    main(["run", "cart.xml", "--task", "task.py", "--engine", "mujoco", *SMALL])
    assert "cart.xml (mujoco)" in capsys.readouterr().out
    found = results.load(tmp_path / "runs" / "cart-icem")
    about = found.about
    assert (about["model"], about["engine"], about["dt"]) == ("cart.xml", "mujoco", pytest.approx(0.02))
    assert (about["file"], about["task"]) == (str(tmp_path / "cart.xml"), str(tmp_path / "task.py"))
    assert about["term_names"] == ["height", "effort"]
    assert found.actuator_names == ("push",)
    assert "slide" in found.state_names[0]
    assert found.poses is not None
    assert "box" in (tmp_path / "runs" / "cart-icem" / "report.html").read_text()


@pytest.mark.slow
def test_the_same_file_on_mjx_earns_the_same():
    for engine in ("mujoco", "mjx"):
        main(["run", "cart.xml", "--task", "task.py", "--engine", engine, *SMALL, "--out", engine])
    mujoco, mjx = (results.load(engine) for engine in ("mujoco", "mjx"))
    assert mjx.about["engine"] == "mjx"
    np.testing.assert_allclose(mujoco.rewards, mjx.rewards, rtol=1e-3)


def test_the_same_file_on_brax_earns_nearly_the_same(tmp_path):
    (tmp_path / "task.py").write_text(
        "def reward(data, action):\n"
        '    return {"height": data.site("tip").xpos[2], "effort": -0.001 * action[0] ** 2}\n'
        'def terminate(data):\n    return {"late": data.time > 0.06}\n'
        "def value(data):\n    return data.qvel[0]\n"
        "def reset(key, data):\n    return data.replace(qvel=data.qvel + 1.0, time=data.time + 0.01)\n"
    )
    for engine in ("mujoco", "brax"):
        main(["run", "cart.xml", "--task", "task.py", "--engine", engine, *SMALL, "--out", engine])
    mujoco, brax = (results.load(engine) for engine in ("mujoco", "brax"))
    assert (brax.about["engine"], brax.about["backend"]) == ("brax", "generalized")
    assert brax.about["term_names"] == ["height", "effort"]
    assert (brax.end_reason, brax.num_steps) == ("late", 3)
    assert brax.poses.shape == (4, 3, 7)
    np.testing.assert_allclose(brax.terms[:, 0], mujoco.terms[:, 0], rtol=0.02)


def test_a_task_file_has_settings(tmp_path):
    (tmp_path / "helpers.py").write_text("WEIGHT = 2.0\n")
    (tmp_path / "task.py").write_text(
        "from helpers import WEIGHT\nimport jax.numpy as jnp\n"
        'substeps, keyframe, action_range = 1, "up", (-2.0, 2.0)\n'
        'planner, horizon, steps, planner_options = "cem", 4, 2, {"num_samples": 6, "num_iterations": 1}\n'
        "def reward(data, action):\n    return WEIGHT * data.time\n"
        'def terminate(data):\n    return {"late": data.time > 0.015}\n'
        "def value(data):\n    return 0.0\n"
        "def reset(key, data):\n    return data.replace(qvel=data.qvel + 0.5)\n"
    )
    main(["run", "cart.xml", "--task", "task.py", "--engine", "mujoco"])
    found = results.load("runs/cart-cem")
    assert found.about["settings"]["num_samples"] == 6
    assert (found.about["settings"]["horizon"], found.about["dt"]) == (4, pytest.approx(0.01))
    np.testing.assert_allclose(found.rewards, [0.02, 0.04], rtol=1e-5)
    assert found.end_reason == "late"
    assert [limit.tolist() for limit in found.actuator_limits] == [[-2.0], [2.0]]
    np.testing.assert_allclose(found.states[0], [0.0, 3.1, 0.5, 0.5], rtol=1e-5)


def test_a_run_of_a_file_goes_on_where_it_was_unless_the_file_has_changed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Journal, "remove", lambda self: self.close())  # as if the process had been killed
    (tmp_path / "elsewhere").mkdir()
    words = ["run", "cart.xml", "--task", "task.py", "--engine", "mujoco", *SMALL, "--devices", "1"]
    main([*words, "--out", "a"])
    monkeypatch.chdir(tmp_path / "elsewhere")
    main(["run", "--resume", "../a", "--steps", "5"])
    monkeypatch.chdir(tmp_path)
    main([*words[:-4], "--steps", "5", "--devices", "1", "--out", "b"])
    np.testing.assert_array_equal(results.load("a").rewards, results.load("b").rewards)
    assert results.load("a").num_steps == 5
    capsys.readouterr()
    main(["compare", "a", "b"])
    assert "cart.xml (mujoco)" in capsys.readouterr().out
    (tmp_path / "task.py").write_text(TASK.replace("0.001", "0.002"))
    said = refused(capsys, "run", "--resume", "a", "--steps", "6")
    assert said.startswith("resume must find files as they were, got")
    assert "task.py', which has changed" in said
    (tmp_path / "task.py").write_text(TASK)
    (tmp_path / "cart.xml").write_text(CART.replace('mass="0.1"', 'mass="0.2"'))
    assert "cart.xml', which has changed" in refused(capsys, "run", "--resume", "a", "--steps", "6")
    (tmp_path / "cart.xml").unlink()
    assert "cart.xml', which does not exist" in refused(capsys, "run", "--resume", "a", "--steps", "6")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<worldbody>", '<asset><mesh name="m" file="no.stl"/></asset><worldbody>', "no.stl"),
        ('joint="slide" ctrl', 'joint="slid" ctrl', "slid"),
        (' ctrlrange="-10 10"', "", "action_range must be given for actuators without a ctrlrange, push"),
        ('qpos="0 3.1"', 'qpos="0 3.1 1"', "invalid qpos size, expected"),
        ("</mujoco>", "", "XML parse error"),
        ('<motor name="push" joint="slide" ctrlrange="-10 10"/>', "", "model must have actuators"),
    ],
)
def test_a_bad_model_file_is_one_clear_line(old, new, message, capsys, tmp_path):
    assert old in CART
    (tmp_path / "cart.xml").write_text(CART.replace(old, new))
    assert message in refused(capsys, "run", "cart.xml", "--task", "task.py", "--engine", "mujoco")
    with pytest.raises(ValueError, match=message) as raised:
        dynamics.mujoco(tmp_path / "cart.xml", lambda data, action: 0.0)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def reward(data):\n    return 0.0\n", "reward must take (data, action), got reward(data): too many"),
        (
            "def rewards(data, action):\n    return 0.0\n",
            "must define reward, a function of (data, action), got rewards",
        ),
        ("x = 1\n", "task.py must define reward, a function of (data, action)"),
        ("reward = 3\n", "task.py: reward must be a function, got 3"),
        ("def reward(data, action)\n", "task.py:1: expected ':', got 'def reward(data, action)'"),
        ("import os\nimport nosuch\n", "task.py:2: ModuleNotFoundError: No module named 'nosuch'"),
        (
            "def reward(data, action):\n    return data.sensor('tpi').data[2]\n",
            "unknown sensor 'tpi'; did you mean 'tip'? There are: tip",
        ),
        (
            "def reward(data, action):\n    return data.qpos\n",
            "reward must be a scalar number, got float32 of shape (2,)",
        ),
        ("def reward(data, action):\n    return data.qps[0]\n", "MujocoData has no qps"),
        (
            "def reward(data, action):\n    return x\n",
            "reward raised NameError: name 'x' is not defined (at task.py:2)",
        ),
        (
            TASK + "terminate = lambda data: data.time\n",
            "terminate must be a boolean scalar, got float32 of shape ()",
        ),
        (TASK + "terminate = lambda data: None\n", "terminate must be a boolean scalar, got None"),
        (
            TASK + "def terminate(data):\n    return 1 / 0\n",
            "terminate raised ZeroDivisionError: division by zero (at ",
        ),
        (TASK + "control_dt = 0.013\n", "control_dt must be a multiple of the model's timestep, 0.01 s"),
        (TASK + "keyframe = 'upp'\n", "unknown keyframe 'upp'; did you mean 'up'"),
        (TASK + "planner = 'icm'\n", "task.py: unknown planner 'icm'; did you mean 'icem'"),
        (TASK + "horizon = 0.5\n", "task.py: horizon must be an integer of at least 1, got 0.5"),
        (TASK + "planner_options = {'std': 1.0}\n", "planner_options must stand beside planner"),
        (
            TASK + "planner, planner_options = 'cem', {'num_sample': 1}\n",
            "unknown option of cem 'num_sample' in planner_options; did you mean 'num_samples'",
        ),
    ],
)
def test_a_bad_task_file_is_one_clear_line(text, message, capsys, tmp_path):
    (tmp_path / "task.py").write_text(text)
    assert message in refused(capsys, "run", "cart.xml", "--task", "task.py", "--engine", "mujoco")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "return None",
            "reset must return the data that it was given, changed by data.replace(qpos=...), got NoneType",
        ),
        ("return data if data.qpos[0] > 0 else data", "reset raised TracerBoolConversionError: "),
        ("raise RuntimeError('x')", "reset raised RuntimeError: x (at task.py:5)"),
        ("data.joint('hinge').qpos = 1.0", "reset raised AttributeError: qpos of data cannot be written"),
        (
            "return data.replace(qpos=[0.0] * 3)",
            "qpos must be numbers of shape (2,), got [0.0, 0.0, 0.0] (at task.py:5)",
        ),
        (
            "return data.replace(qps=0)",
            "replace must be given parts of the data, qpos, qvel, ctrl, time, got qps (at task",
        ),
    ],
)
def test_mistakes_in_a_reset_are_one_clear_line_on_brax_too(body, message, capsys, tmp_path):
    (tmp_path / "task.py").write_text(f"{TASK}def reset(key, data):\n    {body}\n")
    assert message in refused(capsys, "run", "cart.xml", "--task", "task.py", "--engine", "brax")


def test_names_that_nobody_reads_are_told(capsys, tmp_path):
    (tmp_path / "task.py").write_text(TASK + "contol_dt = 0.01\nKEYFRAME = 'up'\nGOAL = 1\ndef helper(): pass\n")
    found = load_task_file(pathlib.Path("task.py"))
    assert found.hints == [
        "task.py:4: contol_dt is read by nobody; did you mean control_dt?",
        "task.py:5: KEYFRAME is read by nobody; did you mean keyframe?",
    ]


@pytest.mark.parametrize("text", ["jnp.nan * data.time", '{"root": jnp.sqrt(-data.time), "height": 0.0}'])
def test_a_reward_that_is_no_number_ends_the_run_at_once(text, capsys, tmp_path):
    (tmp_path / "task.py").write_text(f"import jax.numpy as jnp\ndef reward(data, action):\n    return {text}\n")
    said = refused(capsys, "run", "cart.xml", "--task", "task.py", "--engine", "mujoco", *SMALL)
    assert said.startswith("reward must be a number, got NaN in the first step")
    assert ("'root'" in said) == ("root" in text)


def test_a_value_that_is_no_number_ends_the_run_at_once(capsys, tmp_path):
    (tmp_path / "task.py").write_text(f"{TASK}import jax.numpy as jnp\ndef value(data):\n    return jnp.log(-1.0)\n")
    said = refused(capsys, "run", "cart.xml", "--task", "task.py", "--engine", "mujoco", *SMALL)
    assert said.startswith("value must be a number, got NaN after the first step: look for a root")


def test_a_simulation_that_diverges_ends_the_run_at_once(capsys, tmp_path):
    motor = '<motor name="push" joint="slide" ctrlrange="-10 10"/>'
    (tmp_path / "cart.xml").write_text(
        CART.replace(motor, '<position name="push" joint="slide" kp="1e18" ctrlrange="1 2"/>')
    )
    said = refused(capsys, "run", "cart.xml", "--task", "task.py", "--engine", "mujoco", *SMALL)
    assert said.startswith("the simulation diverges in the first step: take a shorter timestep")


def test_a_reward_that_is_no_number_is_a_complaint_from_python():
    model = dynamics.mujoco(CART, lambda data, action: jnp.log(-1.0 - data.time))
    planner, state = planners.icem(2, num_samples=4), model.init(jax.random.key(0))
    _, info = jax.jit(planners.infer)(planner, model, jax.random.key(0), state)
    assert "no plan has a finite return" in str(planners.complaint(info))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("cart.xml",), "cart.xml needs a task, a Python file with a reward: `mirrax new cart.xml` writes one"),
        (
            ("no.xml", "--task", "task.py"),
            "model must be the path of an MJCF file, got 'no.xml', which does not exist",
        ),
        (
            ("cart.xml", "--task", "no.py"),
            "task must be the path of a Python file, got 'no.py', which does not exist",
        ),
        (
            ("cart.xml", "--task", "task.py", "--engine", "mjxx"),
            "engine must be one of mujoco, mjx, brax, got 'mjxx'",
        ),
        (("cart.xml", "--task", "task.py", "--engine", "mujoco", "--backend", "mjx"), "backend chooses the physics"),
        (
            ("cart.xml", "--task", "task.py", "--engine", "brax", "--backend", "x"),
            "backend must be one of generalized",
        ),
        (
            ("cart.xml", "--task", "task.py", "--engine", "brax"),
            "have qpos, qvel, ctrl, time, xpos, xquat, xmat, xipos",
        ),
        (("task.py",), "model must be a MuJoCo file, a name or module:function, got 'task.py': give it as --task"),
        (("pendulum", "--task", "task.py"), "task goes with a MuJoCo file"),
        (
            ("pendulum", "--engine", "mjx"),
            "engine chooses what simulates a MuJoCo file; pendulum has none, got 'mjx'",
        ),
        (("fast", "--engine", "mujoco"), "engine must be brax for fast, which runs on nothing else"),
        (
            ("cart.xml", "--task", "task.py", "--engine", "mujoco", "--planner", "ilqr", "--steps", "2"),
            "model must have derivatives for a planner that follows them",
        ),
    ],
)
def test_words_that_do_not_go_together_are_one_clear_line(words, message, capsys):
    assert message in refused(capsys, "run", *words)


MODULE = """
from mirrax import dynamics
made = dynamics.pendulum()
def make(): return dynamics.point_mass()
def takes(size): return dynamics.pendulum()
def fails(): raise KeyError("torso")
def nothing(): return 3
"""


def test_a_function_of_a_module_is_run(tmp_path):
    (tmp_path / "a_package").mkdir()
    (tmp_path / "a_package" / "robots.py").write_text(MODULE)
    for name, size in (("make", 2), ("made", 1)):
        main(["run", f"a_package.robots:{name}", *SMALL])
        found = results.load(f"runs/a_package.robots.{name}-icem")
        assert found.actions.shape == (3, size)
        assert found.about["model"] == f"a_package.robots:{name}"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("nosuch:make", "there is no module 'nosuch' here or installed"),
        ("own_robots:mak", "unknown function 'mak' in own_robots; did you mean 'make'?"),
        ("own_robots:", "model must be module:function, got 'own_robots:', without a function"),
        ("own_robots:takes", "function without arguments, got own_robots:takes(size): missing a required argument"),
        ("own_robots:fails", "own_robots:fails raised KeyError: 'torso' (at "),
        ("own_robots:nothing", "got int of own_robots:nothing"),
        ("own_broken:make", "own_broken cannot be imported: SyntaxError"),
    ],
)
def test_a_bad_function_is_one_clear_line(word, message, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "own_robots.py").write_text(MODULE)
    (tmp_path / "own_broken.py").write_text("def make(:\n")
    for name in ("own_robots", "own_broken"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
    assert message in refused(capsys, "run", word)


def test_names_go_before_files_without_an_ending(tmp_path):
    (tmp_path / "pendulum").write_text("")
    assert not is_own("pendulum", tmp_path)
    assert is_own("cart.xml", tmp_path)
    assert is_own("a.b:c", tmp_path)
    assert not is_own("playground:CartpoleBalance", tmp_path)
    assert not [name for name in (*TASKS, *robots.TASKS) if is_own(name, tmp_path)]


def test_a_robot_that_comes_with_the_package_is_run_by_its_name(capsys):
    main(["run", "robot:cartpole", *SMALL])
    assert "robot:cartpole (mujoco)" in capsys.readouterr().out
    assert results.load("runs/robot.cartpole-icem").actions.shape == (3, 1)
    assert "did you mean 'robot:cartpole'" in refused(capsys, "run", "robot:cartpol")


def test_new_writes_a_task_that_runs(capsys, tmp_path):
    main(["new", "cart.xml"])
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "mirrax run cart.xml --task cart_task.py"
    text = (tmp_path / "cart_task.py").read_text()
    assert "#   actuators, in the order of `action`: push -10 to 10\n" in text
    assert "slide (slide -2 to 2), hinge (hinge)" in text
    assert '        # "tip": -jnp.sum(data.sensor("tip").data ** 2),\n' in text
    assert '# keyframe = "up"' in text
    main([*said[-1].split()[1:], "--engine", "mujoco", *SMALL])
    assert results.load("runs/cart-icem").about["dt"] == pytest.approx(0.02)
    assert "out must be a file that does not exist yet, got 'cart_task.py'" in refused(capsys, "new", "cart.xml")
    assert (tmp_path / "cart_task.py").read_text() == text


def test_a_new_task_is_valid_whatever_a_file_has(tmp_path, capsys):
    names = ['a "quoted" one', "back\\slash", "ümlaut"]
    bodies = "".join(f"<body name='{name}'><joint name='{name}'/><geom size='0.1'/></body>" for name in names)
    motors = "".join(f"<motor joint='{name}'/>" for name in names)
    (tmp_path / "my robot.xml").write_text(
        f"<mujoco><worldbody>{bodies}</worldbody><actuator>{motors}</actuator></mujoco>", encoding="utf-8"
    )
    main(["new", "my robot.xml"])
    assert "mirrax run 'my robot.xml' --task my_robot_task.py" in capsys.readouterr().out
    found = load_task_file(pathlib.Path("my_robot_task.py"))
    assert found.model["action_range"] == dict.fromkeys(names, (-1.0, 1.0))
    assert found.model["control_dt"] == 0.02
    dynamics.check(dynamics.mujoco(tmp_path / "my robot.xml", **found.functions, **found.model))
    # without the comments, too: what is offered there works
    text = (tmp_path / "my_robot_task.py").read_text()
    offered = text[text.index("# def terminate") :].replace("# ", "").replace("#", "")
    (tmp_path / "whole.py").write_text(text.replace('        # "height"', '        "height"') + offered)
    whole = load_task_file(pathlib.Path("whole.py"))
    assert set(whole.functions) == {"reward", "terminate", "value", "reset"}
    dynamics.check(dynamics.mujoco(tmp_path / "my robot.xml", **whole.functions, **whole.model))


def test_the_usual_duration_of_a_step():
    for timestep, steps in (("0.002", 10), ("0.01", 2), ("0.05", 1)):
        model = dynamics.mujoco(CART.replace('"0.01"', f'"{timestep}"'), lambda data, action: 0.0)
        assert usual_substeps(model.robot.mj) == steps


def test_a_mesh_and_materials_are_in_the_report(tmp_path):
    (tmp_path / "tent.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n")
    text = CART.replace(
        "<worldbody>",
        '<asset><mesh name="tent" file="tent.obj" scale="0.2 0.2 0.2"/>'
        '<material name="red" rgba="0.9 0.1 0.1 1"/></asset><worldbody>',
    ).replace('<site name="tip"', '<geom type="mesh" mesh="tent" material="red" mass="0.01"/><site name="tip"')
    (tmp_path / "cart.xml").write_text(text)
    model = dynamics.mujoco(tmp_path / "cart.xml", lambda data, action: 0.0)
    mesh = next(shape for shape in dynamics.figure(model).shapes if shape.kind == "mesh")
    assert mesh.rgb == pytest.approx((0.9, 0.1, 0.1))
    assert (len(mesh.vertices), len(mesh.faces)) == (4, 4)
    main(["run", "cart.xml", "--task", "task.py", "--engine", "mujoco", *SMALL])
    found = json.loads((tmp_path / "runs" / "cart-icem" / "result.json").read_text())
    assert found["engine"] == "mujoco"


@pytest.mark.slow
def test_a_newcomers_path_leads_to_a_pole_that_is_up(tmp_path):
    page = (pathlib.Path(__file__).parent.parent / "docs" / "your_robot.md").read_text()
    robot, task = (re.search(rf"```{kind}\n(.*?)```", page, re.DOTALL)[1] for kind in ("xml", "python"))
    assert len((robot + task).splitlines()) <= 30
    assert f"in {len((robot + task).splitlines())} lines" in page
    (tmp_path / "cart.xml").write_text(robot)
    (tmp_path / "cart_task.py").write_text(task)
    main(["run", "cart.xml", "--task", "cart_task.py", "--engine", "mujoco"])  # mjx: the same, in minutes
    found = results.load("runs/cart-icem")
    height = found.terms[:, found.about["term_names"].index("height")]
    assert height[0] < -0.9
    assert height[-50:].min() > 0.9
