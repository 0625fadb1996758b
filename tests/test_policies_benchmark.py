"""The benchmark of amortised policies: its intervals, what it prints, and what it says of mistakes."""

import json

import numpy as np
import pytest
from scipy import stats

from mirrax.benchmarks import policies
from mirrax.benchmarks.intervals import interquartile_mean, interval_of_means

SMALL = ("--models", "pendulum", "--algorithms", "v_mpo", "--seeds", "2", "--updates", "4", "--envs", "2")
SIZES = ("--steps", "6", "--episode-steps", "5")


def test_the_interquartile_mean_is_that_of_the_middle_half():
    assert float(interquartile_mean([np.arange(8.0)])) == pytest.approx(3.5)
    assert float(interquartile_mean([np.array([0.0, 0.0, 1.0, 2.0, 3.0, 1000.0])])) == pytest.approx(1.5)
    two_tasks = [np.array([0.0, 1.0]), np.array([2.0, 100.0])]
    assert float(interquartile_mean(two_tasks)) == pytest.approx(1.5)
    curves = interquartile_mean([np.stack([np.arange(8.0), 10.0 * np.arange(8.0)], 1)])
    assert curves == pytest.approx([3.5, 35.0])


def test_intervals_are_as_wide_as_the_spread_of_the_mean():
    """Of many normal scores: twice 1.96 standard errors of a 25 % trimmed mean, 1.09 σ/√n (Wilcox, 2012)."""
    scores = np.random.default_rng(0).normal(size=400)
    middle, low, high = interval_of_means([scores])
    assert low < middle < high
    assert high - low == pytest.approx(2 * stats.norm.ppf(0.975) * 1.09 / 400**0.5, rel=0.15)
    assert [float(each) for each in interval_of_means([np.full(5, 2.0)])] == [2.0, 2.0, 2.0]


def test_runs_are_drawn_within_their_task():
    """Two tasks whose runs are equal within: however they are drawn, half are of each."""
    middle, low, high = interval_of_means([np.zeros(5), np.ones(5)])
    assert float(low) == float(middle) == float(high) == pytest.approx(0.5)


def test_a_training_is_measured_once(capsys, tmp_path):
    given = [*SMALL, *SIZES, "--out", str(tmp_path)]
    policies.main(given)
    said = capsys.readouterr().out
    assert "pendulum, v_mpo, seed 1" in said
    assert "| pendulum" in said
    records = [json.loads(line) for line in (tmp_path / "pendulum.jsonl").read_text().splitlines()]
    assert [record["seed"] for record in records] == [0, 1]
    assert all(len(record["curve"]) == 4 for record in records)
    assert {path.name for path in tmp_path.iterdir()} == {"pendulum.jsonl", "policies.svg", "policies.html"}
    policies.main([*given, "--draw-only"])
    policies.main(given)
    assert "seed 1:" not in capsys.readouterr().out  # it was there


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--algorithms", "nosuch"), "algorithms must be of policy_gradient, v_mpo, ppo, mpo, sac, soft_q_learning"),
        (("--models", "nosuch"), "unknown model 'nosuch'"),
        (("--seeds", "0"), "seeds must be an integer of at least 1"),
        (("--updates", "0"), "updates must be an integer of at least 1"),
    ],
)
def test_a_mistake_is_one_clear_line(capsys, tmp_path, arguments, message):
    with pytest.raises(SystemExit) as caught:
        policies.main([*arguments, "--out", str(tmp_path)])
    assert caught.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())
