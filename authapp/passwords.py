"""Passwords: which are good enough, how they are hashed, and how many are checked at once.

Hashing is the one expensive thing that a stranger can ask for, so it goes through a gate: a few at once, some
more waiting, the rest are told to come back. Whoever takes a place holds no database connection meanwhile.
"""

import logging
import re
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import BoundedSemaphore, Lock
from typing import TypeVar, cast
from urllib.parse import urlsplit

from flask import current_app
from werkzeug.security import check_password_hash, generate_password_hash
from zxcvbn import zxcvbn

from authapp.errors import ServerBusyError, ValidationError

T = TypeVar("T")

log = logging.getLogger(__name__)

# Far more than any password: to bring a text to its one form takes the square of its length, where it is all accents.
_MOST_CHARACTERS = 4096
# As much of a password as zxcvbn rates; what comes after it only makes a password stronger. It takes the square of
# this, once for each way to read what stands for letters: half as much again, and one password takes half a second.
_RATED_LENGTH = 40
# What zxcvbn reads as letters, and how many kinds of them it may try: all ten digits are among them.
_STAND_INS = "4@8({[<369|1!70$5+%2"
_MOST_STAND_INS = 10
_MOST_WORDS = 20

# How Werkzeug's hashes begin, which ours are.
_OURS = ("scrypt:", "pbkdf2:")

# Whoever has waited this long will soon hang up: the hash would be for nobody.
_LONGEST_WAIT_SECONDS = 10
# How long whoever is refused waits for that answer, and how many do at once: each of them takes a thread, and some must
# be left for what needs no hash.
_HELD_OFF_SECONDS = 0.5
_MOST_HELD_OFF = 24


class Gate:
    """At most `concurrency` hashes at once in this process, and at most `queue` waiting for a place."""

    def __init__(self, *, concurrency: int, queue: int) -> None:
        self._places = BoundedSemaphore(concurrency)
        self._kept = BoundedSemaphore(_MOST_HELD_OFF)
        self._lock = Lock()
        self._free = concurrency + queue
        # Around every wait, for whoever measures it.
        self.waiting: Callable[[], AbstractContextManager[object]] = nullcontext

    @contextmanager
    def place(self, read: Callable[[], T] | None = None) -> Iterator[T | None]:
        """Wait for a place and hold it, with what `read` gives.

        It is read before the wait: whoever hashes keeps the others waiting, and should not wait for a database himself.
        Raises `ServerBusyError` when too many wait already, or this one too long.
        """
        with self._lock:
            is_full = not self._free
            self._free -= not is_full
        if is_full:
            self._hold_off()
            raise _busy(reason="queue_full")
        try:
            with self.waiting():
                found = read() if read else None
                is_ours = self._places.acquire(timeout=_LONGEST_WAIT_SECONDS)
            if not is_ours:
                raise _busy(reason="waited_too_long")
            try:
                yield found
            finally:
                self._places.release()
        finally:
            with self._lock:
                self._free += 1

    def _hold_off(self) -> None:
        """Keep whoever is refused for a moment, unless many are kept already.

        Those who come straight back, whatever they are told, would else cost more than all who are served.
        """
        if self._kept.acquire(blocking=False):
            try:
                time.sleep(_HELD_OFF_SECONDS)
            finally:
                self._kept.release()


def _busy(*, reason: str) -> ServerBusyError:
    log.warning("server_busy", extra={"reason": reason})
    return ServerBusyError()


def place(read: Callable[[], T] | None = None) -> AbstractContextManager[T]:
    """Take a place at this application's gate; to be entered before any SQL but that of `read`, see `Gate.place`."""
    gate: Gate = current_app.extensions["authapp"].gate
    return cast("AbstractContextManager[T]", gate.place(read))


def hash(password: str) -> str:
    """Hash a password with `AUTH_PASSWORD_HASH` and a salt of its own; the caller holds a place."""
    return generate_password_hash(_normalize(password), method=current_app.config["AUTH_PASSWORD_HASH"])


