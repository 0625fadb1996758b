"""What JAX traces and compiles while a block runs, and why something was traced again."""

import collections
import contextlib
import dataclasses
import functools
import inspect
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import jax

from mirrax.dynamics.pytrees import one_level

__all__ = ["Count", "counted", "difference"]

P = ParamSpec("P")
R = TypeVar("R")

# JAX's names of what it reports to `jax.monitoring`
_TRACED = "/jax/core/compile/jaxpr_trace_duration"
_COMPILED = "/jax/core/compile/backend_compile_duration"
_WEAK = ", weakly typed (a number of Python)"
_SMALL = 0.5  # s, which single operations take that are not within a function, `broadcast_in_dim` and the like


class Count:
    """What was traced and compiled. Made by `counted`; printed, it says which programs, how long it took, and why.

    Attributes:
        traces: how often programs were traced, by the name of their function; one that is called within another is a
            part of that.
        compilations: how often programs were compiled, or loaded from JAX's cache on the disk, by the name of their
            function.
        seconds: how long the programs took to compile, by name, s.
        names: of the functions that are watched, which are told first.
        reasons: for each time that a function which is watched was traced again, why.
    """

    def __init__(self) -> None:
        self.traces: collections.Counter[str] = collections.Counter()
        self.compilations: collections.Counter[str] = collections.Counter()
        self.seconds: collections.Counter[str] = collections.Counter()
        self.reasons: list[str] = []
        self.names: list[str] = []

    def watched(self, function: Callable[P, R]) -> Callable[P, R]:
        """A compiled function that says what is different whenever it is traced again.

        Args:
            function: what `jax.jit` returns. Calls within the block are compared by their arguments.

        Returns:
            The same function, to be called in the place of the other.
        """
        name, seen = getattr(function, "__name__", type(function).__name__), list[dict[str, Any]]()
        self.names += [] if name in self.names else [name]

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            before = self.traces[name]
            result = function(*args, **kwargs)
            traced = self.traces[name] > before
            if traced or not seen:
                form = jax.tree.map(_form, _named(function, args, kwargs))
                if traced and seen:
                    found = min((difference(old, form) for old in seen), key=len)
                    why = "; ".join(found) or "its arguments are like those before: JAX's caches or settings are not"
                    self.reasons.append(f"{name} was traced again: {why}")
                seen.append(form)
            return result

        return call

    def __str__(self) -> str:
        total = sum(self.compilations.values())
        lines = [f"{total} program{'' if total == 1 else 's'} compiled in {sum(self.seconds.values()):.1f} s"]
        asked = [name for name in self.names if self.compilations[name] or self.traces[name]]
        others = sorted({*self.compilations} - {*asked}, key=lambda name: -self.seconds[name])
        small = [name for name in others if self.seconds[name] < _SMALL]
        for name in [*asked, *others]:
            if name not in small or len(small) == 1:
                how = f"{self.compilations[name]} compiled, {self.traces[name]} traced, {self.seconds[name]:.1f} s"
                lines.append(f"  {name}: {how}")
        if len(small) > 1:
            number, took = (sum(count[name] for name in small) for count in (self.compilations, self.seconds))
            some = ", ".join(small[:3]) + (", ..." if len(small) > 3 else "")
            lines.append(f"  {len(small)} small ones ({some}): {number} compiled, {took:.1f} s")
        return "\n".join([*self.reasons, *lines])

    def _add(self, event: str, seconds: float, function: str) -> None:
        name = function.removeprefix("jit(").removesuffix(")")
        if event == _TRACED:
            self.traces[name] += 1
        elif event == _COMPILED:
            self.compilations[name] += 1
            self.seconds[name] += seconds  # type: ignore[assignment]


@contextlib.contextmanager
def counted() -> Iterator[Count]:
    """Count what is traced and compiled in a block: `with compiling.counted() as count: ...; print(count)`.

    Of the thread that runs the block; blocks may be nested.

    Yields:
        The count, which goes up while the block runs; `count.watched(plan)` also says why `plan` is traced again.
    """
    count, thread = Count(), threading.get_ident()

    def listen(event: str, duration_secs: float, **about: str | int) -> None:
        if threading.get_ident() == thread:
            count._add(event, duration_secs, str(about.get("fun_name", "")))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield count
    finally:
        with contextlib.suppress(AssertionError, ValueError):  # somebody may have cleared them
            jax.monitoring.unregister_event_duration_listener(listen)


def difference(before: Any, after: Any) -> tuple[str, ...]:
    """How arguments differ from others, as far as JAX traces a function anew for that; in words.

    Args:
        before: pytrees by name, such as `{"planner": planner, "model": model}`, or any pytree.
        after: the same of another call.

    Returns:
        One sentence for each part that differs: its structure, what is static in it (a function, a number), shapes,
        dtypes, weak types, devices. Empty where they are all the same to JAX.
    """
    found = tuple(_differences("", before, after))
    return found or tuple(_values("", before, after))


@dataclasses.dataclass(frozen=True)
class _Form:
    """What JAX looks at in an argument; `value` is what it was, of numbers of Python."""

    described: str
    devices: str
    value: Any = None


