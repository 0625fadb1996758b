"""`mirrax value`: what it says, writes and refuses, how it goes on, and how one plans with what it has learnt."""

import json
import shlex

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mirrax import dynamics, learning, planners, results
from mirrax.benchmarks import tasks
from mirrax.benchmarks.task import Beyond, Task
from mirrax.cli.learning_commands import Value
from mirrax.cli.main import main, parse
from mirrax.cli.value import _configured

FEW = ("--horizon", "3", "--num-samples", "8", "--num-iterations", "1")
SIZES = ("--steps", "5", "--envs", "2", "--round-steps", "4", "--members", "2", "--hidden", "8")
SMALL = ("pendulum", *FEW, *SIZES)


def fails(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    captured = capsys.readouterr()
    assert caught.value.code == 2
    assert "Traceback" not in captured.err
    return " ".join(captured.err.split())


def lines_of(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """The folder of a value of three rounds, with checkpoints of the second and the third."""
    out = tmp_path_factory.mktemp("learnt") / "out"
    main(["value", *SMALL, "--rounds", "3", "--save-every", "2", "--planner", "cem", "--out", str(out)])
    return out


def test_a_value_leaves_its_files_and_is_planned_with(capsys, tmp_path):
    out = tmp_path / "out"
    main(
        [
            "value",
            *SMALL,
            "--rounds",
            "3",
            "--discount",
            "0.9",
            "--planner",
            "icem",
            "--out",
            str(out),
            "--tensorboard",
        ]
    )
    said = capsys.readouterr().out
    assert "round 1 of 3: no episode is over yet, value error" in said
    assert "round 3 of 3: return -" in said
    assert "return with the value: -" in said
    files = {"train.json", "metrics.jsonl", "checkpoints", "learnt", "report.html", "tensorboard"}
    assert {path.name for path in out.iterdir()} == files
    page = (out / "report.html").read_text()
    for words in ("How returns grew", "The best of 4 episodes", "the value of icem", "Length", "Value error"):
        assert words in page
    assert [line["number"] for line in lines_of(out)] == [0, 1, 2]
    words = shlex.split(said.split("plan with it: ")[1])
    assert words == ["mirrax", "run", "pendulum", "--planner", "icem", *FEW, "--terminal-value", str(out)]
    main([*words[1:], "--steps", "2", "--devices", "1", "--out", str(tmp_path / "run")])
    run, env = results.load(tmp_path / "run"), dynamics.pendulum()
    valued = learning.beyond(env, learning.load(out, env))
    first, plan = jnp.asarray(run.states[0], float), jnp.asarray(run.plans[0], float)
    promised = float(planners.rollout(valued, jax.random.key(0), first, plan[None])[0])
    assert float(learning.load(out, env).discount) == pytest.approx(0.9)
    assert run.diagnostics["best_return"][0] == pytest.approx(promised, rel=1e-3)


def test_a_training_goes_on_and_is_the_one_that_was_not_ended(learnt, capsys, tmp_path, monkeypatch):
    out = tmp_path / "out"
    main(["value", *SMALL, "--rounds", "1", "--planner", "cem", "--save-every", "2", "--out", str(out)])
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    main(["value", "--resume", "out", "--rounds", "3"])
    assert "round 2 of 3" in capsys.readouterr().out
    env = dynamics.pendulum()
    one, other = (learning.load(folder, env).params for folder in (out, learnt))
    jax.tree.map(np.testing.assert_array_equal, one, other)
    main(["value", "--resume", "out", "--rounds", "3"])
    assert "all rounds were done" in capsys.readouterr().out


def test_minutes_end_it_and_those_before_count(capsys, tmp_path):
    out = tmp_path / "out"
    main(["value", *SMALL, "--minutes", "1e-4", "--out", str(out)])
    assert len(lines_of(out)) == 1
    main(["value", "--resume", str(out)])  # its time is over
    assert len(lines_of(out)) == 1
    capsys.readouterr()
    main(["value", "--resume", str(out), "--minutes", "1e6", "--rounds", "2"])
    assert "round 2 of 2" in capsys.readouterr().out
    main(["value", "--resume", str(out), "--rounds", "3"])  # without the minutes
    seconds = [line["seconds"] for line in lines_of(out)]
    assert len(seconds) == 3
    assert seconds == sorted(seconds)


def test_a_task_keeps_its_own_value_and_its_rest_to_itself(monkeypatch, learnt, tmp_path):
    """Coming to rest stands for what follows a plan, and so does a value: the steps before it are what is left."""
    options = {"horizon": 9, "rest_steps": 5, "rest_speed": 2.0, "num_samples": 8}
    beyond = Beyond("nobody", lambda model: lambda state: 1e6)
    stand = "stand", lambda backend: dynamics.pendulum()
    monkeypatch.setattr(tasks, "TASKS", {"pendulum": Task(*stand, planner="icem", options=options, beyond=beyond)})
    chosen, _ = _configured(parse(["value", "pendulum", "--planner", "icem"]))
    assert chosen.settings["horizon"] == 4
    assert chosen.task.beyond is None
    assert not {"rest_steps", "rest_speed"} & set(chosen.settings)
    told, _ = _configured(parse(["value", "pendulum", "--planner", "icem", "--rest-steps", "2", "--horizon", "6"]))
    assert (told.settings["horizon"], told.settings["rest_steps"]) == (6, 2)
    main(["run", "pendulum", "--terminal-value", str(learnt), "--steps", "2", "--out", str(tmp_path / "run")])
    settings = results.load(tmp_path / "run").about["settings"]
    assert (settings["horizon"], settings["beyond"]) == (4, str(learnt))
    assert "rest_steps" not in settings


def test_a_model_of_ones_own_has_a_value(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "from mirrax import dynamics\n\n\ndef make():\n    return dynamics.pendulum(mass=2.0)\n"
    (tmp_path / "mine.py").write_text(text)
    main(["value", "mine:make", *FEW, *SIZES, "--rounds", "1"])
    assert "mirrax run mine:make --planner vi_mpc" in capsys.readouterr().out
    page = (tmp_path / "runs" / "mine.make-vi_mpc-value" / "report.html").read_text()
    assert "No episode that was seen from its beginning was over yet." in page
    assert "no finite values" not in page
    (tmp_path / "mine.py").write_text(text.replace("2.0", "3.0"))
    error = fails(capsys, "value", "--resume", "runs/mine.make-vi_mpc-value", "--rounds", "2")
    assert "resume must find files as they were" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("value",), "value needs a model, the first word: mirrax value MODEL"),
        (("value", "nosuch"), "unknown model 'nosuch'"),
        (("value", "pendulum", "--planner", "nosuch"), "unknown planner 'nosuch'"),
        (("value", *SMALL, "--num-elites", "3"), "--num-elites is not an option of vi_mpc"),
        (("value", *SMALL, "--rounds", "0"), "rounds must be an integer of at least 1, got 0"),
        (("value", *SMALL, "--minutes", "0"), "minutes must be finite and > 0, got 0"),
        (("value", *SMALL, "--minutes", "nan"), "minutes must be finite and > 0, got nan"),
        (("value", *SMALL, "--envs", "0"), "envs must be an integer of at least 1, got 0"),
        (("value", *SMALL, "--round-steps", "0"), "round_steps must be an integer of at least 1, got 0"),
        (("value", *SMALL, "--members", "0"), "members must be an integer of at least 1, got 0"),
        (("value", *SMALL, "--save-every", "0"), "save_every must be an integer of at least 1, got 0"),
        (("value", *SMALL, "--discount", "1"), "discount must be finite and >= 0 and < 1, got 1.0"),
        (("value", *SMALL, "--hidden", "8,x"), "hidden must be numbers of units with commas between them"),
        (("value", *SMALL, "--hidden", "0"), "hidden must"),
        (("value", *SMALL, "--steps", "0"), "steps must be an integer of at least 1, got 0"),
        (("value", *SMALL, "--beyond"), "Unrecognized options: --beyond"),
        (("value", *SMALL, "--policy", "x"), "Unrecognized options: --policy, x"),
        (("value", *SMALL, "--terminal-value", "x"), "Unrecognized options: --terminal-value, x"),
        (("value", *SMALL, "--devices", "2"), "Unrecognized options: --devices, 2"),
        (("value", *SMALL, "--replan-every", "2"), "Unrecognized options: --replan-every, 2"),
        (("value", *SMALL, "--out", "/dev/null/x"), "out must be a folder to write to"),
        (("value", *SMALL, "--out", "{}"), "to go on: mirrax value --resume {}"),
        (("value", "--resume", "nowhere"), "resume must be the folder of a training, got 'nowhere'"),
        (("value", "--resume", "{}", "--seed", "3"), "--seed must be left to the training that goes on, got 3"),
        (("value", "--resume", "{}", "--std", "3"), "--std must be left to the training that goes on, got 3.0"),
        (("value", "--resume", "{}", "--rounds", "2"), "num_rounds must be at least the 3 that are done, got 2"),
        (("learn", "--resume", "{}"), "resume must be the folder of `mirrax learn`, got one of value"),
        (("run", "cartpole", "--terminal-value", "{}"), "model must have 2 observed numbers"),
        (("run", "pendulum", "--policy", "{}"), "a value, which is for --terminal-value"),
        (("run", "pendulum", "--terminal-value", "x"), "that `mirrax learn` or `mirrax value` has written, got 'x'"),
        (("distil",), "distil needs a model, the first word: mirrax distil MODEL"),
    ],
)
def test_a_mistake_is_one_clear_line(learnt, capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    error = fails(capsys, *(word.replace("{}", str(learnt)) for word in arguments))
    assert message.replace("{}", str(learnt)) in error


def test_options_are_those_of_the_planner(capsys):
    command = parse(["value", "pendulum", "--planner", "icem", "--std", "0.5", "--minutes", "2"])
    assert isinstance(command, Value)
    assert command.planner_options["std"] == 0.5
    assert command.minutes == 2.0
    for words, shown in ((("--help",), "--help-all"), (("--planner", "icem", "--help"), "--population-decay")):
        with pytest.raises(SystemExit):
            main(["value", *words])
        assert shown in capsys.readouterr().out
