"""Runs that nothing can spoil: what they leave whenever they are ended, how they go on, and how they are read."""

import errno
import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mirrax
from mirrax import results
from mirrax.benchmarks import faults
from mirrax.cli.main import main
from mirrax.results.files import claimed, write_whole
from mirrax.results.journal import FOLDER, Journal, make_room

WORDS = ("pendulum", "--planner", "mppi", "--horizon", "6", "--num-samples", "32", "--devices", "1")
STEP = {"reward": 0.0, "ended": False, "plan_ms": 0.0, "action": np.zeros(2, np.float32), "ess": np.float32(0.0)}
STEP |= {"coordinates": np.zeros(3, np.float32), "actuators": np.zeros(2, np.float32)}
KEPT = ("dt", "settings", "parameters", "actuator_limits")  # of result.json: what was set, not what happened
HEADER = {"run": "a", "start": {"coordinates": [0.5, np.nan, 0.0]}, "num_steps": 9, "dt": 0.1}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def step(t):
    value = np.float32(1.0 / (t + 3))
    return STEP | {"reward": float(value), "action": np.full(2, value), "coordinates": np.full(3, t, np.float32)}


@pytest.fixture
def journal():
    """Makes journals of runs under way, which end with the test."""
    all_made = []

    def make(out, num_steps, every=2):
        out.mkdir(exist_ok=True)
        made = Journal.create(out, HEADER, STEP, {"plan": np.zeros((4, 2), np.float32)})
        all_made.append(made)
        for t in range(num_steps):
            made.append(step(t), {"plan": np.full((4, 2), t, np.float32)} if t % every == 0 else None)
            made.save(after(t))
        return made

    yield make
    for made in all_made:
        made.close()


def after(t):
    """State and belief: numbers of several types, and a key."""
    return {"x": jnp.full(3, t, jnp.bfloat16), "n": jnp.array(t), "key": jax.random.key(t), "none": None}


def test_files_are_whole_or_the_old_ones(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    write_whole({one: "1", other: b"2"})
    assert (one.read_text(), other.read_text()) == ("1", "2")
    other.unlink()
    other.mkdir()  # what cannot be replaced
    with pytest.raises(OSError):  # noqa: PT011
        write_whole({tmp_path / "nowhere" / "x": "", one: "3"})
    assert one.read_text() == "1"
    with pytest.raises(FileNotFoundError, match=r"nowhere/x'$"):
        write_whole({tmp_path / "nowhere" / "x": ""})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "other"]


def test_steps_are_kept_as_they_happen_and_read_without_loss(tmp_path, journal):
    journal(tmp_path / "x", 5)
    found = results.load(tmp_path / "x")
    assert found.num_steps == 5
    np.testing.assert_array_equal(found.rewards, [step(t)["reward"] for t in range(5)])
    np.testing.assert_array_equal(found.states, [[0.5, np.nan, 0.0], *([t] * 3 for t in range(5))])
    np.testing.assert_array_equal(found.plan_steps, [0, 2, 4])
    np.testing.assert_array_equal(found.plans[:, 0, 0], [0, 2, 4])
    np.testing.assert_allclose(found.times, 0.1 * np.arange(6))
    assert found.about == {"run": "a", "num_steps": 9, "dt": 0.1}
    assert found.actions.dtype == np.float32
    assert list(found.diagnostics) == ["ess"]
    table = found.table()
    assert all(column.shape == (5,) for column in table.values())
    np.testing.assert_array_equal(table["action_1"], found.actions[:, 1])
    np.testing.assert_array_equal(table["state: 2"], np.arange(5))
    np.testing.assert_allclose(table["return"][-1], found.rewards.sum())


