"""Models: what a planner imagines with, and what it acts in."""

from .acrobot import Acrobot, acrobot
from .base import (
    HasBounds,
    HasCoordinates,
    HasDuration,
    HasNoise,
    HasScenarios,
    Model,
    Step,
    bounded,
    duration,
    pytree,
    static,
    steps,
)
from .brax import BraxModel, brax, brax_names
from .cartpole import CartPole, cartpole
from .coordinates import coordinates, with_coordinates
from .double_cartpole import DoubleCartPole, double_cartpole
from .function import FunctionModel, from_function
from .linear_quadratic import LinearQuadratic, linear_quadratic
from .pendulum import Pendulum, pendulum
from .point_mass import PointMass, point_mass
from .randomness import redraw
from .tabular import Tabular, tabular
from .uncertain import Ensemble, Randomized, ensemble, randomized
from .wrapper import Wrapper
from .wrappers import (
    ActionRepeat,
    Discounted,
    Timed,
    TimedState,
    WithReward,
    WithTermination,
    WithValue,
    action_repeat,
    discounted,
    timed,
    with_reward,
    with_termination,
    with_value,
)

__all__ = [
    "Acrobot",
    "ActionRepeat",
    "BraxModel",
    "CartPole",
    "Discounted",
    "DoubleCartPole",
    "Ensemble",
    "FunctionModel",
    "HasBounds",
    "HasCoordinates",
    "HasDuration",
    "HasNoise",
    "HasScenarios",
    "LinearQuadratic",
    "Model",
    "Pendulum",
    "PointMass",
    "Randomized",
    "Step",
    "Tabular",
    "Timed",
    "TimedState",
    "WithReward",
    "WithTermination",
    "WithValue",
    "Wrapper",
    "acrobot",
    "action_repeat",
    "bounded",
    "brax",
    "brax_names",
    "cartpole",
    "coordinates",
    "discounted",
    "double_cartpole",
    "duration",
    "ensemble",
    "from_function",
    "linear_quadratic",
    "pendulum",
    "point_mass",
    "pytree",
    "randomized",
    "redraw",
    "static",
    "steps",
    "tabular",
    "timed",
    "with_coordinates",
    "with_reward",
    "with_termination",
    "with_value",
]
