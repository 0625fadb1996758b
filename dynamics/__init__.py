"""Models: what a planner imagines with, and what it acts in."""

from .acrobot import Acrobot, acrobot
from .action_wrappers import ActionRepeat, Discretized, action_repeat, discretized
from .actions import bounded, from_range, to_range
from .actuators import HasActuatorLimits, actuator_limits, actuator_names, from_actuators, to_actuators
from .base import (
    HasActuators,
    HasBounds,
    HasCoordinateNames,
    HasCoordinates,
    HasDuration,
    HasEndReasons,
    HasMotion,
    HasNoise,
    HasPose,
    HasRewardTerms,
    HasScenarios,
    Model,
    Step,
    duration,
    steps,
)
from .brax import BraxModel, brax, brax_names
from .cartpole import CartPole, cartpole
from .constrained import Constrained, constrained
from .constraints import HasConstraints, constraint_names, violations
from .coordinates import coordinate_names, coordinates, with_coordinates
from .delayed import Delayed, DelayedState, delayed
from .double_cartpole import DoubleCartPole, double_cartpole
from .ends import end_reasons
from .engines import HasImagined, HasRewardBetween, HasUnroll, imagined, unrolls
from .figures import Figure, HasFigure, Shape, figure, pose
from .function import FunctionModel, from_function
from .learned import LearnedModel, learned
from .linear_quadratic import LinearQuadratic, linear_quadratic
from .mjx import MjxModel, mjx
from .motion import mean_squared_displacement, mean_squared_speed
from .mujoco import MujocoModel, mujoco
from .mujoco_data import MujocoData
from .mujoco_names import NamedData, named, sensor
from .pendulum import Pendulum, pendulum
from .playground import PlaygroundModel, playground
from .playground_suites import playground_names
from .point_mass import PointMass, point_mass
from .pytrees import pytree, static
from .randomness import redraw
from .resting import Resting, RestingState, resting
from .rewards import reward_terms
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
    "Constrained",
    "Continuous",
    "Delayed",
    "DelayedState",
    "Discounted",
    "Discrete",
    "Discretized",
    "DoubleCartPole",
    "Ensemble",
    "Figure",
    "FunctionModel",
    "HasActuatorLimits",
    "HasActuators",
    "HasBounds",
    "HasConstraints",
    "HasContinuousActions",
    "HasCoordinateNames",
    "HasCoordinates",
    "HasDiscreteActions",
    "HasDuration",
    "HasEndReasons",
    "HasFigure",
    "HasImagined",
    "HasMotion",
    "HasNoise",
    "HasPose",
    "HasRewardBetween",
    "HasRewardTerms",
    "HasScenarios",
    "HasUnroll",
    "LearnedModel",
    "LinearQuadratic",
    "MjxModel",
    "Model",
    "MujocoData",
    "MujocoModel",
    "NamedData",
    "Pendulum",
    "PlaygroundModel",
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
    "actuator_limits",
    "actuator_names",
    "bounded",
    "brax",
    "brax_names",
    "cartpole",
    "check",
    "constrained",
    "constraint_names",
    "coordinate_names",
    "coordinates",
    "delayed",
    "discounted",
    "discretized",
    "double_cartpole",
    "duration",
    "end_reasons",
    "ensemble",
    "figure",
    "from_actuators",
    "from_function",
    "from_range",
    "from_state_dict",
    "imagined",
    "learned",
    "linear_quadratic",
    "mean_squared_displacement",
    "mean_squared_speed",
    "mjx",
    "mujoco",
    "named",
    "pendulum",
    "playground",
    "playground_names",
    "point_mass",
    "pose",
    "pytree",
    "randomized",
    "redraw",
    "resting",
    "reward_terms",
    "sensor",
    "static",
    "steps",
    "tabular",
    "timed",
    "to_actuators",
    "to_range",
    "to_state_dict",
    "unrolls",
    "violations",
    "with_coordinates",
    "with_reward",
    "with_termination",
    "with_value",
]
