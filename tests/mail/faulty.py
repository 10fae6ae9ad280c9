"""A mail server that misbehaves as it is told, at the moment that it is told."""

import contextlib
import re
import socket
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Callable

DROP = b"drop"
"""Hang up instead of answering."""
SILENCE = b"silence"
"""Take what comes and answer nothing for as long as anybody listens."""
DRIP = b"drip"
"""Answer, one byte now and then, and never to the end."""
TAKE_AND_DROP = b"take and drop"
"""Keep the mail, and hang up instead of saying so."""

# The moments of a conversation, in their order; HANDSHAKE is that of TLS, CONTENT the end of a mail.
MOMENTS = ("CONNECT", "EHLO", "STARTTLS", "HANDSHAKE", "AUTH", "MAIL", "RCPT", "DATA", "CONTENT")
TO_LET_US_IN = MOMENTS[: MOMENTS.index("MAIL")]
ABOUT_A_MAIL = MOMENTS[MOMENTS.index("MAIL") :]

_DRIP_SECONDS = 0.05
_WORD = re.compile(rb"[A-Za-z]+")


class FaultyServer:
    """A mail server for any number of clients; a fault is what it answers at a moment, or what it does instead."""

    def __init__(self, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.tls = tls
        # The content of every mail that it keeps, and the address that it was for.
        self.taken: list[tuple[str, bytes]] = []
        # Called with the moment and what the client said, before it is answered.
        self.watch: Callable[[str, bytes], object] = lambda *_: None
        self._faults: dict[str, list[bytes]] = defaultdict(list)
        self._always: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._clients: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def fail(self, moment: str, fault: bytes, *, times: int | None = None) -> None:
        """Misbehave at this moment, always or so many times."""
        if times is None:
            self._always[moment] = fault
        else:
            self._faults[moment] += [fault] * times

    def mend(self) -> None:
        """Behave from now on."""
        self._always.clear()
        self._faults.clear()

    def close(self) -> None:
        """Listen no more and hang up on everybody."""
        # Closing alone would not end the thread that waits for the next client.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for client in tuple(self._clients):
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        # By another name, which stays when TLS takes over the first.
        wire = client.dup()
        self._clients.add(wire)
        conversation = _Conversation(self, client)
        with contextlib.suppress(OSError, _GoneError):
            conversation.hold()
        self._clients.discard(wire)
        wire.close()
        conversation.lines.close()
        conversation.client.close()

    def fault(self, moment: str) -> bytes | None:
        """Give what is to go wrong at this moment, if anything is."""
        with self._lock:
            left = self._faults[moment]
            return left.pop(0) if left else self._always.get(moment)


class _GoneError(Exception):
    """One of the two has hung up."""


class _Conversation:
    """One connection: it knows which command may follow which, as real servers do."""

    def __init__(self, server: FaultyServer, client: socket.socket) -> None:
        self.server, self.client = server, client
        self.lines = client.makefile("rb")
        self.recipient = ""
        self.has_sender = False

    def hold(self) -> None:
        """Talk until somebody hangs up."""
        self._answer("CONNECT", b"", b"220 hello")
        while line := self.lines.readline():
            word = _WORD.match(line)
            verb = word[0].upper().decode() if word else ""
            getattr(self, f"_{verb.lower()}", self._unknown)(line)
            if verb == "QUIT":
                return

    def _ehlo(self, line: bytes) -> None:
        offers = [b"250-AUTH PLAIN"]
        if self.server.tls and not isinstance(self.client, ssl.SSLSocket):
            offers.append(b"250-STARTTLS")
        self._answer("EHLO", line, b"250-me\r\n" + b"\r\n".join(offers) + b"\r\n250 8BITMIME")

    _helo = _ehlo

    def _starttls(self, line: bytes) -> None:
        if not self._answer("STARTTLS", line, b"220 go on"):
            return
        fault = self._announced("HANDSHAKE", b"")
        if fault:
            self._misbehave(fault)
        assert self.server.tls is not None
        self.lines.close()
        self.client = self.server.tls.wrap_socket(self.client, server_side=True)
        self.lines = self.client.makefile("rb")

    def _auth(self, line: bytes) -> None:
        self._answer("AUTH", line, b"235 welcome")

    def _mail(self, line: bytes) -> None:
        if self.has_sender:
            self._say(b"503 nested MAIL command")
        else:
            self.has_sender = self._answer("MAIL", line, b"250 fine")

    def _rcpt(self, line: bytes) -> None:
        self.recipient = line.partition(b"<")[2].partition(b">")[0].decode()
        self._answer("RCPT", line, b"250 fine")

    def _data(self, line: bytes) -> None:
        if not self._answer("DATA", line, b"354 go on"):
            return
        content = b""
        while not content.endswith(b"\r\n.\r\n"):
            more = self.lines.readline()
            if not more:
                raise _GoneError
            content += more
        self.has_sender = False
        fault = self._announced("CONTENT", content)
        if fault in (None, TAKE_AND_DROP):
            self.server.taken.append((self.recipient, content))
        if fault == TAKE_AND_DROP:
            raise _GoneError
        if fault:
            self._misbehave(fault)
        else:
            self._say(b"250 taken")

    def _rset(self, line: bytes) -> None:
        self.has_sender = False
        self._say(b"250 fine")

    def _quit(self, line: bytes) -> None:
        self._say(b"221 bye")

    def _unknown(self, line: bytes) -> None:
        self._say(b"500 what?")

    def _announced(self, moment: str, said: bytes) -> bytes | None:
        self.server.watch(moment, said)
        return self.server.fault(moment)

    def _answer(self, moment: str, said: bytes, answer: bytes) -> bool:
        """Give this answer, unless something is to go wrong here; say whether it was given."""
        fault = self._announced(moment, said)
        if fault:
            self._misbehave(fault)
        else:
            self._say(answer)
        return not fault

    def _misbehave(self, fault: bytes) -> None:
        if fault == DROP:
            raise _GoneError
        if fault == SILENCE:
            while self.client.recv(4096):
                pass
            raise _GoneError
        while fault == DRIP:
            self.client.sendall(b"2")
            time.sleep(_DRIP_SECONDS)
        self._say(fault)
        if fault.startswith(b"421"):
            raise _GoneError

    def _say(self, line: bytes) -> None:
        self.client.sendall(line + b"\r\n")
