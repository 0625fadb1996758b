"""Learned dynamics: probabilistic ensembles of networks, as a model to plan with."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from ..actions import check_action, check_choice
from ..base import State, Step
from ..checks import scalar, truth
from ..pytrees import pytree, static
from .scaling import Scaling

SAMPLING = ("ts_inf", "ts1")
Numbers = Num[Array, "..."] | Num[np.ndarray, "..."]


class Prediction(NamedTuple):
    """What each of E networks says of a step.

    Attributes:
        mean: the expected next observation, [E, n].
        std: how noisy it is, [E, n].
        reward: the expected reward, [E]; 0 where rewards are not learnt.
        discount: the probability that the episode goes on, [E]; 1 where ends are not learnt.
    """

    mean: Float[Array, "E n"]
    std: Float[Array, "E n"]
    reward: Float[Array, " E"]
    discount: Float[Array, " E"]


class Spread(NamedTuple):
    """How uncertain the next observation is, and why, as standard deviations.

    Attributes:
        epistemic: of the networks' means, for want of data, [n].
        aleatoric: of the noise that they expect, root mean square, [n].
    """

    epistemic: Float[Array, " n"]
    aleatoric: Float[Array, " n"]


class Outputs(NamedTuple):
    """The output of one network, on the scale of targets.

    Attributes:
        mean: of the change of the observation, and of the reward where it is learnt, [T].
        log_var: logarithms of their variances, within the network's bounds, [T].
        logit: of the probability that the episode goes on; None where ends are not learnt.
    """

    mean: Float[Array, " T"]
    log_var: Float[Array, " T"]
    logit: Float[Array, ""] | None


@pytree
class LearnedModel:
    """An ensemble of networks that say how observations change. Make one with `learned`, fit it with `fit`.

    Its states are observations [n]. A network gives the mean and the variance of the change of the observation
    (Chua et al., 2018), of what `inputs` makes of observation and action.

    Attributes:
        params: of E networks, with a leading axis E; None until they are fitted.
        scaling: of inputs and outputs.
        reward: (observation, action, next observation) -> scalar; None where it is learnt.
        terminate: next observation -> whether the episode ends; None where it never does, or that is learnt.
        encode: observation -> what networks are given of it, [f]; None for all of it.
        observer: state of an environment -> observation [n]; None where they are the same.
        value_function: observation -> scalar; None for 0.
        init_function: key -> observation; None where it is not known.
        dt: the duration of a step, s; None where it is not known.
        network: has `init(key, inputs) -> params` and `apply(params, inputs) -> [outputs]`.
        num_members: the number E of networks.
        num_particles: in how many scenarios planners try a plan by default.
        sampling: "ts_inf", one network for a whole plan, or "ts1", another one at each step.
        noisy: whether next observations are drawn, else they are the networks' means.
        learns_end: whether networks say the probability that the episode goes on.
        observation_size: n.
        action_size: the number A of actuators; None where actions are discrete.
        num_actions: the number C of actions; None where they are continuous.
        angles: which numbers of an observation are angles, rad.
        coordinate_names: of the numbers of an observation; None without.
        actuator_names: None without.
    """

    params: Any
    scaling: Scaling
    reward: Callable[..., Any] | None
    terminate: Callable[..., Any] | None
    encode: Callable[..., Any] | None
    observer: Callable[..., Any] | None
    value_function: Callable[..., Any] | None
    init_function: Callable[..., Any] | None
    dt: Float[Array, ""] | None
    network: Any = static()
    num_members: int = static()
    num_particles: int = static()
    sampling: str = static()
    noisy: bool = static()
    learns_end: bool = static()
    observation_size: int = static()
    action_size: int | None = static()
    num_actions: int | None = static()
    angles: tuple[int, ...] = static()
    coordinate_names: tuple[str, ...] | None = static()
    actuator_names: tuple[str, ...] | None = static()

    @property
    def bounded(self) -> bool | None:
        """Whether actions are clipped to [-1, 1]: nothing was learnt of others."""
        return True if self.num_actions is None else None

    @property
    def learns_reward(self) -> bool:
        """Whether networks say the reward too."""
        return self.reward is None

    @property
    def num_scenarios(self) -> int:
        """In how many scenarios planners try a plan by default."""
        return self.num_particles

    def scenarios(self, key: PRNGKeyArray, num: int) -> Any:
        """The models of `num` scenarios, as one model whose leaves have a leading axis.

        For "ts_inf" each has one network: all in order, repeated if `num` is greater than their number; if less, from
        a random one on. For "ts1" each has all networks, `num` copies of them.
        """
        this = dataclasses.replace(self.fitted(), observer=None, init_function=None)  # which need not be copied
        if self.sampling == "ts1":
            return jax.vmap(lambda _: this)(jnp.arange(num))
        first = 0 if num >= self.num_members else jax.random.randint(key, (), 0, self.num_members)

        def alone(number: Any) -> Any:
            params = jax.tree.map(lambda leaf: leaf[number][None], this.params)
            return dataclasses.replace(this, params=params, num_members=1)

        return jax.vmap(alone)((first + jnp.arange(num)) % self.num_members)

    def init(self, key: PRNGKeyArray) -> Float[Array, " n"]:
        """Draw a first observation, if the model was given how.

        Raises:
            ValueError: if it was not.
        """
        if self.init_function is None:
            raise ValueError("init must be given to learned for this model to draw its own first state, got None")
        return self._checked(self.init_function(key))

    def observe(self, state: State) -> Float[Array, " n"]:
        """The observation of a state of the environment: what `episode` takes as `observe`.

        Raises:
            ValueError: if it is no vector [n].
        """
        return self._checked(state if self.observer is None else self.observer(state))

    def step(self, key: PRNGKeyArray, state: Float[Array, " n"], action: Num[Array, "*a"]) -> Step:
        """Draw the next observation, by a network that is drawn for this step (TS1 of Chua et al., 2018).

        In a rollout of "ts_inf" one network stays for all steps of a plan (TS∞).

        Raises:
            ValueError: if the model has not been fitted, or an array has another shape.
        """
        member_key, noise_key = jax.random.split(key)
        member = 0 if self.num_members == 1 else jax.random.randint(member_key, (), 0, self.num_members)
        action = self._taken(action)
        said = self._said(self.member(member), self._checked(state), action)
        after = said.mean
        if self.noisy:
            after = after + said.std * jax.random.normal(noise_key, after.shape)
        reward = said.reward if self.reward is None else scalar("reward", self.reward(state, action, after))
        # the likelier of both: a chance of ending that is never quite 0 would make rewards below 0 worth less
        discount = jnp.where((said.discount < 0.5) & (self.scaling.ends_seen > 0), 0.0, 1.0)
        if self.terminate is not None:
            discount = jnp.where(truth("terminate", self.terminate(after)), 0.0, discount)
        return Step(after, reward, discount)

    def predict(self, state: Numbers, action: Numbers) -> Prediction:
        """What each network says of a step.

        Args:
            state: an observation, [n].
            action: on the scale of plans.

        Raises:
            ValueError: as `step` does.
        """
        action = self._taken(action)
        return jax.vmap(lambda params: self._said(params, self._checked(state), action))(self.fitted().params)

    def spread(self, state: Numbers, action: Numbers) -> Spread:
        """How uncertain the next observation is: by what networks disagree on, and by the noise that they expect.

        Args:
            state: an observation, [n].
            action: on the scale of plans.

        Raises:
            ValueError: as `step` does.
        """
        said = self.predict(state, action)
        return Spread(said.mean.std(0), jnp.sqrt((said.std**2).mean(0)))

    def value(self, state: Float[Array, " n"]) -> Float[Array, ""]:
        """The value that was given, or zero."""
        return jnp.zeros(()) if self.value_function is None else scalar("value", self.value_function(state))

    def fitted(self) -> "LearnedModel":
        """This model.

        Raises:
            ValueError: if it has not been fitted.
        """
        if self.params is None:
            raise ValueError("model must be fitted before it says anything: learning.fit(model, transitions, key)")
        return self

    def member(self, number: Any) -> Any:
        """The parameters of the network of that number, from 0."""
        return jax.tree.map(lambda leaf: leaf[number], self.fitted().params)

    def inputs(self, state: Float[Array, " n"], action: Num[Array, "*a"]) -> Float[Array, " f"]:
        """What networks are given of an observation and an action, before it is scaled."""
        seen = state
        if self.encode is not None:
            seen = jnp.asarray(self.encode(state), float)
        elif self.angles:
            turned = state[jnp.array(self.angles)]
            straight = jnp.array([i for i in range(self.observation_size) if i not in self.angles], int)
            seen = jnp.concatenate([state[straight], jnp.sin(turned), jnp.cos(turned)])
        acted = action if self.num_actions is None else jax.nn.one_hot(action, self.num_actions)
        return jnp.concatenate([seen, acted])

    def change(self, state: Float[Array, " n"], after: Float[Array, " n"]) -> Float[Array, " n"]:
        """By how much an observation has changed; angles by the shorter way round."""
        change = after - state
        if not self.angles:
            return change
        places = jnp.array(self.angles)
        return change.at[places].set((change[places] + jnp.pi) % (2.0 * jnp.pi) - jnp.pi)

    def outputs(self, params: Any, inputs: Float[Array, " f"]) -> Outputs:
        """What a network says, on the scale of targets, of inputs that are not scaled yet.

        Args:
            params: of one network.
            inputs: as `inputs` makes them.
        """
        scaled = (inputs - self.scaling.input_mean) / self.scaling.input_std
        said = jnp.asarray(self.network.apply(params["network"], scaled), float)
        size = self.observation_size + self.learns_reward
        mean, log_var = said[:size], said[size : 2 * size]
        # soft bounds, which are learnt too (Chua et al., 2018, appendix A.1)
        log_var = params["max_log_var"] - jax.nn.softplus(params["max_log_var"] - log_var)
        log_var = params["min_log_var"] + jax.nn.softplus(log_var - params["min_log_var"])
        return Outputs(mean, log_var, said[2 * size] if self.learns_end else None)

    def _said(self, params: Any, state: Float[Array, " n"], action: Num[Array, "*a"]) -> Prediction:
        """What one network says, without the leading axis of `Prediction`."""
        said = self.outputs(params, self.inputs(state, action))
        size, unit = self.observation_size, self.scaling.target_std
        mean = self.scaling.target_mean + unit * said.mean
        std = unit * jnp.exp(0.5 * said.log_var)
        reward = mean[size] if self.learns_reward else jnp.zeros(())
        discount = jnp.ones(()) if said.logit is None else jax.nn.sigmoid(said.logit)
        return Prediction(state + mean[:size], std[:size], reward, discount)

    def _taken(self, action: Any) -> Float[Array, " A"] | Int[Array, ""]:
        if self.action_size is None:
            return check_choice(action)
        return jnp.clip(check_action(action, self.action_size), -1.0, 1.0)

    def _checked(self, state: Any) -> Float[Array, " n"]:
        state = jnp.asarray(state, float)
        if state.shape != (self.observation_size,):
            raise ValueError(f"observation must be a vector [{self.observation_size}], got shape {state.shape}")
        return state
