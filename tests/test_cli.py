"""The command line, as a user meets it: what it prints, writes and exits with."""

import importlib
import inspect
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mirrax
from mirrax import dynamics, planners, results
from mirrax.benchmarks import open_loop, tasks
from mirrax.benchmarks.task import Beyond, Task
from mirrax.benchmarks.tasks import TASKS
from mirrax.cli.algorithms import ALGORITHMS, file_of
from mirrax.cli.commands import BENCHMARKS
from mirrax.cli.flags import PLANNERS, planner_arguments, planner_flags
from mirrax.cli.main import main, parse
from mirrax.cli.results import _setting as setting_of
from mirrax.planners.options import OPTIONS

SMALL = ["--horizon", "4", "--num-samples", "32", "--steps", "5"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")


def fails(capsys, *arguments):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    captured = capsys.readouterr()
    assert "Return" not in captured.out
    return captured.err


def test_list_names_everything(capsys):
    main(["list"])
    out = capsys.readouterr().out
    assert all(name in out for name in (*PLANNERS, *TASKS))
    assert re.search(r"hopper +hop forward on one leg +icem +7 of 8 +\d+ +8 *\n", out)
    assert set(PLANNERS) <= set(planners.__all__)


def test_the_map_has_every_algorithm_in_its_place(capsys):
    main(["list", "--map"])
    out = capsys.readouterr().out
    assert {f"planners.{name}" for name in PLANNERS} <= set(ALGORITHMS)
    root = pathlib.Path(__file__).parent.parent
    page = (root / "docs" / "map.md").read_text()
    for name in ALGORITHMS:
        assert name in out
        assert (root / file_of(name)).exists()
        assert f"| `{name}" in page
    assert (
        out.index("over plans") < out.index("planners.cem") < out.index("over policies") < out.index("planners.ilqr")
    )


@pytest.mark.parametrize("planner", PLANNERS)
def test_a_run_leaves_its_results(capsys, tmp_path, planner):
    main(["run", "point_mass", "--planner", planner, *SMALL, "--seed", "3", "--out", str(tmp_path / "a" / "b")])
    out = capsys.readouterr().out
    assert "compiling" in out
    assert "ms/plan" in out
    assert "Return" in out
    result = json.loads((tmp_path / "a" / "b" / "result.json").read_text())
    assert result["model"] == "point_mass"
    assert result["planner"] == planner
    assert result["seed"] == 3
    assert result["settings"]["horizon"] == 4
    assert result["settings"]["num_samples"] == 32
    assert len(result["rewards"]) == len(result["plan_ms"]) == 5
    assert result["return"] == pytest.approx(sum(result["rewards"]))
    assert result["done"] is False
    if "evaluator" in result["parameters"]:
        assert result["parameters"]["num_samples"] in (32, [32, 25, 20])  # the last: icem's populations shrink
    assert {"family", "proposal", "policy"} & set(result["parameters"])
    assert result["compile_s"] > 0
    assert {"jax", "brax", "mirrax"} <= set(result["versions"])
    assert "device" in result
    assert "<svg" in (tmp_path / "a" / "b" / "report.html").read_text()


def test_the_same_seed_gives_the_same_run(tmp_path):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        main(["run", "pendulum", *SMALL, "--seed", seed, "--out", name])
    a, b, c = (json.loads((tmp_path / name / "result.json").read_text())["rewards"] for name in "abc")
    assert a == b != c


def test_results_have_a_place_of_their_own(tmp_path):
    main(["run", "pendulum", "--planner", "cem", *SMALL])
    assert (tmp_path / "runs" / "pendulum-cem" / "report.html").exists()


def test_an_episode_that_ends_is_done_and_says_so_first(tmp_path, capsys):
    # two samples of a wild plan: the cart soon leaves its track
    main(["run", "cartpole", "--horizon", "2", "--num-samples", "2", "--std", "50", "--steps", "400", "--out", "x"])
    result = json.loads((tmp_path / "x" / "result.json").read_text())
    assert result["done"] is True
    assert len(result["rewards"]) < 400
    summary = capsys.readouterr().out.split("400 cartpole")[-1].splitlines()[1:]
    told = f"Ended early after {len(result['rewards'])} of 400 steps: the cart left its track"
    assert summary[0].split() == told.split()
    assert results.load(tmp_path / "x").end_reason == "the cart left its track"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "nosuch"), "unknown model 'nosuch'; choose one of: acrobot, ant, cartpole"),
        (("run", "pendulum", "--planner", "nosuch"), "unknown planner 'nosuch'; choose one of: random_shooting"),
        (("run", "pendulum", "--horizon", "0"), "horizon must be an integer of at least 1, got 0"),
        (
            ("run", "pendulum", "--planner", "mppi", "--num-samples", "1"),
            "num_samples must be an integer of at least 2, got 1",
        ),
        (("run", "hoper"), "unknown model 'hoper'; did you mean 'hopper'? There are: acrobot, ant"),
        (("run", "point_mass", "--planner", "cem", "--std", "0,0"), "std must be finite and > 0, got (0.0, 0.0)"),
        (("run", "pendulum", "--planner", "cem", "--num-samples", "8,4"), "num_samples must be an integer"),
        (("run", "pendulum", "--steps", "0"), "steps must be an integer of at least 1, got 0"),
        (("run", "pendulum", "--temperature", "nan"), "temperature must be finite and > 0, got nan"),
        (("run", "pendulum", "--std", "-1"), "std must be finite and > 0, got -1.0"),
        (("run", "pendulum", "--devices", "0"), "devices must lie between 1 and "),
        (("run", "pendulum", "--devices", "20000"), "got 20000"),
        (("run", "pendulum", "--seed", "4294967296"), "seed must lie between 0 and 4294967295, got 4294967296"),
        (("run", "pendulum", "--planner", "mppi", "--num-samples", "1000000000000"), "this does not fit the machine"),
        (("run", "pendulum", "--backend", "mjx"), "backend chooses the physics of a Brax environment"),
        (("run", "ant", "--backend", "nosuch"), "unknown Brax backend 'nosuch'; choose one of: spring"),
        (("run", "pendulum", "--planner", "cem", "--temperature", "1"), "--temperature is not an option of cem"),
        (("run", "pendulum", "--planner", "mppi", "--temperature", "1", "--target-ess", "0.1"), "give one of them"),
        (
            ("run", "pendulum", "--planner", "mppi", "--risk", "cvar"),
            "risk cvar needs a number, as in cvar:0.1, got 'cvar'",
        ),
        (
            ("run", "pendulum", "--planner", "mppi", "--risk", "median"),
            "risk must be one of mean, worst, best, entropic:",
        ),
        (("run", "acrobot", "--rho", "0.1"), "ilqr is the default planner of acrobot; choose another"),
        (
            ("run", "pendulum", "--planner", "evolution", "--strategy", "CMA"),
            "strategy must be a class or an instance",
        ),
        (("run", "pendulum", "--num-samples", "None"), "--num-samples must have a value, got None"),
        (("run", "pendulum", "--planner", "mppi", "--num-knots", "99"), "num_knots must be <= horizon (50), got 99"),
        (("run", "pendulum", "--out", "file/below"), "out must be a folder to write to, got 'file/below': Not a dir"),
        (("run", "pendulum", "--out", "/proc/nowhere"), "/proc/nowhere"),
    ],
)
def test_a_mistake_is_one_clear_line(capsys, tmp_path, arguments, message):
    (tmp_path / "file").write_text("")
    error = fails(capsys, *arguments)
    assert error.startswith("mirrax: error: ")
    assert error.count("\n") == 1
    assert message in error


