"""gunicorn's worker with threads, in which a client who is slow, or never hangs up, holds nothing that others need.

gunicorn.conf.py runs this file by itself, before there is an application: nothing of ours may be imported until a
worker loads it.
"""

import contextlib
import gc
import mmap
import os
import select
import socket
import struct
import sys
import threading
import time
from concurrent.futures import Future
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

# From a request's first byte: until all of it has come, and until its answer has been taken.
_REQUEST_SECONDS, _ANSWER_SECONDS = 10, 30
# As long as a client takes that has its answer and asks for more.
_LINGER_SECONDS = 0.005
# For a worker with fewer connections to take the one that has come.
_STEP_BACK_SECONDS = 0.001

# Of each worker: when it last said how many connections it has, and how many. A worker says so every second.
_LOAD, _MOST_WORKERS, _SILENT_SECONDS = struct.Struct("dd"), 256, 3
_loads = mmap.mmap(-1, _MOST_WORKERS * _LOAD.size)


class Worker(ThreadWorker):  # type: ignore[misc]  # It has no types.
    """gunicorn's worker with threads; that one lets a client who is slow, or never hangs up, hold what others need.

    And whoever connects while it stops it lets wait, only to hang up on them at its end.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.since: dict[Any, float] = {}
        self.lock = threading.Lock()
        self.places = threading.BoundedSemaphore(self.cfg.threads // 4)

    def load_wsgi(self) -> None:
        """Load the application; the first worker says in a line what is wrong with it, and what it lacks."""
        if self.age > 1 or os.environ.get("AUTHAPP_GREETING"):
            self._load()
            return
        from authapp import starting

        if status := starting.try_settings(self._load, log=self.log.error_log):
            sys.exit(status)

    def _load(self) -> Any:
        # What is loaded stays. To look through it for garbage, now and then, would halt all threads for 0.1 seconds.
        gc.disable()
        super().load_wsgi()
        gc.freeze()
        gc.enable()
        return self.wsgi

    def handle(self, conn: Any) -> Any:
        """Serve what is asked on this connection, in a thread, for as long as one request follows upon the other.

        A request that comes by way of the poller needs three threads in turn, each of which waits for the interpreter's
        lock. A quarter of the threads stay so; the others are everybody's, one request at a time.
        """
        stays = self._serve(conn)
        if stays is True and self.places.acquire(blocking=False):
            try:
                while stays is True and self.alive and _follows(conn):
                    stays = self._serve(conn)
            finally:
                self.places.release()
        return stays

    def _serve(self, conn: Any) -> Any:
        """Serve a request."""
        with self.lock:
            self.since[conn] = time.monotonic()
        try:
            return super().handle(conn)
        finally:
            with self.lock:
                del self.since[conn]

    def finish_request(self, conn: Any, fs: "Future[Any]") -> None:
        """Wait for the client to hang up, two seconds at most, in a thread: gunicorn takes no connection meanwhile."""
        if fs.cancelled() or fs.exception() or fs.result():
            super().finish_request(conn, fs)
        else:
            self.nr_conns -= 1
            self.tpool.submit(conn.close, graceful=True)

    def accept(self, listener: Any) -> None:
        """Take a connection; a worker that has more of them than another lets that one go first.

        Which worker takes how many would else be chance, and one that has them all has one interpreter's lock for them.
        """
        if self.nr_conns > _fewest_connections():
            time.sleep(_STEP_BACK_SECONDS)
        super().accept(listener)

    def notify(self) -> None:
        """Say that the worker is alive, as it does every second, and end what has taken too long."""
        super().notify()
        now = time.monotonic()
        if self.alive:
            _LOAD.pack_into(_loads, self.age % _MOST_WORKERS * _LOAD.size, now, self.nr_conns)
        with self.lock:
            begun = list(self.since.items())
        for conn, since in begun:
            # What reads a body that breaks off refuses it, and the refusal still goes out.
            with contextlib.suppress(OSError):
                if now - since > _ANSWER_SECONDS:
                    conn.sock.shutdown(socket.SHUT_RDWR)
                elif now - since > _REQUEST_SECONDS and _is_awaited(conn.parser):
                    conn.sock.shutdown(socket.SHUT_RD)

    def set_accept_enabled(self, enabled: bool) -> None:
        """Stop accepting for good, when the worker is to end: take who is waiting, and close the socket at once.

        While other processes have it open they serve whoever connects, after the last one it is refused.
        """
        super().set_accept_enabled(enabled)
        if enabled or (self.alive and self.ppid == os.getppid()):
            return
        for listener in self.sockets:
            while self.nr_conns < self.worker_connections and _is_readable(listener, 0):
                self.accept(listener)
            listener.close()


def _fewest_connections() -> float:
    """Give how many connections that worker has which has the fewest, of those that have lately said so."""
    now = time.monotonic()
    return min((number for told, number in _LOAD.iter_unpack(_loads) if now - told < _SILENT_SECONDS), default=0.0)


def _follows(conn: Any) -> bool:
    """Say whether the client asks for more at once, having had his answer; what he sent before it gunicorn takes up."""
    return not conn.parser.unreader.buf.getvalue() and _is_readable(conn.sock, _LINGER_SECONDS)


def _is_readable(sock: socket.socket, seconds: float) -> bool:
    """Wait until there is something to read, or somebody to accept; say whether there is."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _is_awaited(parser: Any) -> bool:
    """Say whether some of a request has yet to come; one that has come may wait for its answer, and another follow."""
    if not (parser and parser.mesg and parser.mesg.req_number == parser.req_count):
        return True
    body = parser.mesg.body.reader
    return bool(getattr(body, "length", 0) or getattr(body, "parser", None))