@pytest.mark.parametrize("torn", ["step", "before the checkpoint", "within the checkpoint"])
def test_a_step_that_was_not_completed_is_done_once_more(tmp_path, torn, journal):
    """Killed within the writing of a step, or after it and before what to go on from."""
    made = journal(tmp_path / "x", 4)
    if torn == "step":
        with (made.folder / "steps.bin").open("ab") as file:
            file.write(b"half a step")
    else:
        made.append(step(4), {"plan": np.zeros((4, 2), np.float32)})
    if torn == "within the checkpoint":
        with (made.folder / "checkpoint-1.bin").open("r+b") as file:
            file.seek(40)
            file.write(b"torn")
    made.close()
    again = Journal.open(tmp_path / "x")
    restored = again.restore(after(0))
    assert again.num_steps == 4
    for leaf, expected in zip(jax.tree.leaves(restored), jax.tree.leaves(after(3)), strict=True):
        assert leaf.dtype == expected.dtype
        assert (leaf == expected).all()
    again.append(step(4), {"plan": np.full((4, 2), 4, np.float32)})
    again.close()
    whole = journal(tmp_path / "whole", 5)
    assert again.steps().tobytes() == whole.steps().tobytes()
    assert again.plans().tobytes() == whole.plans().tobytes()


@pytest.mark.parametrize("spoilt", [b"", bytes(500), b"torn" * 100])
def test_steps_without_a_whole_checkpoint_are_not_thrown_away(tmp_path, journal, spoilt):
    """As after a loss of power: they can be read, and not gone on from."""
    made = journal(tmp_path / "x", 4)
    for name in ("checkpoint-0.bin", "checkpoint-1.bin"):
        (made.folder / name).write_bytes(spoilt)
    with pytest.raises(ValueError, match=r"must be whole to go on from, got none that is; its 4 steps can be read"):
        Journal.open(tmp_path / "x").restore(after(0))
    assert results.load(tmp_path / "x").num_steps == 4


def test_a_run_killed_within_its_first_step_starts_anew(tmp_path, journal):
    made = journal(tmp_path / "x", 0)
    made.append(step(0), {"plan": np.zeros((4, 2), np.float32)})
    start_again = after(0)
    assert made.restore(start_again) is start_again
    assert results.load(tmp_path / "x").num_steps == len(made.plans()) == 0


def test_files_that_somebody_removes_are_missed(tmp_path, journal):
    made = journal(tmp_path / "x", 3)
    made.check()
    shutil.rmtree(made.folder)
    with pytest.raises(OSError, match=r"steps.bin has 0 of 3 steps"):
        made.check()


@pytest.mark.parametrize("other", [jnp.zeros(4, jnp.bfloat16), jnp.zeros(3, jnp.float32)])
def test_what_is_gone_on_from_is_of_the_same_planner_and_model(tmp_path, journal, other):
    made = journal(tmp_path / "x", 2)
    with pytest.raises(ValueError, match="the checkpoint must be of this planner and model, got arrays"):
        made.restore(after(0) | {"x": other})


def test_two_runs_do_not_share_a_folder(tmp_path, capsys):
    with claimed(tmp_path):
        with pytest.raises(ValueError, match="another run is under way in "), claimed(tmp_path):
            pass
        with pytest.raises(SystemExit):
            main(["run", *WORDS, "--out", str(tmp_path)])
    assert "another run is under way in " in capsys.readouterr().err
    with claimed(tmp_path):
        pass


def test_a_new_run_moves_what_another_has_left(tmp_path, journal):
    out = tmp_path / "x"
    journal(out, 3)
    (out / "unfinished-1").mkdir()
    assert make_room(out) == out / "unfinished-2"
    assert results.load(out / "unfinished-2").num_steps == 3
    assert not (out / FOLDER).exists()
    journal(out, 3)
    (out / "result.json").write_text(json.dumps({"run": "a"}))  # it was interrupted, and can go on
    assert make_room(out) == out / "unfinished-3"
    journal(out, HEADER["num_steps"])  # killed while it was cleaning up
    assert make_room(out) is None
    assert not (out / FOLDER).exists()
    journal(out, 0)
    assert make_room(out) is None
    made = journal(out, 2)
    (made.folder / "run.json").write_text("torn")
    assert make_room(out) == out / "unfinished-4"
    assert (out / "unfinished-4" / FOLDER / "steps.bin").exists()


