"""Planning by the clock: as many iterations as fit before a deadline, and an action in time whatever happens."""

import concurrent.futures
import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Num, PRNGKeyArray

from ..dynamics.base import Model, State, check_model
from ..dynamics.checks import integer, number
from ..dynamics.engines import imagined
from .api import Planner
from .checks import check_key, noted
from .gradients.planner import GradientPlanner
from .lqr.solver import IterativeLQR
from .policies.ascent import PolicyPlanner
from .rates import Pace, Persistent, answer, pace_of
from .rest import RestingPlanner
from .sampling.loop import SamplingPlanner
from .sampling.refinement import RefinedPlanner

_FALL = 0.1  # by how much of the difference an expected time falls, which rises at once


class Running(NamedTuple):
    """What goes from one control step to the next.

    Attributes:
        belief: of the last plan that was there in time.
        age: for how many control steps actions have been by it, those before the coming one.
        key: of its actions.
        pending: what is computed still, of which the result is what `Anytime.piece` returns; None for nothing.
        pending_age: how many control steps ago that began.
        pending_key: of its actions.
        piece_s: how long a piece is expected to take, s.
        act_s: how long it takes to find an action of a plan, s.
        num_late: how many plans were late so far.
    """

    belief: Any
    age: int
    key: PRNGKeyArray
    pending: concurrent.futures.Future[Any] | None
    pending_age: int
    pending_key: PRNGKeyArray
    piece_s: float
    act_s: float
    num_late: int


class AnytimeInfo(NamedTuple):
    """What happened in a control step.

    Attributes:
        num_iterations: how many were finished for this step before the deadline.
        late: whether there were none: the action is of the last plan that was there in time.
        num_late: how many plans were late so far.
        age: how many control steps ago the plan was made for which the action is: 0 unless it was late.
        seconds: from the call until the action was known.
        piece_s: how long the next piece is expected to take, s.
        info: of the last iterations that were finished; None where there were none.
    """

    num_iterations: int
    late: bool
    num_late: int
    age: int
    seconds: float
    piece_s: float
    info: Any