def verify(password: str, password_hash: str | None) -> bool:
    """Check a password; `None` (nobody has that address) costs the same time and is always wrong.

    So is the empty text of an account without a password, and a hash of another system's that is damaged.
    """
    # What is no ASCII cannot even be compared.
    kept = password_hash if password_hash and password_hash.isascii() else None
    if kept and not kept.startswith(_OURS):
        right = _verify_of_another_system(password, kept)
        if right is not None:
            return right
        kept = None
    known = kept or _decoy(current_app.config["AUTH_PASSWORD_HASH"])
    try:
        right = check_password_hash(known, _normalize(password))
    except ValueError:
        if not is_outdated(known):
            # The method works: there is no memory for it now, and nothing has been learned about the password.
            raise
        # A damaged hash: nobody logs in with it, which is no reason for an error.
        return False
    return right and kept is not None


def is_outdated(password_hash: str) -> bool:
    """Say whether the hash was made by another method, or at another cost, than is configured now."""
    configured: str = current_app.config["AUTH_PASSWORD_HASH"]
    return not password_hash.startswith(f"{configured}$")


def check_policy(password: str, *, email: str, name: str | None = None, field: str = "password") -> None:
    """Refuse a weak password with all that is wrong with it (NIST SP 800-63B: length and strength, no mixtures).

    Slow for a hostile password (a tenth of a second): the caller holds a place at the gate.
    Raises `ValidationError` with the messages under `field`.
    """
    config, problems = current_app.config, []
    if len(password) > _MOST_CHARACTERS:
        raise ValidationError(details={field: [f"Use at most {config['AUTH_PASSWORD_MAX_LENGTH']} characters."]})
    # As it was typed and in its one form: a single sign may stand for three, which makes it no harder to guess.
    shorter, longer = sorted((len(password), len(_normalize(password))))
    if shorter < config["AUTH_PASSWORD_MIN_LENGTH"]:
        problems.append(f"Use at least {config['AUTH_PASSWORD_MIN_LENGTH']} characters.")
    if longer > config["AUTH_PASSWORD_MAX_LENGTH"]:
        problems.append(f"Use at most {config['AUTH_PASSWORD_MAX_LENGTH']} characters.")
    if password and config["AUTH_PASSWORD_MIN_SCORE"]:
        problems += _weaknesses(password, [*_words_of_the_service(), email, email.partition("@")[0], name or ""])
    if problems:
        raise ValidationError(details={field: problems})


def _words_of_the_service() -> tuple[str, str]:
    """Give what everybody who guesses here thinks of: its name, and the host that it is reached at."""
    config = current_app.config
    return config["AUTH_BRAND_NAME"], urlsplit(config["AUTH_PUBLIC_URL"]).hostname or ""


def _weaknesses(password: str, known: list[str]) -> list[str]:
    """Say what makes the password easy to guess for whoever has `known` these texts, and so their words."""
    words = re.findall(r"[^\W_]+", " ".join(known))[:_MOST_WORDS]
    rating = zxcvbn(_ratable(password), user_inputs=[text for text in (*known, *words) if text])
    if rating["score"] >= current_app.config["AUTH_PASSWORD_MIN_SCORE"]:
        return []
    feedback = rating["feedback"]
    return ["This password is too easy to guess.", *filter(None, [feedback["warning"], *feedback["suggestions"]])]


def _ratable(password: str) -> str:
    """Give what of a password is rated: of the characters that stand for letters, the first few kinds only.

    zxcvbn tries every way to read them, which takes seconds when there are all twenty.
    """
    text = _normalize(password)[:_RATED_LENGTH]
    kinds = list(dict.fromkeys(char for char in text if char in _STAND_INS))[:_MOST_STAND_INS]
    return "".join("~" if char in _STAND_INS and char not in kinds else char for char in text)


def _normalize(password: str) -> str:
    """Give the one form of a password that can be typed in several (NIST SP 800-63B: NFKC or NFKD)."""
    return unicodedata.normalize("NFKC", password)


def _verify_of_another_system(password: str, password_hash: str) -> bool | None:
    """Check a password against an imported hash; where that is damaged, it says neither yes nor no."""
    # Its libraries are for those who have such hashes.
    from authapp import hashes

    try:
        check = hashes.read(password_hash)
        # As it was typed there, or in our one form. Each one more would be paid for at every guess of a stranger.
        return any(check(form) for form in dict.fromkeys([password, _normalize(password)]))
    except ValueError:
        return None


def _decoy(method: str) -> str:
    """Give a hash that costs as much to check as a real one and that no password has."""
    return f"{method}$nobody$none"
