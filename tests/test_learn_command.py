"""`mirrax learn` and `mirrax distil`, and runs with what they have learnt: what they say, write, do and refuse."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mirrax import dynamics, learning, planners, results
from mirrax.cli.algorithm_flags import algorithm_flags, algorithm_names, make_algorithm
from mirrax.cli.learning_commands import Learn
from mirrax.cli.main import main, parse
from mirrax.learning.policies import ALGORITHMS
from mirrax.planners.policies import plan_network

KEY = jax.random.key(0)
SMALL = (
    *("pendulum", "--updates", "3", "--envs", "3", "--update-steps", "4", "--steps", "3", "--hidden", "8"),
    *("--save-every", "2", "--num-gradient-steps", "2"),
)
FEW = ("--horizon", "4", "--num-samples", "8", "--num-iterations", "1", "--steps", "5")
RUN = (*FEW, "--devices", "1", "--planner")


def fails(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    captured = capsys.readouterr()
    assert caught.value.code == 2
    assert "Traceback" not in captured.err
    return " ".join(captured.err.split())


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """A folder of folders: a policy that was learnt, and what else one may take for one."""
    folder = tmp_path_factory.mktemp("learnt")
    main(["learn", *SMALL, "--out", str(folder / "policy"), "--tensorboard"])
    env, pole = dynamics.pendulum(), dynamics.cartpole()
    choices = dynamics.discretized(env, [[-1.0], [1.0]])
    for name, model, thing in (
        ("pole", pole, learning.tanh_gaussian(hidden=(4,))),
        ("choices", choices, learning.categorical(hidden=(4,))),
        ("plans", env, plan_network(4, hidden=(4,))),
    ):
        learning.save(folder / name, thing.init(model, model.init(KEY)))
    policy = learning.load(folder / "policy", env).policy
    energies = learning.learn_policy(
        env, learning.soft_q_learning(num_gradient_steps=2), KEY, num_updates=1, num_envs=2, num_steps=4
    )
    learning.save(folder / "energies", energies)
    learning.save(folder / "without", learning.PolicyTraining(policy, None, ()))
    learning.save(folder / "own", learning.tanh_gaussian(observe=jnp.ravel).init(env, env.init(KEY)))
    (folder / "robbed").mkdir()
    (folder / "robbed" / "learnt.json").write_text("{")
    return folder


def test_learning_leaves_its_files_and_goes_on(learnt, capsys, tmp_path):
    capsys.readouterr()
    out = tmp_path / "out"
    main(["learn", *SMALL, "--out", str(out)])
    said = capsys.readouterr().out
    assert "update 3 of 3: return -" in said
    assert "return without noise: -" in said
    assert f"mirrax run pendulum --policy {out}" in said.replace("\n", "")
    assert {path.name for path in out.iterdir()} == {
        *("train.json", "metrics.jsonl", "checkpoints", "learnt", "report.html"),
    }
    assert list((learnt / "policy" / "tensorboard").glob("events*"))
    page = (out / "report.html").read_text()
    for words in ("How returns grew", "The best of 4 episodes", "pendulum, learned by v_mpo", "Entropy"):
        assert words in page
    before = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["number"] for line in before] == [0, 1, 2]
    assert set(before[0]["numbers"]) >= {"entropy", "value_loss"}
    error = fails(capsys, "learn", *SMALL, "--out", str(out))
    assert f"to go on: mirrax learn --resume {out}" in error
    main(["learn", "--resume", str(out), "--updates", "4"])
    after = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    np.testing.assert_equal(after[:3], before)
    assert len(after) == 4
    error = fails(capsys, "learn", "--resume", str(out), "--seed", "3")
    assert "--seed must be left to the training that goes on, got 3 beside --resume" in error
    error = fails(capsys, "learn", "--resume", str(out), "--discount", "0.5")
    assert "--discount must be left to the training that goes on" in error
    assert "num_updates must be at least the 4" in fails(capsys, "learn", "--resume", str(out), "--updates", "2")
    assert "resume must be the folder of `mirrax train`, got one of learn" in fails(
        capsys, "train", "--resume", str(out)
    )


def test_a_policy_acts_alone(learnt, capsys, tmp_path):
    out, env = tmp_path / "out", dynamics.pendulum()
    main(["run", "pendulum", "--policy", str(learnt / "policy"), "--steps", "6", "--out", str(out)])
    said = capsys.readouterr().out
    assert "pendulum, policy" in said
    run = results.load(out)
    policy = learning.load(learnt / "policy", env).policy
    wanted = jax.vmap(policy.mode)(jnp.asarray(run.states[:-1], float))
    np.testing.assert_allclose(run.actions, wanted, atol=1e-5)
    assert run.about["policy"] == str(learnt / "policy")


@pytest.mark.parametrize("arguments", [("--steps", "5"), (*RUN, "smc"), (*RUN, "vi_mpc")])
def test_a_policy_of_energies_acts_alone_and_tells_a_planner_where_to_look(arguments, learnt, tmp_path):
    out = tmp_path / "out"
    main(["run", "pendulum", "--policy", str(learnt / "energies"), *arguments, "--out", str(out)])
    assert np.isfinite(results.load(out).rewards).all()


@pytest.mark.parametrize("planner", ["smc", "vi_mpc", "mppi", "icem", "predictive_sampling"])
def test_a_policy_tells_a_planner_where_to_look(planner, learnt, tmp_path):
    out = tmp_path / "out"
    main(["run", "pendulum", "--policy", str(learnt / "policy"), *RUN, planner, "--out", str(out)])
    run = results.load(out)
    assert np.isfinite(run.rewards).all()
    assert run.about["settings"]["policy"] == str(learnt / "policy")
    kind = "PolicyPrior" if planner in ("vi_mpc", "mppi") else "UnboundedPolicy"
    assert kind in json.dumps(run.about["parameters"])


@pytest.mark.parametrize("arguments", [(), (*FEW[2:], "--devices", "1", "--planner", "vi_mpc")])
def test_a_plan_network_acts_alone_and_primes_a_planner(arguments, learnt, tmp_path):
    out = tmp_path / "out"
    steps = () if arguments else ("--steps", "5")
    main(["run", "pendulum", "--policy", str(learnt / "plans"), *steps, *arguments, "--out", str(out)])
    run = results.load(out)
    assert run.about["settings"]["horizon"] == 4  # the network's
    assert run.about["parameters"]["kind"] == ("PrimedPlanner" if arguments else "Controller")


def test_a_value_counts_beyond_the_horizon(learnt, tmp_path):
    arguments = ["run", "pendulum", *RUN, "icem", "--seed", "1"]
    main([*arguments, "--terminal-value", str(learnt / "policy"), "--out", str(tmp_path / "with")])
    with_it = results.load(tmp_path / "with")
    env = dynamics.pendulum()
    value = learning.load(learnt / "policy", env).value
    first = jnp.asarray(with_it.states[0], float)
    valued = learning.beyond(env, value)
    plan = jnp.asarray(with_it.plans[0], float)
    earned, promised = (float(planners.rollout(model, KEY, first, plan[None])[0]) for model in (env, valued))
    assert promised != pytest.approx(earned, rel=1e-2)
    assert with_it.diagnostics["best_return"][0] == pytest.approx(promised, rel=1e-3)
    assert with_it.about["settings"]["beyond"] == str(learnt / "policy")


def test_a_run_with_a_policy_goes_on_from_anywhere(learnt, capsys, tmp_path, monkeypatch):
    from mirrax.results.journal import Journal

    monkeypatch.chdir(learnt)
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "remove", lambda self: self.close())  # as if the process had been killed
        main(["run", "pendulum", "--policy", "policy", "--steps", "3", "--out", str(out)])
    monkeypatch.chdir(tmp_path)
    main(["run", "--resume", str(out), "--steps", "6"])
    assert results.load(out).num_steps == 6
    main(["run", "pendulum", "--policy", str(learnt / "policy"), "--steps", "6", "--out", str(tmp_path / "whole")])
    np.testing.assert_array_equal(results.load(out).actions, results.load(tmp_path / "whole").actions)


def test_a_planner_is_distilled(capsys, tmp_path):
    out = tmp_path / "out"
    arguments = ("distil", "pendulum", *FEW, "--episodes", "2", "--steps", "8", "--epochs", "3", "--hidden", "4")
    main([*arguments, "--out", str(out)])
    said = capsys.readouterr().out
    assert "episode 1: return -" in said
    assert "return of the network alone: -" in said
    assert {path.name for path in out.iterdir()} == {"train.json", "metrics.jsonl", "learnt", "report.html"}
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["episode"] for line in lines[:2]] == [0, 1]
    assert [line["epoch"] for line in lines[2:]] == [1, 2, 3]
    network = learning.load(out, dynamics.pendulum())
    assert network.horizon == 4
    assert "distilled from vi_mpc" in (out / "report.html").read_text()
    assert "out must be a folder without a training" in fails(capsys, *arguments, "--out", str(out))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("learn",), "learn needs a model, the first word: mirrax learn MODEL"),
        (("learn", "nosuch"), "unknown model 'nosuch'"),
        (("learn", *SMALL, "--algorithm", "v_mp"), "unknown algorithm 'v_mp'; did you mean 'v_mpo'?"),
        (("learn", *SMALL, "--epsilon", "0"), "epsilon must be finite and > 0, got 0.0"),
        (("learn", *SMALL, "--target-rate", "1"), "--target-rate is not an option of v_mpo, which takes --epsilon"),
        (("learn", *SMALL, "--hidden", "8,x"), "hidden must be numbers of units with commas between them"),
        (("learn", *SMALL, "--updates", "0"), "num_updates must be an integer of at least 1, got 0"),
        (("learn", *SMALL, "--envs", "0"), "num_envs must be an integer of at least 1, got 0"),
        (("learn", *SMALL, "--save-every", "0"), "save_every must be an integer of at least 1, got 0"),
        (("learn", "--resume", "nowhere"), "resume must be the folder of a training, got 'nowhere'"),
        (("learn", *SMALL, "--out", "/dev/null/x"), "out must be a folder to write to"),
        (("distil", "pendulum", "--planner", "nosuch"), "unknown planner 'nosuch'"),
        (
            ("distil", "pendulum", "--planner", "ilqr"),
            "planner must be one that samples plans, such as vi_mpc",
        ),
        (("distil", "pendulum", "--episodes", "0"), "episodes must be an integer of at least 1, got 0"),
        (
            ("run", "pendulum", "--policy", "nowhere"),
            "policy must be a folder that `mirrax learn` or",
        ),
        (("run", "pendulum", "--policy", "{}/robbed"), "learnt.json is damaged"),
        (("run", "pendulum", "--policy", "{}/pole"), "model must have 4 observed numbers, as what is learnt"),
        (("run", "pendulum", "--policy", "{}/choices"), "model must have num_actions=2, as what is learnt"),
        (("run", "pendulum", "--policy", "{}/own"), "observe must be given: what is in"),
        (
            ("run", "pendulum", "--policy", "{}/policy", "--planner", "iterative_policy"),
            "policy goes with all planners but iterative_policy, or alone",
        ),
        (("run", "pendulum", "--policy", "{}/policy", "--horizon", "5"), "--horizon goes with a planner"),
        (("run", "pendulum", "--policy", "{}/policy", "--std", "1"), "--std goes with a planner, --planner NAME"),
        (("run", "pendulum", "--policy", "{}/policy", "--devices", "2"), "devices must be 1 for a policy"),
        (
            ("run", "pendulum", "--policy", "{}/policy", "--terminal-value", "{}/policy"),
            "--terminal-value goes with a planner",
        ),
        (
            ("run", "pendulum", "--policy", "{}/plans", "--planner", "vi_mpc", "--horizon", "5"),
            "network must have the planner's horizon 5, got 4",
        ),
        (
            ("run", "pendulum", "--terminal-value", "{}/without"),
            "terminal_value must be the folder of a value of",
        ),
        (("run", "pendulum", "--terminal-value", "{}/plans"), "got '{}/plans', PlanNetwork"),
        (("run", "pendulum", "--terminal-value", "nowhere"), "terminal_value must be a folder that `mirrax learn`"),
    ],
)
def test_a_mistake_is_one_clear_line(learnt, capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    error = fails(capsys, *(word.replace("{}", str(learnt)) for word in arguments))
    assert message.replace("{}", str(learnt)) in error


def test_a_policy_of_another_model_of_the_same_sizes_is_told(learnt, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "from mirrax import dynamics\n\n\ndef make():\n    return dynamics.pendulum(mass=2.0)\n"
    (tmp_path / "mine.py").write_text(text)
    main(["run", "mine:make", "--policy", str(learnt / "policy"), "--steps", "2", "--out", "x"])
    assert "policy was learnt on pendulum, and is used on mine:make" in capsys.readouterr().err


def test_options_of_algorithms_are_those_of_their_factories(capsys):
    flags = {flag.name: flag for flag in algorithm_flags()}
    assert algorithm_names() == tuple(factory.__name__ for factory in ALGORITHMS)
    assert all(flag.help for flag in flags.values())
    assert flags["discount"].planners == algorithm_names()
    assert flags["target_rate"].planners == ("soft_q_learning", "mpo", "sac")
    for name in algorithm_names():
        assert make_algorithm(name, {}, (8,)).name == name
    made = make_algorithm("soft_q_learning", {"prior": (0.2, 0.8), "discount": 0.5}, (8,))
    assert made.prior.tolist() == pytest.approx([0.2, 0.8])
    command = parse(["learn", "pendulum", "--algorithm", "mpo", "--num-actions", "4", "--hidden", "3"])
    assert isinstance(command, Learn)
    assert command.algorithm_options["num_actions"] == 4
    for words, shown in ((("--help",), "--help-all"), (("--algorithm", "mpo", "--help"), "--num-actions")):
        with pytest.raises(SystemExit):
            main(["learn", *words])
        assert shown in capsys.readouterr().out
