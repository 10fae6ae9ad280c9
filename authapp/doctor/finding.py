"""What a check finds."""

from collections.abc import Callable
from dataclasses import dataclass

OK = "ok"
WARNING = "warning"
FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One sentence about one thing; where it is not in order, with the mend."""

    name: str
    level: str
    says: str


Check = Callable[[], Finding]


def ok(says: str) -> Finding:
    """Find nothing wrong; whoever runs the checks puts the name to it."""
    return Finding("", OK, says)


def warning(says: str) -> Finding:
    """Find what works and should not stay so."""
    return Finding("", WARNING, says)


def fail(says: str) -> Finding:
    """Find what is broken, or open to strangers."""
    return Finding("", FAIL, says)
