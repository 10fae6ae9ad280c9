"""authapp beside what people would pick instead, on the same machine, in the same minutes.

    make bench-peers
    .venv/bin/python -m benchmarks.peers --rounds 1 --seconds 2 --database sqlite --peer flask-security

Runs authapp's real service, Flask-Security-Too, fastapi-users and Django with simplejwt: each peer newest from PyPI, in
a virtual environment of its own, as the small application beside this file that its own pages describe, under gunicorn
with two workers, on SQLite and, where one answers, on MariaDB. They take turns in every round, so that the machine's
moods meet all, and the medians of the rounds are shown:

- `me` by whoever has an access token, over eight connections of wrk, as fast as it is answered;
- refresh with rotation over eight connections, each with a session of its own (fastapi-users has no refresh tokens);
- `me` a hundred times a second, whether or not the answers before have come, beside nothing and then beside sixteen
  connections that do nothing but log in, each peer with its own password hash at its own default cost.

What a request costs is the processor's time that the service's processes used meanwhile, which depends much less on
what else the machine does than the rate does. The client's share of a processor is printed, since no service can have
that. Every SQLite file is in WAL mode, as authapp's is by itself; only authapp writes a log line for each request.
Exits with 1 where a request to authapp failed, or where it refreshes less than 1.3 times as fast as Flask-Security.
"""

import argparse
import functools
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack

from benchmarks import setting
from benchmarks.peers import load
from benchmarks.peers.report import Results, figures_of, show_details
from benchmarks.peers.roster import AUTHAPP, PEERS, Peer, install, serve, version
from benchmarks.setting import Given
from benchmarks.table import Figure, show

Running = dict[str, tuple[int, int]]
"""The port and the first process of each peer."""
ROUNDS, SECONDS, WARM_SECONDS = 3, 4, 1


def measure(peers: Sequence[Peer], address: str, given: Given) -> list[Figure]:
    """Run these peers, the first on this empty database and the others on some like it, and ask them all in turns."""
    everybody = {peer.name: Results(seconds=given.seconds) for peer in peers}
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        clients = stack.enter_context(ProcessPoolExecutor(2, mp_context=context))
        running: Running = {}
        for peer in peers:
            where = stack.enter_context(setting.database(given.kind)) if running else address
            # There was a server a moment ago.
            assert where
            running[peer.name] = stack.enter_context(serve(peer, where))
            # What is not counted starts the threads of the service, and both of the clients' processes.
            load.ask_for_me(peer, running[peer.name], WARM_SECONDS)
            load.look_beside(peer, running[peer.name], WARM_SECONDS, clients, stormy=True)
        for _ in range(given.rounds):
            _ask_everybody(peers, running, everybody, given.seconds, clients)
    for name, met in everybody.items():
        show_details(f"{name} ({given.kind})", met)
    return figures_of(given.kind, everybody)


def _ask_everybody(
    peers: Sequence[Peer], running: Running, everybody: dict[str, Results], seconds: float, clients: ProcessPoolExecutor
) -> None:
    for peer in peers:
        everybody[peer.name].me.append(load.ask_for_me(peer, running[peer.name], seconds))
    for peer in peers:
        if peer.refresh:
            asked = clients.submit(load.refresh, peer.name, running[peer.name], seconds)
            everybody[peer.name].refresh.append(asked.result())
    for peer in peers:
        met = everybody[peer.name]
        met.idle.append(load.look_beside(peer, running[peer.name], seconds, clients, stormy=False)[0])
        looked, logins = load.look_beside(peer, running[peer.name], seconds, clients, stormy=True)
        met.stormy.append(looked)
        met.logins.append(logins)


def main() -> int:
    """Compare on each database and give the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"in which all are asked for everything ({ROUNDS})")
    parser.add_argument("--seconds", type=int, default=SECONDS, help=f"that each is asked for one thing ({SECONDS})")
    parser.add_argument("--database", choices=[kind.lower() for kind in setting.KINDS], help="one of them only")
    parser.add_argument("--peer", action="append", choices=[*PEERS], help="beside authapp; may be given again (all)")
    given = parser.parse_args()
    peers = [PEERS[name] for name in PEERS if name in (AUTHAPP.name, *(given.peer or PEERS))]
    for peer in peers:
        install(peer)
    print(", ".join(version(peer) for peer in peers), flush=True)
    kinds = tuple(kind for kind in setting.KINDS if given.database in (None, kind.lower()))
    measured = functools.partial(measure, peers)
    figures = setting.run(measured, kinds=kinds, rounds=given.rounds, seconds=given.seconds)
    show(figures)
    return int(any(figure.is_met is False for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