def _form(leaf: Any) -> Any:
    if isinstance(leaf, _Form):
        return leaf
    try:
        kind = jax.typeof(leaf)
    except TypeError:  # no array: static, or an error that JAX tells
        return _Form(f"{leaf!r}", "", leaf)
    weak = _WEAK if getattr(kind, "weak_type", False) else ""
    devices = ""
    if isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer) and leaf.committed:
        devices = ", ".join(sorted(map(str, leaf.sharding.device_set)))
    value = leaf if isinstance(leaf, bool | int | float | complex) else None
    return _Form(f"{kind.str_short()}{weak}", devices, value)


def _give_it_a_dtype(before: Any, after: Any) -> str:
    """What to do about a number that is weakly typed in one of two calls."""
    forms = [_form(part) for part in (before, after)]
    weak, other = sorted(forms, key=lambda form: _WEAK not in form.described)
    value = 0.0 if weak.value is None else weak.value
    kind = other.described.removesuffix(_WEAK).partition("[")[0]
    return f"; give it a dtype: jnp.asarray({value!r}, jnp.{kind})"


def _differences(path: str, before: Any, after: Any) -> Iterator[str]:
    """What differs in a part of the arguments and below."""
    if _is_leaf(before) and _is_leaf(after):
        old, new = _form(before), _form(after)
        if old.described != new.described:
            advice = _give_it_a_dtype(before, after) if _WEAK in old.described + new.described else ""
            yield f"{_called(path)} is {new.described}, it was {old.described}{advice}"
        elif old.devices != new.devices:
            yield f"{_called(path)} is on {new.devices or 'any device'}, it was on {old.devices or 'any device'}"
        return
    if type(before) is not type(after):
        yield f"{_called(path)} is {_kind(after)}, it was {_kind(before)}"
        return
    (old_parts, old_structure), (parts, structure) = _parts(before), _parts(after)
    if old_parts.keys() != parts.keys():
        yield f"{_called(path)} has the parts {', '.join(parts) or 'none'}, it had {', '.join(old_parts) or 'none'}"
        return
    if old_structure != structure:
        yield from _static(path, before, after)
    for key, part in parts.items():
        yield from _differences(f"{path}{key}", old_parts[key], part)


def _static(path: str, before: Any, after: Any) -> Iterator[str]:
    """What differs in that part of a node which is compiled in."""
    names: list[str] = []
    if dataclasses.is_dataclass(after):
        names = [field.name for field in dataclasses.fields(after) if field.metadata.get("static")]
    elif isinstance(after, jax.tree_util.Partial):
        names = ["func"]
    told = False
    for name in names:
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            told = True
            where = _called(path if isinstance(after, jax.tree_util.Partial) else f"{path}.{name}")
            if inspect.isroutine(old) and inspect.isroutine(new):
                yield f"{where} is another function object ({_places(old, new)}); make it once"
            elif type(old) is type(new) and type(new).__eq__ is object.__eq__:
                yield f"{where} is another {type(new).__name__}; make it once"
            else:
                yield f"{where} is {new!r}, it was {old!r}"
    if not told:
        yield f"{_called(path)} is another {type(after).__name__}, which differs in what is compiled in"


def _values(path: str, before: Any, after: Any) -> Iterator[str]:
    """Which numbers of Python differ: where an argument is static, JAX compiles anew for each."""
    pairs = zip(jax.tree_util.tree_leaves_with_path(after), jax.tree.leaves(before), strict=False)
    for (keys, new), old in pairs:
        new, old = _form(new), _form(old)
        if new.value is not None and new.value != old.value:
            where = _called(f"{path}{jax.tree_util.keystr(keys)}")
            yield f"{where} is {new.value!r}, it was {old.value!r}, if it is static"


def _named(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by name."""
    try:
        return dict(inspect.signature(function).bind(*args, **kwargs).arguments)
    except (TypeError, ValueError):  # no signature
        return {**{str(number): arg for number, arg in enumerate(args)}, **kwargs}


def _parts(tree: Any) -> tuple[dict[str, Any], Any]:
    """As `one_level`; of a dictionary in its own order, not in that of JAX."""
    found, structure = one_level(tree)
    return ({f"[{name!r}]": part for name, part in tree.items()} if isinstance(tree, dict) else found), structure


def _is_leaf(part: Any) -> bool:
    return jax.tree_util.all_leaves([part])


def _kind(part: Any) -> str:
    if part is None:
        return "None"
    return _form(part).described if _is_leaf(part) else f"of the type {type(part).__name__}"


def _called(path: str) -> str:
    """A part as users write it: `model.mass` of `['model'].mass`."""
    name, bracket, rest = path.removeprefix("['").partition("']")
    return f"{name}{rest}" if path.startswith("['") and bracket else path or "it"


def _places(old: Any, new: Any) -> str:
    before, after = _place(old), _place(new)
    return after if before == after else f"{after}, it was {before}"


def _place(function: Any) -> str:
    """A function, and where it is written."""
    inner = inspect.unwrap(getattr(function, "__func__", function))
    name, code = getattr(inner, "__qualname__", type(inner).__name__), getattr(inner, "__code__", None)
    name = name.rpartition("<locals>.")[2]
    return name if code is None else f"{name} at {os.path.basename(code.co_filename)}:{code.co_firstlineno}"
