"""What every peer is asked, alike: `me` and refresh as fast as it answers, and `me` at a fixed rate beside logins."""

import functools
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus

from benchmarks import wrk
from benchmarks.login_storm import LOOKERS, Heard, Span, log_in_again, look_at, percentile, together
from benchmarks.peers.roster import PEERS, Peer, found
from benchmarks.people import Client, address
from benchmarks.service import used

STORMERS = 16
START_SECONDS = 0.5


@dataclass(frozen=True)
class Met:
    """What one kind of request met; `client`, `service` and `database` are seconds of the processor."""

    answers: int
    failures: list[str]
    seconds: float
    p99: float
    """In ms."""
    client: float
    service: float
    database: float

    @property
    def a_second(self) -> float:
        """How many were answered a second."""
        return self.answers / self.seconds

    @property
    def cost(self) -> float:
        """What a request cost the service's processes, in ms of the processor."""
        return 1000 * self.service / max(self.answers, 1)

    @property
    def database_cost(self) -> float:
        """What a request cost MariaDB, in ms of the processor, with all that it did meanwhile."""
        return 1000 * self.database / max(self.answers, 1)

    @property
    def client_share(self) -> float:
        """The part of one processor that asking took."""
        return self.client / self.seconds


def ask_for_me(peer: Peer, running: tuple[int, int], seconds: float) -> Met:
    """Ask who is calling, as fast as it is answered."""
    port, pid = running
    access, _ = sign_in(peer.name, port, 0)
    before = (_of_children(), *used(pid)[1:])
    heard = wrk.ask(f"http://127.0.0.1:{port}{peer.me}", access, seconds, header=f"{peer.header}: {peer.scheme}")
    after = (_of_children(), *used(pid)[1:])
    spent = [end - start for start, end in zip(before, after, strict=True)]
    return Met(heard.answers, ["me: not 200, says wrk"] * heard.failures, heard.seconds, heard.p99, *spent)


def _of_children() -> float:
    """Give the seconds of the processor that wrk, each time it ran, and whoever else has ended have used so far."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def sign_in(name: str, port: int, number: int) -> tuple[str, str]:
    """Log in and give the access token and, where there is one, the refresh token."""
    peer, client = PEERS[name], Client(port)
    status, answer = client.ask("POST", *peer.to_log_in(address(number)))
    client.close()
    if status != HTTPStatus.OK:
        raise SystemExit(f"login at {name} answered {status}: {answer.decode()}")
    return found(answer, peer.access), found(answer, peer.rotated) if peer.refresh else ""


def refresh(name: str, running: tuple[int, int], seconds: float) -> Met:
    """Refresh over several connections, each with a session of its own; a process of its own runs this."""
    port, pid = running
    with ThreadPoolExecutor(wrk.CONNECTIONS) as threads:
        tokens = list(threads.map(lambda number: sign_in(name, port, number)[1], range(wrk.CONNECTIONS)))
        before, began = used(pid), time.monotonic()
        several = threads.map(lambda token: _refresh_again(PEERS[name], port, token, began + seconds), tokens)
        heard = together(list(several))
        after, lasted = used(pid), time.monotonic() - began
    spent = [end - start for start, end in zip(before, after, strict=True)]
    return Met(len(heard.milliseconds), heard.failures, lasted, percentile(heard, 99), *spent)


def _refresh_again(peer: Peer, port: int, token: str, end: float) -> Heard:
    heard, client = Heard(), Client(port)
    while (sent := time.monotonic()) < end:
        status, answer = client.ask("POST", *peer.to_refresh(token))
        heard.milliseconds.append((time.monotonic() - sent) * 1000)
        if status == HTTPStatus.OK:
            token = found(answer, peer.rotated)
        else:
            heard.failures.append(f"refresh: {status} {answer.decode(errors='replace')}")
            # Some end the whole session when anything goes wrong.
            token = sign_in(peer.name, port, 0)[1]
    client.close()
    return heard


def look_beside(
    peer: Peer, running: tuple[int, int], seconds: float, clients: ProcessPoolExecutor, *, stormy: bool
) -> tuple[Heard, Heard]:
    """Ask for `me` a hundred times a second, beside nothing or beside logins; give what those and these have met."""
    port = running[0]
    headers = peer.signed(sign_in(peer.name, port, 0)[0])
    begin = time.monotonic() + START_SECONDS
    span = Span(begin, begin + seconds)
    looked = clients.submit(look, port, peer.me, headers, span)
    logins = clients.submit(storm, peer.name, port, span).result() if stormy else Heard()
    return looked.result(), logins


def look(port: int, path: str, headers: dict[str, str], span: Span) -> Heard:
    """Ask for one thing a hundred times a second; a process of its own runs this."""
    return _at_once(
        [functools.partial(look_at, port, path, headers, span, number / LOOKERS) for number in range(LOOKERS)]
    )


def storm(name: str, port: int, span: Span) -> Heard:
    """Log in over many connections, again and again; a process of its own runs this."""
    return _at_once([functools.partial(_storm, PEERS[name], port, number, span) for number in range(STORMERS)])


def _storm(peer: Peer, port: int, number: int, span: Span) -> Heard:
    client = Client(port)
    heard = log_in_again(lambda email: client.ask("POST", *peer.to_log_in(email)), address(number), span)
    client.close()
    return heard


def _at_once(asks: Sequence[Callable[[], Heard]]) -> Heard:
    began = time.process_time()
    with ThreadPoolExecutor(len(asks)) as threads:
        heard = together(list(threads.map(lambda ask: ask(), asks)))
    heard.processor = time.process_time() - began
    return heard


def median(several: Sequence[float]) -> float:
    """Give the one in the middle; not a number where there is none."""
    return statistics.median(several) if several else float("nan")
