"""Over how many devices `mirrax run` spreads plans."""

import os
import subprocess
import sys

import pytest

from mirrax import dynamics
from mirrax.cli import devices
from mirrax.cli.devices import choose_devices, free_devices, operations_of

SMALL, LARGE = {"horizon": 30, "num_samples": 256}, {"horizon": 200, "num_samples": 4096}


@pytest.mark.parametrize(
    ("settings", "available", "free", "number", "reason"),
    [
        (LARGE, 1, 1, 1, ""),
        (LARGE, 4, 4, 4, ""),
        (LARGE, 4, 2, 2, "other processes have the cores"),
        (LARGE | {"num_samples": 48}, 4, 4, 1, "rollouts are too short to share"),
        (SMALL, 2, 2, 1, "rollouts are too short to share"),
        (SMALL | {"num_samples": 24}, 2, 2, 1, "24 plans are too few to share"),
        ({"horizon": 30}, 2, 2, 1, "0 plans are too few to share"),
    ],
)
def test_devices_need_cores_and_work(monkeypatch, settings, available, free, number, reason):
    monkeypatch.setattr(devices, "free_devices", lambda most: min(most, free))
    assert choose_devices(dynamics.cartpole(), settings, available) == (number, reason)


def test_a_share_of_the_work_is_at_least_what_is_worth_a_device(monkeypatch):
    monkeypatch.setattr(devices, "free_devices", lambda most: most)
    model = dynamics.cartpole()
    enough = int(3.5 * devices._FEWEST_OPERATIONS / operations_of(model) / 100)
    assert choose_devices(model, {"horizon": 100, "num_samples": enough}, 8) == (3, "there is no more to share")


def test_a_model_whose_operations_nobody_counts_has_enough(monkeypatch):
    monkeypatch.setattr(devices, "free_devices", lambda most: most)
    monkeypatch.setattr(devices, "operations_of", lambda model: float("inf"))
    assert choose_devices(dynamics.cartpole(), SMALL, 2) == (2, "")


def test_operations_are_those_of_a_step():
    """Twice the work counts twice, and a robot's step is greater than a pole's."""
    model = dynamics.cartpole()
    one = operations_of(model)
    assert 50 < one < 1000
    assert operations_of(dynamics.brax("inverted_pendulum", "spring")) > 5 * one


def test_one_device_is_always_free():
    assert free_devices(1) == 1
    assert 1 <= free_devices(2) <= 2


@pytest.mark.parametrize("said", [None, "3"])
def test_linear_algebra_has_one_thread_unless_the_user_says_otherwise(said):
    program = "import os; from mirrax.cli.main import main\ntry: main(['run', '--help'])\nexcept SystemExit: pass\n"
    program += "import sys; sys.stderr.write(os.environ['OPENBLAS_NUM_THREADS'])"
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    if said is not None:
        environment["OPENBLAS_NUM_THREADS"] = said
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr == (said or "1")