def test_mistakes_are_told_before_anything_is_measured(capsys):
    with pytest.raises(SystemExit):
        main(["run", "pendulum", "--planner", "mppi", "--horizon", "0"])
    assert capsys.readouterr().out == ""


def test_what_is_said_of_a_command_is_about_that_command(capsys):
    for words in (["run", "a", "--frob"], ["run", "a", "--horizon", "x"], ["run", "a", "--horizon"], ["list", "x"]):
        with pytest.raises(SystemExit):
            main(words)
        assert f"mirrax {words[0]} --help" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["compare", "--outt", "x"])
    assert "runs/MODEL-PLANNER" not in capsys.readouterr().err


def test_several_numbers_have_commas_between_them(capsys, tmp_path):
    words = ["--std", "0,0.5", "point_mass", "--planner", "cem", "--devices", "1"]
    main(["run", *words, *SMALL, "--out", "x"])
    found = results.load(tmp_path / "x")
    assert found.about["settings"]["std"] == [0.0, 0.5]
    np.testing.assert_array_equal(found.actions[:, 0], 0.0)
    assert (found.actions[:, 1] != 0.0).any()
    command = parse(["run", "point_mass", "--planner", "dial", "--num-samples", "64,32", "--num-iterations", "2"])
    assert planner_arguments("dial", command.planner_options)["num_samples"] == (64, 32)
    assert "several" in help_of(capsys, "run", "--planner", "vi_mpc")
    assert "none (fixed)" not in help_of(capsys, "run", "--planner", "vi_mpc")
    assert "none (fixed)" in help_of(capsys, "run", "--planner", "mppi")


