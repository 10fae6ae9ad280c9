"""Progress, for whoever watches at a terminal: elsewhere there is nothing of it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

Update = Callable[[int], None]
"""Told how far a command is by now."""

_CLEAR = "\r\x1b[K"


@contextmanager
def bar(label: str, whole: int) -> Iterator[Update]:
    """Show how much of the whole is done, on standard error."""
    with click.progressbar(length=whole, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()) as shown:
        yield lambda done: shown.update(done - shown.pos)


@contextmanager
def count(label: str) -> Iterator[Update]:
    """Show how many there are by now, on standard error, where nobody knows how many there will be."""
    is_watched = sys.stderr.isatty()
    yield lambda done: click.echo(f"{_CLEAR}{label}: {done:,}", err=True, nl=False) if is_watched else None
    if is_watched:
        click.echo(_CLEAR, err=True, nl=False)


def note(text: str) -> None:
    """Print a line on standard error, in the place of what may stand there."""
    click.echo(f"{_CLEAR if sys.stderr.isatty() else ''}{text}", err=True)