def test_there_is_nothing_to_read(tmp_path):
    with pytest.raises(ValueError, match="path must be a folder with results of a run, got "):
        results.load(tmp_path)
    with pytest.raises(ValueError, match="path must be a folder with an unfinished run, got 'nowhere'"):
        results.load("nowhere", unfinished=True)
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(ValueError, match="must be of schema 3, got 1"):
        results.load(tmp_path)


def start(*words, folder, limit=None, word=None):
    """A process that runs; wait until it says the word."""
    code = faults.LIMITED.format(limit=-1 if limit is None else limit)
    env = os.environ | {"PYTHONUNBUFFERED": "1", "JAX_ENABLE_COMPILATION_CACHE": "0"}
    process = subprocess.Popen(
        [sys.executable, "-c", code, "run", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder, env=env,
    )  # fmt: skip
    if word is not None:
        assert process.stdout is not None
        assert any(word in line for line in process.stdout)
    return process


def under_way(folder, *, num_steps=3):
    """A process that runs for long, and has some steps behind it."""
    process = start(*WORDS, "--steps", "100000", "--out", "x", folder=folder)
    while process.poll() is None:
        try:
            if results.load(folder / "x", unfinished=True).num_steps >= num_steps:
                return process
        except ValueError:  # not yet
            pass
        time.sleep(0.05)
    raise AssertionError(process.communicate())


def same(one, other):
    assert one.num_steps == other.num_steps
    for name in ("rewards", "ended", "actions", "states", "plans", "plan_steps", "poses", "paths"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name, values in one.diagnostics.items():
        np.testing.assert_array_equal(values, other.diagnostics[name])


def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path, capsys):
    process = under_way(tmp_path)
    process.kill()
    process.communicate()
    kept = results.load("x")
    assert 0 < kept.num_steps < 100_000
    steps = str(kept.num_steps + 5)
    main(["run", "--resume", "x", "--steps", steps])
    main(["run", *WORDS, "--steps", steps, "--out", "y"])
    same(results.load("x"), results.load("y"))
    assert not (tmp_path / "x" / FOLDER).exists()
    assert results.load("x").about["num_steps"] == int(steps)
    with pytest.raises(SystemExit):
        main(["run", "--resume", "x"])
    assert f"x has all of its {steps} steps: there is nothing to go on from" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["run", "--resume", "nowhere"])
    assert "resume must be the folder of an unfinished run, got 'nowhere'" in capsys.readouterr().err


@pytest.mark.parametrize("planner", [WORDS, ("pendulum", "--planner", "ilqr", "--horizon", "6")])
def test_a_run_goes_on_between_two_plannings(planner, monkeypatch, capsys):
    words = ("run", *planner, "--replan-every", "4")
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "remove", lambda self: self.close())  # as if the process had been killed
        main([*words, "--steps", "6", "--out", "x"])
    main(["run", "--resume", "x", "--steps", "11"])
    main([*words, "--steps", "11", "--out", "y"])
    same(results.load("x"), results.load("y"))
    found = results.load("y")
    assert found.about["settings"]["replan_every"] == 4
    best = found.diagnostics["best_return"]
    np.testing.assert_array_equal(best, best[[0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8]])
    assert len(set(best)) == len(set(found.plan_ms)) == 3
    for flag, message in (
        ("0", "replan_every must be an integer of at least 1, got 0"),
        ("7", "replan_every must not exceed the horizon of 6 steps, got 7"),
    ):
        with pytest.raises(SystemExit):
            main(["run", *planner, "--replan-every", flag])
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_asked_to_end_writes_its_results(tmp_path, number):
    process = under_way(tmp_path)
    process.send_signal(number)
    said, errors = process.communicate()
    assert process.returncode == 128 + number, errors
    assert "go on with: mirrax run --resume x" in said
    found = results.load("x")
    assert found.about["interrupted"] is True
    assert (tmp_path / "x" / "report.html").exists()
    same(found, results.load("x", unfinished=True))


