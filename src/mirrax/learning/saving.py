"""Save what is learnt in a folder, and load it for a model: arrays and a description, never code."""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mirrax import __version__
from mirrax.dynamics.base import Model, check_model
from mirrax.dynamics.spaces import action_space
from mirrax.learning.checkpoints import read_checkpoint, tidy, write_checkpoint
from mirrax.learning.kinds import bare, blank, described, observing, spaces_of
from mirrax.learning.policies.networks import bound_observe, check_observe
from mirrax.learning.policies.records import PolicyTraining
from mirrax.planners.policies import PlanNetwork, plan_network
from mirrax.results.files import write_whole

ABOUT, LEARNT = "learnt.json", "learnt"
_ARRAYS = ("arrays-0", "arrays-1")


def save(path: Path | str, thing: Any) -> None:
    """Write what is learnt to a folder: numbers by orbax, kind and sizes as `learnt.json`.

    What is observed of a state is a function: its name is written, and whoever loads it gives it again. What was
    saved there before stays until the new one is complete, whatever happens.

    Args:
        path: the folder, which is made.
        thing: a policy, a value, a plan network (`planners.policies.plan_network`), what `learn_policy` returned,
            which is policy, value and records, or what `learn_value` returned, of which it is the value. The networks
            of `train` are in its folder: see `load_model`.

    Raises:
        ImportError: without the package orbax-checkpoint, which says how to install it.
        ValueError: if it is none of these, not bound to a model, or not finite.
        OSError: if it cannot be written.
    """
    from mirrax.learning.planned_values import ValueTraining  # which is learnt by what imports this

    thing = thing.value if isinstance(thing, ValueTraining) else thing
    about, tree = described(thing), bare(_arrays_of(thing))
    if (lost := _not_finite(tree)) is not None:
        raise ValueError(f"thing must be finite, got NaN or infinity in {lost}")
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    before = _arrays_there(folder)
    name, other = (_ARRAYS[1], _ARRAYS[0]) if before == _ARRAYS[0] else _ARRAYS
    tidy(folder)
    write_checkpoint(folder / name, tree)
    dtypes = {str(leaf.dtype) for leaf in jax.tree.leaves(tree)}
    whole = {"mirrax": __version__, "arrays": name, "dtype": dtypes.pop(), "fingerprint": fingerprint(tree)}
    write_whole({folder / ABOUT: json.dumps(whole | {"learnt": about}, indent=2) + "\n"})
    shutil.rmtree(folder / other, ignore_errors=True)


def load(path: Path | str, model: Model, *, observe: Callable[..., Any] | None = None) -> Any:
    """Read what `save` has written, or what a training of a policy, or of a value, has learnt so far.

    Args:
        path: the folder, or that of the training (`out` of `learn_policy` and `learn_value`, `mirrax learn`).
        model: that it is for: with the actions, and as many observed numbers, as what it was learnt on.
        observe: state -> observation [n], the function that it was learnt with; None for the usual one.

    Returns:
        What was saved, bound to the model.

    Raises:
        ImportError: without the package orbax-checkpoint, which says how to install it.
        ValueError: if there is nothing in the folder, it is damaged, it is for another model, or it was learnt with
            an `observe` of one's own that is not given.
    """
    folder = folder_of(path)
    told = about(folder)
    try:
        like, (size, name, actions) = blank(told["learnt"]), spaces_of(told["learnt"])
        arrays, dtype = folder / str(told["arrays"]), jnp.dtype(told["dtype"])
    except Exception as error:  # whatever a damaged file, or one of a later version, makes of it
        version = told.get("mirrax")
        known = f"; mirrax {version} has written it, this is {__version__}" if version != __version__ else ""
        raise ValueError(f"{folder / ABOUT} is damaged: {error!r}{known}") from error
    space = action_space(check_model("model", model))
    if actions is not None and actions != str(space):
        raise ValueError(f"model must have {actions}, as what is learnt in {str(folder)!r}, got {space}")
    if name is not None and observe is None:
        raise ValueError(f"observe must be given: what is in {str(folder)!r} was learnt with {name}, got None")
    seen_by = _observe_of(like, check_observe(observe), model)
    seen = jax.eval_shape(seen_by, jax.eval_shape(model.init, jax.random.key(0)))
    if jnp.shape(seen) != (size,):
        of = "model" if observe is None else "observe"
        raise ValueError(
            f"{of} must have {size} observed numbers, as what is learnt in {str(folder)!r}, got {jnp.shape(seen)}"
        )
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise ValueError(f"{str(folder)!r} has numbers of {dtype}, which take jax_enable_x64=True")
    empty = jax.tree.map(lambda leaf: np.zeros(leaf.shape, dtype), _arrays_of(like))
    tree = read_checkpoint(arrays, empty, "save it anew")
    if told.get("fingerprint") != fingerprint(tree):
        raise ValueError(f"{arrays} is damaged: its numbers are not those that were saved; save it anew")
    if (lost := _not_finite(tree)) is not None:
        raise ValueError(f"{arrays} must be finite, got NaN or infinity in {lost}")
    tree = observing(tree, seen_by)
    return dataclasses.replace(like, **tree) if isinstance(like, PolicyTraining) else tree


def folder_of(path: Path | str) -> Path:
    """The folder that `save` has written, of a folder or of that of a training.

    Args:
        path: as the user gave it.

    Raises:
        ValueError: if there is none.
    """
    for folder in (Path(path), Path(path) / LEARNT):
        if (folder / ABOUT).is_file():
            return folder
    raise ValueError(
        f"path must be a folder of learning.save, or of the training of a policy or a value, got {str(path)!r}"
    )


def about(folder: Path) -> dict[str, Any]:
    """What `learnt.json` says.

    Args:
        folder: that `save` has written.

    Raises:
        ValueError: if it is damaged.
    """
    try:
        found = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"it is {type(found).__name__}")
    except ValueError as error:
        raise ValueError(f"{folder / ABOUT} is damaged: {error}") from error
    return found


def _arrays_of(thing: Any) -> Any:
    if isinstance(thing, PolicyTraining):
        return {"policy": thing.policy, "value": thing.value}
    return thing


def _observe_of(like: Any, observe: Callable[..., Any] | None, model: Model) -> Any:
    """What it observes of a state: by the function that is given, or as its kind does."""
    if isinstance(like, PlanNetwork):
        return plan_network(like.horizon, observe=observe).observe
    return bound_observe(observe, model)


def _arrays_there(folder: Path) -> str | None:
    """The name of the arrays that were saved last; None for none."""
    try:
        return str(about(folder).get("arrays"))
    except (ValueError, OSError):
        return None


def _not_finite(tree: Any) -> str | None:
    """Where a number is not finite; None for nowhere."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not np.isfinite(np.asarray(leaf)).all():
            return jax.tree_util.keystr(path, simple=True, separator=".")
    return None


def fingerprint(tree: Any) -> str:
    """What tells arrays from others: a digest of names, shapes and numbers.

    Args:
        tree: any pytree of arrays.
    """
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape};".encode() + array.tobytes())
    return digest.hexdigest()
