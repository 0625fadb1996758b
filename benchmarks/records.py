"""Records of a benchmark: a JSON line each, in one file per model, by which an interrupted run goes on."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def file_of(folder: Path, name: str) -> Path:
    """The file of a model's records: without the colon, which is no part of a file's name everywhere.

    Args:
        folder: of the records.
        name: of the model.
    """
    return folder / f"{name.replace(':', '-')}.jsonl"


def records_of(folder: Path, name: str) -> list[dict[str, Any]]:
    """What is known of a model; a last line that an interruption left unfinished is left out.

    Args:
        folder: of the records.
        name: of the model.
    """
    path = file_of(folder, name)
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines if line.endswith("\n")]
    if len(whole) < len(lines):
        path.write_text("".join(whole))
    return [json.loads(line) for line in whole]


def keep(folder: Path, name: str, known: list[dict[str, Any]], record: dict[str, Any]) -> None:
    """Add a record to what is known of a model, and to its file.

    Args:
        folder: of the records.
        name: of the model.
        known: its records.
        record: the new one.
    """
    known.append(record)
    with file_of(folder, name).open("a") as file:
        file.write(json.dumps(record) + "\n")


def found(known: Sequence[Any], conditions: Mapping[str, Any], seeds: Iterable[int]) -> list[Any]:
    """The latest record of each seed, where there is one.

    Args:
        known: records.
        conditions: what a record must agree with, but for its seed.
        seeds: which.
    """
    latest = {record["seed"]: record for record in known if conditions.items() <= record.items()}
    return [latest[seed] for seed in seeds if seed in latest]


def unknown(known: Sequence[Any], conditions: Mapping[str, Any], seeds: Iterable[int]) -> list[int]:
    """The seeds of which there is no record yet.

    Args:
        known: records.
        conditions: what a record must agree with, but for its seed.
        seeds: which.
    """
    seeds = list(seeds)
    there = {record["seed"] for record in found(known, conditions, seeds)}
    return [seed for seed in seeds if seed not in there]