def test_plans_far_wider_than_the_range_of_actions_are_worth_a_word(capsys):
    main(["run", "pendulum", "--planner", "mppi", *SMALL, "--std", "1e30"])
    captured = capsys.readouterr()
    assert captured.err == "std of 1e+30 is far beyond the range [-1, 1] of actions\n"
    assert "devices: 1 of " in captured.out
    main(["run", "pendulum", "--planner", "mppi", *SMALL, "--std", "5"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "arguments", [("run",), ("run", "pendulum", "--horizon", "abc"), ("frob",), ("run", "a", "--frob")]
)
def test_what_does_not_parse_is_explained(capsys, arguments):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err


def test_runs_are_compared(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    words = ["run", "pendulum", "--planner", "mppi", "--horizon", "4", "--num-samples", "16", "--devices", "1"]
    for name, seed, steps in (("a/x", 0, 2), ("b/x", 1, 3)):
        main([*words, "--steps", str(steps), "--seed", str(seed), "--out", str(tmp_path / name)])
    capsys.readouterr()
    main(["compare", str(tmp_path / "a" / "x"), str(tmp_path / "b" / "x")])
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    first, second = (row[:5] for row in rows[1:3])
    assert (first, second) == (["a/x", "pendulum", "mppi", "0", "2"], ["b/x", "pendulum", "mppi", "1", "3"])
    assert "steps: a/x 2, b/x 3" in out  # what differs in the settings
    assert "horizon" not in out
    page = (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert "2 runs" in page
    assert re.findall("<h3>(.*?)</h3>", page)[:3] == ["Return", "Reward", "Planning time"]
    assert page.count('"value":"b/x"') > 3
    found = [results.load(tmp_path / name / "x") for name in "ab"]
    assert f"{found[0].rewards.sum():.1f}" in page
    main(["compare", str(tmp_path / "a" / "x"), str(tmp_path / "b" / "x"), "--out", str(tmp_path / "other.html")])
    assert (tmp_path / "other.html").exists()


def run_of(folder, *, name="cem", temperature=1.0, num_steps=3, elbo=-np.inf):
    """The results of a run that nobody has waited for."""
    about = {"model": "inverted_double_pendulum", "backend": "generalized", "planner": name, "seed": 0, "dt": 0.05}
    about |= {"num_steps": num_steps, "settings": {"temperature": temperature}, "versions": {}, "device": "cpu × 1"}
    ones = np.ones(num_steps)
    made = results.Results(
        about | {"compile_s": 1.0},
        rewards=ones, ended=ones < 0, actions=ones[:, None], actuators=ones[:, None], plan_ms=ones,
        states=np.zeros((num_steps + 1, 2)), plans=np.zeros((0, 4, 1)), plan_steps=np.zeros(0, int),
        diagnostics={"ess": np.arange(num_steps) * 1.0, "num_invalid": 0.0 * ones, "elbo": elbo + np.cumsum(ones)},
    )  # fmt: skip
    folder.mkdir()
    results.results.save(folder, made)
    return str(folder)


def test_tables_of_runs_break_no_word_and_numbers_are_compared_exactly(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    folders = [run_of(tmp_path / name, temperature=value) for name, value in (("a", 1234567.0), ("b", 1234568.0))]
    main(["compare", *folders])
    out = capsys.readouterr().out
    assert "temperature: a 1234567, b 1234568" in out
    assert all(len(line) <= 80 for line in out.splitlines()[:-2])
    words = out.split()
    assert words.count("inverted_double_pendulum") == words.count("(generalized)") == 2
    assert words.count("run") > 1, "one table below the other"
    page = (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert "Always the same: invalid plans 0, evidence lower bound -inf." in page
    assert re.findall("<h3>(.*?)</h3>", page) == ["Return", "Reward", "Planning time", "Effective sample size"]


def test_a_run_without_a_line_on_a_chart_is_told(tmp_path):
    main(["compare", run_of(tmp_path / "a"), run_of(tmp_path / "b", elbo=1.0)])
    page = (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert "higher is nearer to the posterior. a: -inf." in page
    assert "Always the same: invalid plans 0." in page


def test_what_cannot_be_compared_is_one_line(tmp_path, capsys):
    assert "compare needs the folders of two runs at least, got 0" in fails(capsys, "compare")
    assert "compare needs the folders of two runs at least, got 1" in fails(capsys, "compare", str(tmp_path))
    assert "path must be a folder with results of a run" in fails(capsys, "compare", str(tmp_path), str(tmp_path))
    folder = tmp_path / "x"
    main(["run", "pendulum", "--horizon", "3", "--steps", "1", "--out", str(folder)])
    capsys.readouterr()
    for out, message in (
        (tmp_path, "which is a folder"),
        (tmp_path / "no" / "x", "must lie in a folder that exists"),
    ):
        assert message in fails(capsys, "compare", str(folder), str(folder), "--out", str(out))


def test_it_tells_its_version(capsys):
    main(["--version"])
    assert capsys.readouterr().out == f"mirrax {mirrax.__version__}\n"


def help_of(capsys, *arguments, word="--help"):
    with pytest.raises(SystemExit) as exit_:
        main([*arguments, word])
    assert exit_.value.code == 0
    return capsys.readouterr().out


def test_help_is_short_and_says_where_more_is(capsys):
    out = help_of(capsys, "run")
    for option in ("--planner", "--horizon", "--backend", "--devices", "--out", "--help-all"):
        assert option in out
    assert len(out.splitlines()) < 60
    assert "--num-samples" not in out
    out = help_of(capsys, "run", "--planner", "mppi")
    assert "mppi options" in out
    assert "--temperature" in out
    assert "--rollout-chunk-size" not in out
    assert "--help-all" in out


def test_all_of_the_help_explains_every_option(capsys):
    out = help_of(capsys, "run", word="--help-all")
    for option in ("--planner", "--horizon", "--num-samples", "--temperature", "--backend", "--devices", "--out"):
        assert option in out
    assert all(option.flag in out for option in planner_flags())
    assert "(cem, icem)" in out  # who takes it


@pytest.mark.parametrize("planner", PLANNERS)
def test_the_help_of_a_planner_has_its_own_options_and_no_other(capsys, planner):
    """Every argument of the factory that a word can say, and all that planners share."""
    out = help_of(capsys, "run", "--planner", planner, word="--help-all")
    own, everyone = planner_flags(planner), planner_flags()
    assert all(option.flag in out for option in own)
    foreign = {option.flag for option in everyone} - {option.flag for option in own}
    assert not [flag for flag in foreign if f"{flag} " in out]
    factory = inspect.signature(getattr(planners, planner)).parameters
    left_out = set(factory) - {option.name for option in own}
    python_only = {name for name, option in OPTIONS.items() if option.kind == "object" and not option.word}
    assert left_out <= {"horizon", "options", *python_only}
    if "options" in factory:
        assert {option.name for option in own} >= {*planners.LoopOptions.__annotations__} - python_only


def test_the_help_of_a_planner_that_there_is_not_is_a_mistake(capsys):
    assert "unknown planner 'nosuch'; choose one of: " in fails(capsys, "run", "--planner", "nosuch", "--help")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_help_of_a_benchmark_says_what_it_measures(capsys, name):
    out = help_of(capsys, "bench", name)
    assert f"usage: mirrax bench {name} " in out
    summary = inspect.getdoc(importlib.import_module(f"mirrax.benchmarks.{name}"))
    assert summary is not None
    assert summary.split("\n\n")[0].split(",")[0] in out


def test_options_of_every_type_arrive(capsys, tmp_path):
    words = ["--num-knots", "3", "--interpolation", "linear", "--clip-plans", "True", "--risk", "cvar:0.5"]
    words += ["--num-scenarios", "2", "--tail", "zero", "--inflation", "1.5", "--noise-exponent", "1", "--out", "x"]
    main(["run", "pendulum", "--planner", "cem", *SMALL, *words])
    assert "risk ConditionalValueAtRisk (alpha 0.5)" in capsys.readouterr().out.replace("\n", " ")
    parameters = json.loads((tmp_path / "x" / "result.json").read_text())["parameters"]
    assert parameters["evaluator"]["clip_plans"] is True
    assert parameters["evaluator"]["rollouts"]["num_scenarios"] == 2
    assert parameters["evaluator"]["rollouts"]["risk"] == {"kind": "ConditionalValueAtRisk", "alpha": 0.5}
    assert parameters["warm_start"]["inflation"] == 1.5
    assert parameters["family"]["kind"] == "SplinedFamily"
    assert parameters["family"]["knots"]["continuous"]["noise_exponent"] == 1.0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--horizon", "3.5"], "--horizon: it must be an integer, got '3.5'"),
        (["--std", "a"], "--std: it must be a number, got 'a'"),
        (["--include-mode", "no"], "--include-mode: it must be True or False, got 'no'"),
    ],
)
def test_a_word_of_another_type_is_told_so(capsys, words, message):
    assert message in fails(capsys, "run", "pendulum", *words)


def test_what_is_on_by_default_can_be_switched_off(tmp_path):
    words = ["--noise-exponent", "None", "--out", "x"]
    main(["run", "pendulum", "--planner", "vi_mpc", *SMALL, *words])
    parameters = json.loads((tmp_path / "x" / "result.json").read_text())["parameters"]
    assert parameters["family"]["continuous"]["noise_exponent"] is None


def interrupted(folder, model, word, out="x"):
    """Run until `word` is printed, then press Ctrl-C a little later."""
    command = [sys.executable, "-m", "mirrax", "run", model, "--horizon", "4", "--num-samples", "32"]
    process = subprocess.Popen(
        [*command, "--steps", "1000000", "--out", out],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    assert any(word in line for line in process.stdout)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors


def test_an_interruption_while_compiling_ends_at_once_and_writes_nothing(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "result.json").write_text("an earlier one")
    interrupted(tmp_path, "hopper", "compiling")
    assert (tmp_path / "x" / "result.json").read_text() == "an earlier one"


def test_an_interruption_while_compiling_leaves_no_folder_that_it_made(tmp_path):
    (tmp_path / "a").mkdir()
    interrupted(tmp_path, "hopper", "compiling", out="a/b/c")
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["a"]
    assert not [*(tmp_path / "a").iterdir()]


def test_an_interrupted_run_writes_what_there_is(tmp_path):
    interrupted(tmp_path, "pendulum", "compiled in")
    result = json.loads((tmp_path / "x" / "result.json").read_text())
    assert result["interrupted"] is True
    assert 0 < len(result["rewards"]) < 1_000_000
    assert len(result["plan_ms"]) == len(result["rewards"])
    assert (tmp_path / "x" / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "heading"),
    [
        (["speed", "--model", "pendulum", "--compilations", "1", "--rounds", "2"], "bare scan"),
        (["agreement", "--models", "pendulum", "--horizon", "4", "--reverse"], "useful"),
        (["derivatives", "--models", "pendulum", "--problems", "linear 2x2x50", "--rounds", "1"], "linear 2x2x50"),
        (["blocks", "--models", "pendulum", "--devices", "2", "--rounds", "2"], "2 × auto"),
        (
            ["open_loop", "--model", "pendulum", "--planners", "cem:std=0.5", "--num-iterations", "2"],
            "best plan tried",
        ),
    ],
)
def test_benchmarks_print_their_tables(tmp_path, arguments, heading):
    small = ["--num-samples", "16", "--horizon", "4"]
    # on its own: a benchmark forgets what was compiled, which the next tests would have to compile again
    command = [sys.executable, "-m", "mirrax", "bench", *arguments, *small]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert heading in done.stdout
    assert "| pendulum" in done.stdout or "| cem" in done.stdout


def test_the_returns_of_planners_are_kept_and_drawn(tmp_path):
    """A second run measures nothing that is known; budgets are kept by planners with populations of any kind."""
    chosen = ["--models", "pendulum", "--planners", "cem", "icem:noise_exponent=None"]
    words = [*chosen, "--budgets", "24", "--seeds", "2", "--steps", "3"]
    command = [sys.executable, "-m", "mirrax", "bench", "returns", *words, "--out", "found"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "| icem" in done.stdout
    records = json.loads((tmp_path / "found" / "pendulum.json").read_text())
    assert [record["planner"] for record in records] == ["cem", "icem:noise_exponent=None"]
    assert all(0.8 * 24 * 50 < record["model_steps"] <= 24 * 50 for record in records)
    assert all(len(record["returns"]) == 2 for record in records)
    assert "<svg" in (tmp_path / "found" / "returns.svg").read_text()
    records[0]["returns"] = [1.0, 3.0]
    records[1] |= {"returns": [5.0, 7.0], "fingerprint": "of another planner of that name"}
    (tmp_path / "found" / "pendulum.json").write_text(json.dumps(records))
    again = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "2.0 ± 12.7" in again.stdout  # mean and t₁(0.975) · s/√2
    assert "6.0 ± 12.7" not in again.stdout
    records[0]["returns"] = [4.0]
    (tmp_path / "found" / "pendulum.json").write_text(json.dumps(records[:1]))
    drawn = ["1" if command[number - 1] == "--seeds" else word for number, word in enumerate(command)]
    once = subprocess.run([*drawn, "--draw-only"], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert " 4.0 |" in once.stdout  # of a single seed there is no interval
    assert "nan" not in once.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["returns", "--models", "nosuch", "--out", "nowhere"], "unknown model 'nosuch'"),
        (["returns", "--planners", "nosuch"], "unknown planner 'nosuch'; choose one of: random_shooting"),
        (["returns", "--budgets", "2"], "budgets must be at least 8 for cem with 4 iterations, got 2"),
        (["returns", "--planners", "cem:0.2"], "are written name=value, got '0.2' in 'cem:0.2'"),
        (["returns", "--planners", "cem:nosuch=1"], "cem takes no nosuch here, got 'cem:nosuch=1'"),
        (["returns", "--planners", "cem:std=-1"], "std must be finite and > 0, got -1"),
        (["open_loop", "--planners", "nosuch", "--model", "pendulum"], "unknown planner 'nosuch'"),
        (["open_loop", "--model", "nosuch"], "unknown model 'nosuch'"),
        (["returns", "--planners", "cem:num_iterations=0"], "num_iterations must be an integer of at least 1, got 0"),
        (["open_loop", "--model", "pendulum", "--planners", "cem:num_samples=5"], "cem takes no num_samples here"),
        (["open_loop", "--model", "pendulum", "--planners"], "planners must be at least one, got none"),
        (["returns", "--models"], "models must be at least one, got none"),
        (["returns", "--seeds", "0"], "seeds must be an integer of at least 1, got 0"),
        (["blocks", "--models", "nosuch"], "unknown model 'nosuch'"),
        (["blocks", "--models", "pendulum:spring"], "pendulum has none, got 'spring'"),
        (["blocks", "--rounds", "0"], "rounds must be an integer of at least 1, got 0"),
        (["speed", "--model", "nosuch"], "unknown model 'nosuch'"),
        (["derivatives", "--models", "nosuch"], "unknown model 'nosuch'"),
        (["derivatives", "--problems", "nosuch"], "unknown problem 'nosuch'; choose one of: trajax's cart-pole"),
        (["derivatives", "--horizon", "0"], "horizon must be an integer of at least 1, got 0"),
        (["speed", "--num-samples", "1"], "num_samples must be an integer of at least 2, got 1"),
        (["returns", "--planners", "cem:num_knots=abc"], "num_knots must be an integer of at least 1, got 'abc'"),
        (["returns", "--planners", "cem:refine={'a': 1}"], "refine must have options of gradient, got 'a'"),
        (["open_loop", "--num-iterations", "0"], "num_iterations must be an integer of at least 1, got 0"),
        (
            ["open_loop", "--planners", "ilqr", "--num-samples", "2", "--num-iterations", "1"],
            "least 20 for ilqr, got 2",
        ),
        (["busy", "--planners", "vi_mpc:std=-1"], "std must be finite and > 0, got -1"),
        (["agreement", "--models", "pendulum:spring"], "pendulum has none, got 'spring'"),
        (["--models", "pendulum"], "bench needs a benchmark's name first, one of speed, busy,"),
        (["nosuch"], "suite, learning, amortised, policies, values, got 'nosuch'"),
        (["faults", "--planner", "nosuch"], "unknown planner 'nosuch'; choose one of: random_shooting"),
        (["contention", "--runs", "cartpole:nosuch"], "unknown planner 'nosuch'; choose one of: random_shooting"),
        (["contention", "--runs", "nosuch:mppi"], "unknown model 'nosuch'; choose one of"),
        (["contention", "--runs", "pendulum"], "plans to spread, got 'pendulum': ilqr has none"),
        (["faults", "--kills", "-1"], "kills must be an integer of at least 0, got -1"),
        ([], "suite, learning, amortised, policies, values, got nothing"),
    ],
)
def test_a_mistake_in_a_benchmark_is_one_clear_line(capsys, monkeypatch, tmp_path, words, message):
    monkeypatch.chdir(tmp_path)
    error = fails(capsys, "bench", *words)
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


class Position(NamedTuple):
    pos: Any


class Pipeline(NamedTuple):
    x: Position


class Body(NamedTuple):
    pipeline_state: Pipeline


def test_the_hopper_of_open_loop_plans_earns_its_place(monkeypatch):
    """Its position less half its distance from a height of 1 m, which counts for 1 m at most."""

    def rise(key, state, action):
        return Body(Pipeline(Position(state.pipeline_state.x.pos + action))), 7.0, 1.0

    monkeypatch.setattr(dynamics, "brax", lambda *_, **__: dynamics.from_function(rise, 3, dt=0.04))
    model = open_loop.hopper()
    assert dynamics.steps(model, 0.4) == 10
    at_rest = Body(Pipeline(Position(jnp.array([[0.0, 0.0, 1.0]]))))
    for height, reward in ((0.0, 2.0), (-0.5, 1.75), (0.4, 1.8), (3.0, 1.5)):
        step = model.step(jax.random.key(0), at_rest, jnp.array([2.0, 0.0, height]))
        np.testing.assert_allclose(step.reward, reward, rtol=1e-6)
        assert step.discount == 1.0


def test_the_value_beyond_the_horizon_can_be_left_out(monkeypatch, tmp_path, capsys):
    def value(model):
        return lambda state: 1000.0 * state[1]  # turn as fast as can be

    task = Task("stand", lambda backend: dynamics.pendulum(), beyond=Beyond("turn", value))
    monkeypatch.setattr(tasks, "TASKS", {"pendulum": task})
    actions = {}
    for words in ((), ("--no-beyond",)):
        main(["run", "pendulum", *SMALL, "--out", "x", *words])
        told = re.search(r"Beyond the horizon +the value of turn", capsys.readouterr().out)
        assert (told is None) == bool(words)
        result = json.loads((tmp_path / "x" / "result.json").read_text())
        actions[result["settings"].get("beyond")] = results.load("x").actions
    assert actions["turn"].min() > 0.3
    assert actions[None].min() < 0.1


def test_settings_read_as_they_were_given():
    settings = {"std": 1e6 + 1.0, "bounds": "none", "std_min": 1e-5, "samples": [64, 32]}
    assert [setting_of(name, value) for name, value in settings.items()] == [
        *("std 1000001", "bounds none", "std_min 1e-5", "samples [64, 32]"),
    ]


def test_rest_of_a_task_can_be_changed_and_left_out(monkeypatch, tmp_path, capsys):
    options = {"rest_steps": 2, "rest_speed": 0.5, "rest_distance": 0.1}
    task = Task("stand", lambda backend: dynamics.pendulum(), horizon=4, options=options)
    monkeypatch.setattr(tasks, "TASKS", {"pendulum": task})
    settings = []
    for words in (("--rest-speed", "any"), ("--rest-steps", "None")):
        main(["run", "pendulum", "--num-samples", "32", "--steps", "2", "--out", "x", *words])
        settings.append(json.loads((tmp_path / "x" / "result.json").read_text())["settings"])
    assert {name: settings[0][name] for name in options} == options | {"rest_speed": "any"}
    assert {name: settings[1][name] for name in options if name in settings[1]} == {"rest_steps": None}
    assert "no room" not in capsys.readouterr().err
    for horizon, kept in (("3", options), ("2", {})):  # another horizon keeps it where it can
        words = ["--num-samples", "32", "--steps", "2", "--out", "x", "--horizon", horizon]
        main(["run", "pendulum", *words])
        settings = json.loads((tmp_path / "x" / "result.json").read_text())["settings"]
        assert {name: settings[name] for name in options if name in settings} == kept
    assert "--horizon 2 has no room for the 2 steps of coming to rest" in capsys.readouterr().err


def test_words_that_stand_for_numbers_arrive():
    for planner, word in (("vi_mpc", "pink"), ("ilqr", "brownian")):
        command = parse(["run", "point_mass", "--planner", planner, "--noise-exponent", word])
        assert planner_arguments(planner, command.planner_options)["noise_exponent"] == word
    with pytest.raises(ValueError, match=r"noise_exponent must be a number .*, got 'pink'"):
        planners.mppi(4, noise_exponent="pink")


def test_a_reader_that_has_seen_enough_is_no_error():
    program = "from mirrax.cli import main; main(['run', '--help'])"
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run([sys.executable, "-c", program], stdout=writing, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writing)
    assert ended.returncode == 1
    assert b"Traceback" not in ended.stderr
