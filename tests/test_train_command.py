"""`mirrax train`: what it says, what it writes, how it goes on, and what it says of mistakes."""

import json

import numpy as np
import pytest

from mirrax.cli.main import main

SMALL = (
    *("pendulum", "--episodes", "2", "--steps", "12", "--hidden", "8", "--members", "2"),
    *("--planner", "cem", "--horizon", "3", "--num-samples", "8", "--num-iterations", "1"),
)


def fails(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main(["train", *arguments])
    captured = capsys.readouterr()
    assert caught.value.code == 2
    return captured.err


def test_a_training_leaves_its_files_and_goes_on(capsys, tmp_path):
    out = tmp_path / "out"
    main(["train", *SMALL, "--out", str(out), "--tensorboard"])
    said = capsys.readouterr().out
    assert "episode 0: return" in said
    assert "(by chance," in said
    assert "episode 1: return" in said
    assert str(out / "report.html") in said.replace("\n", "")
    assert {path.name for path in out.iterdir()} >= {"train.json", "metrics.jsonl", "episodes", "checkpoints"}
    assert list((out / "tensorboard").glob("events*"))
    page = (out / "report.html").read_text()
    for words in ("How returns grew", "The best episode", "pendulum, learned by cem"):
        assert words in page
    before = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    error = fails(capsys, *SMALL, "--out", str(out))
    assert f"to go on: mirrax train --resume {out}" in error
    main(["train", "--resume", str(out), "--episodes", "3"])
    after = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert after[:2] == before
    assert len(after) == 3
    assert np.isfinite([line["earned"] for line in after]).all()
    error = fails(capsys, "--resume", str(out), "--seed", "3")
    assert "--seed must be left to the training that goes on, got 3 beside --resume" in error
    (out / "checkpoints" / "0002" / "manifest.ocdbt").write_bytes(b"")
    (out / "checkpoints" / "0002" / "_METADATA").write_bytes(b"")
    error = fails(capsys, "--resume", str(out), "--episodes", "4")
    assert "checkpoints/0002 is missing, damaged or of another model" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "needs a model, the first word"),
        (("nosuch",), "unknown model 'nosuch'"),
        ((*SMALL, "--episodes", "0"), "num_episodes must be an integer of at least 1, got 0"),
        ((*SMALL, "--hidden", "8,x"), "hidden must be numbers of units with commas between them, got '8,x'"),
        ((*SMALL, "--hidden", "0"), "hidden must be an integer of at least 1, got 0"),
        ((*SMALL, "--members", "0"), "num_members must be an integer of at least 1, got 0"),
        ((*SMALL, "--sampling", "ts3"), "sampling must be one of ts_inf, ts1, got 'ts3'"),
        ((*SMALL, "--random-episodes", "0"), "num_random must be an integer of at least 1, got 0"),
        (
            (*SMALL, "--steps", "5"),
            "chance have at least 10 steps to learn from, got 1 of 5",
        ),
        (("--resume", "nowhere"), "resume must be the folder of a training, got 'nowhere'"),
        ((*SMALL, "--planner", "nosuch"), "unknown planner 'nosuch'"),
        ((*SMALL, "--nosuch", "1"), "nosuch"),
        ((*SMALL, "--out", "/dev/null/x"), "out must be a folder to write to"),
    ],
)
def test_a_mistake_is_one_clear_line(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    error = fails(capsys, *arguments)
    assert message in " ".join(error.split())
    assert "Traceback" not in error


def test_reward_and_ends_may_be_functions_of_ones_own(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "my_costs.py"
    source.write_text(
        "def reward(seen, action, after):\n    return after[0] - 0.1 * action[0] ** 2\n"
        "def ends(after):\n    return after[1] > 1e3\n"
        "def short(seen):\n    return 0.0\n"
        "LIMIT = 3\n"
    )
    out = tmp_path / "out"
    given = ("--reward", "my_costs:reward", "--ends", "my_costs:ends", "--out", str(out))
    main(["train", *SMALL, *given])
    about = json.loads((out / "train.json").read_text())
    assert set(about["fingerprints"]) == {"reward", "ends"}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    main(["train", "--resume", str(out), "--episodes", "3"])
    monkeypatch.chdir(tmp_path)
    for words, message in (
        (("--reward", "my_costs"), "reward must be module:function, got 'my_costs'"),
        (("--reward", "nowhere:reward"), "there is no module 'nowhere' here or installed"),
        (("--reward", "my_costs:rewards"), "unknown function 'rewards'"),
        (("--reward", "my_costs:LIMIT"), "which is of int"),
        (("--reward", "my_costs:short"), "reward must be a function of observation, action, next observation"),
        (("--ends", "my_costs:ends", "--no-learn-ends"), "ends must be left out beside --no-learn-ends"),
    ):
        error = " ".join(fails(capsys, *SMALL, *words, "--out", str(tmp_path / "other")).split())
        assert message in error
        assert "Traceback" not in error
    source.write_text(source.read_text() + "\n")
    assert "resume must find files as they were" in fails(capsys, "--resume", str(out), "--episodes", "4")


ROBOT = """
<mujoco>
  <option timestep="0.05"/>
  <worldbody><body><joint name="slider" type="slide" axis="1 0 0"/><geom size="0.1"/></body></worldbody>
  <actuator><motor joint="slider" ctrlrange="-1 1" ctrllimited="true"/></actuator>
</mujoco>
"""


def test_a_training_of_ones_own_robot_goes_on_from_anywhere_with_the_same_files(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "robot.xml").write_text(ROBOT)
    (tmp_path / "task.py").write_text("def reward(data, action):\n    return -data.qpos[0] ** 2\n")
    out = tmp_path / "out"
    main(["train", "robot.xml", "--task", "task.py", *SMALL[1:], "--out", str(out)])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    main(["train", "--resume", str(out), "--episodes", "3"])
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 3
    capsys.readouterr()
    (tmp_path / "task.py").write_text("def reward(data, action):\n    return data.qpos[0]\n")
    assert "resume must find files as they were" in fails(capsys, "--resume", str(out), "--episodes", "4")
