"""The table that every benchmark ends in: what was aimed at, what the limit or the peer reached, what authapp did."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A line of it; `is_met` is `None` where there is no goal."""

    name: str
    goal: str
    limit: str
    ours: str
    is_met: bool | None = None


def show(figures: Sequence[Figure]) -> None:
    """Print the table, as Markdown too reads it."""
    rows = [("figure", "goal", "limit", "authapp", "")]
    verdicts = {True: "met", False: "MISSED", None: ""}
    rows += [(one.name, one.goal, one.limit, one.ours, verdicts[one.is_met]) for one in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    rows.insert(1, tuple("-" * width for width in widths))  # type: ignore[arg-type]  # As many as there are columns.
    for row in rows:
        print("| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |", flush=True)