def test_ctrl_c_while_modules_are_imported_is_one_line(tmp_path):
    code = inspect.cleandoc("""
        import os, signal, sys
        import mirrax.cli

        class Impatient:
            def find_spec(self, name, *_):
                if name == "tyro":
                    os.kill(os.getpid(), signal.SIGINT)

        sys.meta_path.insert(0, Impatient())
        mirrax.cli.main([])
    """)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (130, "mirrax: interrupted\n")


@pytest.mark.parametrize("limit", [12_000, 60_000])
def test_a_full_disk_is_one_line_and_what_was_written_stays(tmp_path, limit):
    out = tmp_path / "x"
    out.mkdir()
    (out / "report.html").write_text("an earlier one")
    process = start(*WORDS, "--steps", "60", "--out", "x", folder=tmp_path, limit=limit)
    _, errors = process.communicate()
    assert process.returncode == 1, errors
    (line, hint) = errors.splitlines()
    assert line == "mirrax: error: could not write to x: File too large"
    assert hint == "what was written stays; go on with: mirrax run --resume x"
    assert (out / "report.html").read_text() == "an earlier one"
    kept = results.load("x", unfinished=True)
    assert 0 < kept.num_steps <= 60
    main(["run", "--resume", "x"])
    main(["run", *WORDS, "--steps", "60", "--out", "y"])
    same(results.load("x"), results.load("y"))


def test_a_disk_that_is_full_from_the_start_is_one_line(tmp_path):
    process = start(*WORDS, "--steps", "60", "--out", "x", folder=tmp_path, limit=1000)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (1, "mirrax: error: could not write to x: File too large\n")


def test_a_file_that_is_missing_elsewhere_is_not_told_as_a_full_disk(tmp_path, monkeypatch):
    def write_results(*_, **__):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/nowhere/style.css")

    monkeypatch.setattr("mirrax.cli.results.write_results", write_results)
    with pytest.raises(FileNotFoundError, match="style"):
        main(["run", *WORDS, "--steps", "2", "--out", "x"])
    assert results.load("x", unfinished=True).num_steps == 2


def test_results_grow_with_the_run_and_nothing_else(tmp_path):
    sizes = {}
    for horizon in ("8", "256"):
        words = ["pendulum", "--planner", "vi_mpc", "--horizon", horizon, "--num-samples", "8", "--devices", "1"]
        main(["run", *words, "--steps", "4", "--plans-every", "2", "--out", horizon])
        sizes[horizon] = (tmp_path / horizon / "result.json").stat().st_size
        found = results.load(horizon)
        assert found.plans.shape == (2, int(horizon), 1)
        assert found.paths.shape[1] <= 64
    assert sizes["256"] < 2 * sizes["8"]


def test_numbers_that_are_none_are_null_in_json_and_what_they_were_in_arrays(tmp_path, journal):
    found = results.load(journal(tmp_path / "x", 2).folder.parent)
    found.diagnostics["ess"][:] = [np.nan, np.inf]
    results.results.save(tmp_path, found, done=False)
    text = (tmp_path / "result.json").read_text()
    assert json.loads(text)["diagnostics"] == {"ess": [None, None]}
    assert "NaN" not in text
    np.testing.assert_array_equal(results.load(tmp_path).diagnostics["ess"], [np.nan, np.inf])


def test_results_of_two_runs_are_not_mixed(tmp_path, journal):
    """Killed between the replacing of two files, of one run that went on: what is unfinished is whole."""
    out = tmp_path / "x"
    made = journal(out, 3)
    results.results.save(out, results.load(out), done=False)
    arrays = (out / "arrays.npz").read_bytes()
    made.append(step(3))
    results.results.save(out, results.load(out, unfinished=True), done=False)
    assert results.load(out).num_steps == 4
    (out / "arrays.npz").write_bytes(arrays)
    assert results.load(out).num_steps == 4
    made.remove()
    for spoil in (lambda: None, (out / "arrays.npz").unlink):
        spoil()
        with pytest.raises(ValueError, match=r"arrays.npz must be of the run of result.json, got that of another"):
            results.load(out)