@dataclasses.dataclass(frozen=True)
class Anytime:
    """A planner that is driven by the clock. Make one with `anytime`.

    Attributes:
        planner: any.
        model: what to imagine with.
        deadline: the time of a call of `plan`, s.
        pace: how long a control step is.
        pieces: the planner cut into pieces, the later ones for later iterations; the last one goes on.
        max_iterations: the most for one control step; None for no limit.
        clock: the time, s.
        wait: (what is computed, until when) -> whether its result is there by then.
        worker: where pieces run, so that actions need not wait for them.
        piece: (planner, model, key, number, state, belief) -> (belief, info), compiled.
        later: (planner, belief, steps) -> belief, compiled.
        act: (planner, model, key, state, belief, time) -> action, compiled.
    """

    planner: Any
    model: Model
    deadline: float
    pace: Pace
    pieces: tuple[Any, ...]
    max_iterations: int | None
    clock: Callable[[], float]
    wait: Callable[[Any, float], bool]
    worker: concurrent.futures.Executor
    piece: Callable[..., Any]
    later: Callable[..., Any]
    act: Callable[..., Any]

    def init(self, state: State, key: PRNGKeyArray | None = None) -> Running:
        """Compile all that is needed, and measure it; this may take seconds, or minutes.

        Args:
            state: a state of the model, as `plan` will get them.
            key: of the plans that are made to measure; None for one of its own.

        Returns:
            What the first `plan` needs.

        Raises:
            ValueError: if planner, model and state do not fit.
        """
        key = jax.random.key(0) if key is None else check_key(key)
        belief = self.planner.init(self.model, state)
        spent = 0.0
        for piece in self.pieces:
            for _ in range(2):  # the first compiles
                began = self.clock()
                found, _ = self._begun(piece, key, 0, state, belief).result()
                last = self.clock() - began
            spent = max(spent, last)
        jax.block_until_ready(self.later(self.planner, found, float(self.pace.ratio)))
        for _ in range(2):
            began = self.clock()
            jax.block_until_ready(self.act(self.planner, self.model, key, state, found, 0.0))
            act_s = self.clock() - began
        return Running(belief, 0, key, None, 0, key, spent, act_s, 0)

    def plan(
        self, key: PRNGKeyArray, state: State, running: Running
    ) -> tuple[Num[Array, "*a"], Running, AnytimeInfo]:
        """Plan until the deadline, and choose the action to execute now.

        Iterations are begun as long as they are expected to end in time, one at least. Where not even that one ends,
        the action is the one that the last good plan has for now, by feedback where the planner has any; the
        iteration goes on, and its plan, moved on by the control steps since, is where the next planning begins.

        Args:
            key: of samples and noise.
            state: where plans start, a state of the model.
            running: what the call before returned; at first that of `init`.

        Returns:
            The action [A], as `planners.plan` gives it; what the next call needs; and what happened.
        """
        began, key = self.clock(), check_key(key)
        until = began + self.deadline - running.act_s
        piece_s, pending = running.piece_s, running.pending
        good, age, good_key, pending_age = running.belief, running.age, running.key, running.pending_age
        if pending is not None and self.wait(pending, until):
            good, age, good_key, pending = pending.result()[0], pending_age, running.pending_key, None
        num_iterations, info, pending_key = 0, None, running.pending_key
        if pending is None:
            belief = self.later(self.planner, good, age * float(self.pace.ratio)) if age else good
            for n in range(2**31 if self.max_iterations is None else self.max_iterations):
                if num_iterations and self.clock() + piece_s > until:
                    break
                piece = self.pieces[min(n, len(self.pieces) - 1)]
                now = self.clock()
                computed = self._begun(piece, key, n, state, belief)
                if not self.wait(computed, until):
                    pending, pending_age, pending_key = computed, 0, key
                    piece_s = max(piece_s, self.clock() - now)
                    break
                spent = self.clock() - now
                piece_s = max(spent, piece_s + _FALL * (spent - piece_s))
                belief, info = computed.result()
                num_iterations += _iterations_of(piece)
            if num_iterations:
                good, age, good_key = belief, 0, key
        late = num_iterations == 0
        action = self.act(self.planner, self.model, good_key, state, good, age * float(self.pace.ratio))
        action = jax.block_until_ready(action)
        num_late = running.num_late + late
        told = AnytimeInfo(num_iterations, late, num_late, age, self.clock() - began, piece_s, info)
        after = Running(
            good, age + 1, good_key, pending, pending_age + 1, pending_key, piece_s, running.act_s, num_late
        )
        return action, after, told

    def _begun(self, piece: Any, key: Any, number: int, state: State, belief: Any) -> concurrent.futures.Future[Any]:
        """A piece that is computed."""

        def compute() -> Any:
            with noted(self.planner, self.model, state):
                return jax.block_until_ready(self.piece(piece, self.model, key, number, state, belief))

        return self.worker.submit(compute)


