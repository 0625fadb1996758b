"""Models: what a planner imagines with, and what it acts in."""

from .acrobot import Acrobot, acrobot
from .action_wrappers import ActionRepeat, Discretized, action_repeat, discretized
from .actions import bounded, to_range
from .base import (
    HasBounds,
    HasCoordinates,
    HasDuration,
    HasMotion,
    HasNoise,
    HasPose,
    HasScenarios,
    Model,
    Step,
    duration,
    steps,
)
from .brax import BraxModel, brax, brax_names
from .cartpole import CartPole, cartpole
from .coordinates import coordinates, with_coordinates
from .double_cartpole import DoubleCartPole, double_cartpole
from .figures import Figure, HasFigure, Shape, figure
from .function import FunctionModel, from_function
from .linear_quadratic import LinearQuadratic, linear_quadratic
from .motion import mean_squared_displacement, mean_squared_speed
from .pendulum import Pendulum, pendulum
from .point_mass import PointMass, point_mass
from .pytrees import pytree, static
from .randomness import redraw
from .resting import Resting, RestingState, resting
from .saving import from_state_dict, to_state_dict
from .spaces import (
    ActionSpace,
    Continuous,
    Discrete,
    HasContinuousActions,
    HasDiscreteActions,
    action_space,
)
from .tabular import Tabular, tabular
from .timed import Timed, TimedState, timed
from .trial import check
from .uncertain import Ensemble, Randomized, ensemble, randomized
from .wrapper import Wrapper
from .wrappers import (
    Discounted,
    WithReward,
    WithTermination,
    WithValue,
    discounted,
    with_reward,
    with_termination,
    with_value,
)

__all__ = [
    "Acrobot",
    "ActionRepeat",
    "ActionSpace",
    "BraxModel",
    "CartPole",
    "Continuous",
    "Discounted",
    "Discrete",
    "Discretized",
    "DoubleCartPole",
    "Ensemble",
    "Figure",
    "FunctionModel",
    "HasBounds",
    "HasContinuousActions",
    "HasCoordinates",
    "HasDiscreteActions",
    "HasDuration",
    "HasFigure",
    "HasMotion",
    "HasNoise",
    "HasPose",
    "HasScenarios",
    "LinearQuadratic",
    "Model",
    "Pendulum",
    "PointMass",
    "Randomized",
    "Resting",
    "RestingState",
    "Shape",
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
    "action_space",
    "bounded",
    "brax",
    "brax_names",
    "cartpole",
    "check",
    "coordinates",
    "discounted",
    "discretized",
    "double_cartpole",
    "duration",
    "ensemble",
    "figure",
    "from_function",
    "from_state_dict",
    "linear_quadratic",
    "mean_squared_displacement",
    "mean_squared_speed",
    "pendulum",
    "point_mass",
    "pytree",
    "randomized",
    "redraw",
    "resting",
    "static",
    "steps",
    "tabular",
    "timed",
    "to_range",
    "to_state_dict",
    "with_coordinates",
    "with_reward",
    "with_termination",
    "with_value",
]
