"""The benchmark of learning curves: what it prints, and what it says of mistakes."""

import json

import pytest

from mirrax.benchmarks import learning

SMALL = ("--models", "cartpole", "--planners", "cem", "--budget", "16", "--seeds", "1", "--episodes", "2")
SIZES = ("--steps", "12", "--hidden", "8", "--members", "2", "--known")


def test_a_curve_is_measured_once(capsys, tmp_path):
    given = [*SMALL, *SIZES, "--out", str(tmp_path)]
    learning.main(given)
    said = capsys.readouterr().out
    assert "cartpole, cem, seed 0, episode 1" in said
    assert "| cartpole" in said
    (record,) = [json.loads(line) for line in (tmp_path / "cartpole.jsonl").read_text().splitlines()]
    assert len(record["returns"]) == 2
    assert record["known"]
    assert {path.name for path in tmp_path.iterdir()} == {"cartpole.jsonl", "learning.svg", "learning.html"}
    learning.main([*given, "--draw-only"])
    learning.main(given)
    assert "episode 1:" not in capsys.readouterr().out  # it was there


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--episodes", "1"), "episodes must be more than the 1 by chance, got 1"),
        (
            ("--models", "ant", "--known"),
            "models must be of pendulum, cartpole, double_cartpole, acrobot beside known",
        ),
        (("--models", "nosuch"), "unknown model 'nosuch'"),
        (("--planners", "nosuch"), "nosuch"),
        (("--seeds", "0"), "seeds must be an integer of at least 1"),
    ],
)
def test_a_mistake_is_one_clear_line(capsys, tmp_path, arguments, message):
    with pytest.raises(SystemExit) as caught:
        learning.main([*arguments, "--out", str(tmp_path)])
    assert caught.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())
