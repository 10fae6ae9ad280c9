"""What a comparison has met, in words: the details of each peer, and the table."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from benchmarks.login_storm import Heard, percentile
from benchmarks.peers.load import Met, median
from benchmarks.peers.roster import AUTHAPP, FLASK_SECURITY
from benchmarks.table import Figure

LEAST_TIMES_FLASK_SECURITY = 1.3


@dataclass
class Results:
    """What one peer has met on one database, round by round."""

    me: list[Met] = field(default_factory=list)
    refresh: list[Met] = field(default_factory=list)
    idle: list[Heard] = field(default_factory=list)
    """`me` at a fixed rate beside nothing."""
    stormy: list[Heard] = field(default_factory=list)
    """And beside logins."""
    logins: list[Heard] = field(default_factory=list)
    seconds: float = 0.0
    """How long each round of logins took."""

    @property
    def idle_p99(self) -> float:
        """How long `me` took beside nothing, in ms."""
        return median([percentile(heard, 99) for heard in self.idle])

    @property
    def stormy_p99(self) -> float:
        """How long `me` took beside logins, in ms."""
        return median([percentile(heard, 99) for heard in self.stormy])

    @property
    def logins_a_second(self) -> float:
        """How many logged in."""
        return median([len(heard.milliseconds) / self.seconds for heard in self.logins])

    @property
    def failures(self) -> list[str]:
        """What went wrong, but for logins that were refused for being too many."""
        met = [failure for one in (*self.me, *self.refresh) for failure in one.failures]
        return met + [failure for one in (*self.idle, *self.stormy, *self.logins) for failure in one.failures]


Everybody = dict[str, Results]
"""Results by the names of the peers."""


def show_details(name: str, met: Results, write: Callable[[str], object] = print) -> None:
    """Print what a peer has met, all of it medians, and what the clients used of a processor meanwhile."""
    write(name)
    for kind, several in (("me", met.me), ("refresh", met.refresh)):
        if several:
            rate, p99 = median([one.a_second for one in several]), median([one.p99 for one in several])
            service, client = median([one.cost for one in several]), median([one.client_share for one in several])
            costs = f"service {service:.2f} ms of processor each, client {client:.0%} of one"
            write(f"  {kind:8}{rate:8.1f} a second, p99 {p99:7.1f} ms, {costs}")
    looking = median([one.processor / met.seconds for one in (*met.idle, *met.stormy)])
    storming = median([one.processor / met.seconds for one in met.logins])
    refused = sum(one.refused for one in met.logins)
    write(f"  me at 100 a second: p99 {met.idle_p99:.1f} ms, beside 16 that log in {met.stormy_p99:.1f} ms")
    write(f"  {met.logins_a_second:.1f} logins a second, {refused} refused; clients {looking:.0%} and {storming:.0%}")
    write(f"  {len(met.failures)} failed")
    for failure in met.failures[:3]:
        write(f"    {failure[:200]}")


def figures_of(kind: str, everybody: Everybody) -> list[Figure]:
    """Give the lines of the table; those of who refreshes leave out who cannot."""

    def row(name: str, value: Callable[[Results], float], places: int = 0) -> Figure:
        told = {peer: f"{value(met):.{places}f}" for peer, met in everybody.items() if not math.isnan(value(met))}
        ours, theirs = told.pop(AUTHAPP.name, "-"), ", ".join(f"{peer} {what}" for peer, what in told.items())
        return Figure(f"{name} ({kind})", "", theirs, ours)

    rows = [
        row("me: a second", lambda met: median([one.a_second for one in met.me])),
        row("me: processor of the service, ms", lambda met: median([one.cost for one in met.me]), 2),
        row("me: processor of the database, ms", lambda met: median([one.database_cost for one in met.me]), 2),
        row("me: p99 at 8 connections, ms", lambda met: median([one.p99 for one in met.me]), 1),
        _with_goal(row("refresh: a second", _refresh_rate), everybody),
        row("refresh: processor of the service, ms", lambda met: median([one.cost for one in met.refresh]), 2),
        row(
            "refresh: processor of the database, ms", lambda met: median([one.database_cost for one in met.refresh]), 2
        ),
        row("refresh: p99 at 8 connections, ms", lambda met: median([one.p99 for one in met.refresh]), 1),
        row("me at 100 a second: idle p99, ms", lambda met: met.idle_p99, 1),
        row("me at 100 a second: p99, times idle, beside 16 that log in", lambda met: met.stormy_p99 / met.idle_p99, 1),
        row("logins a second of these", lambda met: met.logins_a_second, 1),
        _without_failures(row("failed", lambda met: len(met.failures)), everybody),
    ]
    # SQLite's work is the service's.
    return [one for one in rows if kind != "SQLite" or "of the database" not in one.name]


def _with_goal(figure: Figure, everybody: Everybody) -> Figure:
    """Add the goal of refreshing, where both that it speaks of were asked."""
    if not {AUTHAPP.name, FLASK_SECURITY.name} <= everybody.keys():
        return figure
    times = _refresh_rate(everybody[AUTHAPP.name]) / _refresh_rate(everybody[FLASK_SECURITY.name])
    goal = f">= {LEAST_TIMES_FLASK_SECURITY} times {FLASK_SECURITY.name}"
    is_met = times >= LEAST_TIMES_FLASK_SECURITY
    return replace(figure, goal=goal, ours=f"{figure.ours} ({times:.2f} times)", is_met=is_met)


def _without_failures(figure: Figure, everybody: Everybody) -> Figure:
    """Add that nothing of authapp's may fail; what others refuse is theirs."""
    return replace(figure, goal="0", is_met=not everybody[AUTHAPP.name].failures)


def _refresh_rate(met: Results) -> float:
    return median([one.a_second for one in met.refresh])