def test_a_plan_whose_step_did_not_happen_is_left_out(tmp_path, journal):
    made = journal(tmp_path / "x", 2)
    made._write("plans.bin", {"step": 2, "plan": np.zeros((4, 2))})
    np.testing.assert_array_equal(results.load(tmp_path / "x").plan_steps, [0])


def test_what_is_absurd_is_one_line(capsys, tmp_path):
    (tmp_path / "x" / "report.html").mkdir(parents=True)
    for words, message in (
        (("--out", "x"), "out must be a folder to write report.html to, got 'x', where this is a folder"),
        (("--out", ""), "it must be the name of a folder, got ''"),
        (("--horizon", "1000000000"), "this does not fit the machine: 32 plans of horizon 1000000000 take 119 GiB"),
        (("--temperature", "1e39"), "temperature must be finite and > 0, got 1e+39"),
        (("--plans-every", "0"), "plans_every must be an integer of at least 1, got 0"),
        (("--resume", "x"), "MODEL must be left to the run that goes on, got 'pendulum' beside --resume"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["run", *WORDS, *words])
        assert ended.value.code == 2
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["run"])
    assert "run needs a model, the first word" in capsys.readouterr().err


def test_the_library_is_imported_when_it_is_asked_for():
    code = "import sys, mirrax; assert 'jax' not in sys.modules; mirrax.dynamics; mirrax.results; print(dir(mirrax))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "['__version__', 'compiling', 'dynamics', 'learning', 'planners', 'report', 'results']\n"
    with pytest.raises(AttributeError, match="has no attribute 'nosuch'"):
        _ = mirrax.nosuch


@pytest.mark.slow
def test_the_campaign_finds_nothing_lost(capsys):
    faults.main(["--kills", "2", "--signals", "0", "--limits", "1", "--steps", "40"])
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][2:]
    assert [int(row[1]) for row in rows] == [2, 1]
    assert all(row[1].strip() == row[2].strip() and row[3].strip() == row[4].strip() for row in rows)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("result.json", text) for text in (b"{", b"[]", b"\x80\xff\x00", b'{"schema": 3}')),
        ("result.json", b'{"schema": 3, "saved": "", "rewards": [], "plan_ms": [], "diagnostics": []}'),
        *(("arrays.npz", text) for text in (b"PK", b"", b"\x80")),
    ],
)
def test_damaged_results_are_named(tmp_path, journal, name, content):
    out = tmp_path / "x"
    made = journal(out, 2)
    results.results.save(out, results.load(out), done=False)
    made.remove()
    (out / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} must be"):
        results.load(out)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\x80", b"{}"])
def test_a_damaged_header_of_an_unfinished_run_is_named(tmp_path, journal, content):
    (journal(tmp_path / "x", 2).folder / "run.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"run.json must be what a run has written"):
        results.load(tmp_path / "x")


def test_results_are_found_by_their_file_too(tmp_path, journal, capsys):
    out = tmp_path / "x"
    journal(out, 2)
    results.results.save(out, results.load(out), done=False)
    assert results.load(out / "result.json").num_steps == results.load(str(out)).num_steps == 2
    (tmp_path / "README.md").write_text("")
    for read in (lambda: results.load("README.md"), lambda: results.load("README.md", unfinished=True)):
        with pytest.raises(
            ValueError, match=r"must be a folder with results of a run, got 'README.md', which is a file"
        ):
            read()
    with pytest.raises(SystemExit):
        main(["compare", "x", "README.md"])
    assert "got 'README.md', which is a file" in capsys.readouterr().err


def test_durations_and_settings_are_the_decimals_that_were_meant(tmp_path):
    main(["run", "pendulum", "--planner", "icem", *WORDS[3:], "--steps", "2", "--out", "x"])
    about = json.loads((tmp_path / "x" / "result.json").read_text())
    assert about["dt"] == 0.05
    assert about["parameters"]["evaluator"] is not None
    long = [number for number in re.findall(r"\d+\.\d+", json.dumps([about[k] for k in KEPT])) if len(number) > 11]
    assert not long
