"""The benchmark of learnt values: what it measures, keeps and goes on from, and what it says of mistakes."""

import json

import pytest

from mirrax.benchmarks import values

SMALL = ("--models", "cartpole", "--planner", "icem:horizon=3", "--budget", "12", "--minutes", "0")
SIZES = ("--seeds", "2", "--steps", "3")


def test_what_is_learnt_is_kept_and_episodes_are_measured_once(capsys, monkeypatch, tmp_path):
    given = [*SMALL, *SIZES, "--rows", "alone", "own value", "ppo", "ppo's value", "--out", str(tmp_path)]
    values.main(given)
    assert "| own value" in capsys.readouterr().out
    records = [json.loads(line) for line in (tmp_path / "cartpole.jsonl").read_text().splitlines()]
    assert [(record["row"], record["seed"]) for record in records] == [
        (row, seed) for row in ("alone", "own value", "ppo", "ppo's value") for seed in (0, 1)
    ]
    assert {record["row"]: record["learnt_steps"] for record in records} == {
        "alone": 0,
        "own value": 4 * 128,  # one round
        "ppo": 64 * 32,  # one update
        "ppo's value": 64 * 32,
    }
    assert "planner" not in records[4]  # PPO has none
    monkeypatch.setattr(values.learning, "learn_value", None)
    monkeypatch.setattr(values.learning, "learn_policy", None)
    values.main([*given, "--seeds", "3"])  # from what was kept
    values.main([*given, "--draw-only"])
    assert len((tmp_path / "cartpole.jsonl").read_text().splitlines()) == 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rows", "nosuch"), "rows must be of shipped, alone, own value, ppo, ppo's value, got 'nosuch'"),
        (("--models", "nosuch"), "unknown model 'nosuch'"),
        (("--planner", "nosuch"), "unknown planner 'nosuch'"),
        (("--minutes", "-1"), "minutes must be"),
        (("--discount", "1"), "discount must be"),
        (("--seeds", "0"), "seeds must be an integer of at least 1"),
    ],
)
def test_a_mistake_is_one_clear_line(capsys, tmp_path, arguments, message):
    with pytest.raises(SystemExit) as caught:
        values.main([*SMALL, *arguments, "--out", str(tmp_path)])
    assert caught.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())