def anytime(
    planner: Planner,
    model: Model,
    *,
    deadline: Any,
    iterations_per_piece: int = 1,
    max_iterations: int | None = None,
    control_dt: Any = None,
    clock: Callable[[], float] = time.perf_counter,
    wait: Callable[[Any, float], bool] | None = None,
) -> Anytime:
    """Drive a planner by the clock: as many iterations as fit before a deadline, for control in real time.

    It compiles a piece of the planner, one iteration unless told otherwise, and looks at the clock between pieces,
    which run in a thread of their own. Each begins as a planning does: momentum (of `gradient`, `stein`,
    `iterative_policy`) and regularisation (of `ilqr`) last for one piece, which may have several iterations. A
    planner of another kind is one piece. On an accelerator, which does one thing after the other, the action of a
    late plan waits for the piece that is under way: let pieces be short there.

    Args:
        planner: how to infer; it must be `planners.Persistent`, as all of this library are.
        model: what to imagine with.
        deadline: how long a call of `plan` may take, s, > 0: less than a control step.
        iterations_per_piece: how many iterations are begun at once, >= 1; no more than the planner has.
        max_iterations: the most pieces of one control step, >= 1; None for as many as fit.
        control_dt: the duration of a control step, s, at most `dt` of the model; None for that.
        clock: the time in seconds, which only grows.
        wait: (a `concurrent.futures.Future`, until when by the clock) -> whether its result is there by then; None
            for the usual way, of a clock that runs as all clocks do.

    Returns:
        The driver: `running = it.init(state)`, and then `action, running, info = it.plan(key, state, running)` in
        each control step.

    Raises:
        ValueError: for a parameter outside its range, or a planner that cannot act by a plan of before.
    """
    if not (isinstance(planner, Planner) and isinstance(planner, Persistent)):
        raise ValueError(
            "planner must have actions and respond beside init, improve, act and shift (see planners.Persistent), "
            f"got {type(planner).__name__}"
        )
    pace = pace_of(check_model("model", model), None, control_dt)
    if isinstance(pace.ratio, jax.core.Tracer):
        raise ValueError("control_dt and dt of model must be known numbers: this is no function to jit, got traced")
    seconds = number("deadline", deadline, above=0.0)
    if not callable(clock) or not (wait is None or callable(wait)):
        raise ValueError(f"clock and wait must be callable, got {clock!r} and {wait!r}")

    def piece(planner: Any, model: Any, key: Any, number: Any, state: Any, belief: Any) -> Any:
        model, state = imagined(model, state)
        return planner.improve(model, jax.random.fold_in(jax.random.split(key)[0], number), state, belief)

    def act(planner: Any, model: Any, key: Any, state: Any, belief: Any, time: Any) -> Any:
        return answer(planner, model, jax.random.split(key)[1], state, belief, time)

    return Anytime(
        planner=planner,
        model=model,
        deadline=seconds,
        pace=pace,
        pieces=_cut(planner, integer("iterations_per_piece", iterations_per_piece)),
        max_iterations=None if max_iterations is None else integer("max_iterations", max_iterations),
        clock=clock,
        wait=(lambda result, until: _wait(result, until, clock)) if wait is None else wait,
        worker=concurrent.futures.ThreadPoolExecutor(1, "planning"),
        piece=jax.jit(piece),
        later=jax.jit(lambda planner, belief, steps: planner.shift(belief, steps)),
        act=jax.jit(act),
    )


def _cut(planner: Any, size: int) -> tuple[Any, ...]:
    """A planner in pieces of so many iterations each; where numbers of samples differ, one for each."""
    match planner:
        case RefinedPlanner() | RestingPlanner():
            return tuple(dataclasses.replace(planner, planner=part) for part in _cut(planner.planner, size))
        case SamplingPlanner(num_samples=tuple() as sizes):
            return tuple(dataclasses.replace(planner, num_samples=number, num_iterations=1) for number in sizes)
        case SamplingPlanner() | GradientPlanner() | IterativeLQR() | PolicyPlanner():
            return (dataclasses.replace(planner, num_iterations=min(size, planner.num_iterations)),)
    return (planner,)


def _iterations_of(piece: Any) -> int:
    """How many iterations a piece has; 1 of a planner of another kind."""
    match piece:
        case RefinedPlanner() | RestingPlanner():
            return _iterations_of(piece.planner)
        case SamplingPlanner() | GradientPlanner() | IterativeLQR() | PolicyPlanner():
            return piece.num_iterations
    return 1


def _wait(computed: concurrent.futures.Future[Any], until: float, clock: Callable[[], float]) -> bool:
    """Whether a result is there, by that time at the latest."""
    concurrent.futures.wait([computed], max(0.0, until - clock()))
    return computed.done()
