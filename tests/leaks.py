"""Secrets that get out: what came into being during a test is looked for in all that was logged, printed and answered.

`watch` runs around every test (see conftest.py), and `tests.overheard` tells it what it hears. What was said is read at
the end of the test: it does not matter whether a secret or the line about it came first, and nothing that the service
does depends on being watched.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

# What is shorter, or made of few characters, stands in texts by chance.
_LEAST_LENGTH = 10
_LEAST_CHARACTERS = 6

# What is known by its form, whoever made it.
_FORMS = {
    "token": r"\beyJ[\w-]{10,}\.eyJ[\w-]+\.[\w-]+",
    "link token": r"(?<![\w.-])\.?[\w-]{24,}\.[\w-]{6}\.[\w-]{27}(?![\w.-])",
    "hash": r"\b(?:scrypt:\d+:\d+:\d+|pbkdf2:\w+:\d+)\$[^$\s]+\$[0-9a-f]{16,}",
    "hash of another system's": r"\b(?:pbkdf2_\w+|scrypt)\$\d+\$\S{16,}|\$(?:2[aby]|pbkdf2|scrypt|argon2\w+)\$\S{40,}",
    "private key": r"PRIVATE KEY-----|LS0tLS1CRUdJTi[\w+/]*",
}
_FORM = re.compile("|".join(f"({pattern})" for pattern in _FORMS.values()))
_ADDRESS = re.compile(r"(?<![\w.+-])[\w.+-]+@(?:[\w-]+\.)+[A-Za-z]{2,}\b")
# The one line that is meant to have a link: in development, where there may be nobody to mail it to.
_DEVELOPMENT_LINK = re.compile(r"\bdevelopment_mail link=\S+")


class Said(NamedTuple):
    """Something that others can read, and whether it may name an address."""

    where: str
    text: str
    may_show_address: bool = False


class Watch:
    """What is secret so far, and what was said meanwhile."""

    def __init__(self) -> None:
        self._lasting: set[str] = set()
        self._fresh: set[str] = set()
        self._said: list[Said] = []
        self._files: dict[Path, int] = {}

    def keep(self, *secrets: object, lasting: bool = False) -> None:
        """Remember these as secrets: to the end of the test, or of the run."""
        texts = (str(secret) for secret in secrets if secret)
        (self._lasting if lasting else self._fresh).update(text for text in texts if _is_telling(text))

    def keep_token(self, token: str) -> None:
        """Remember a signed token: its signature is what it is worth, and a cut token no better than a whole one."""
        self.keep(token.rpartition(".")[2])

    def keep_settings(self, settings: Mapping[str, Any]) -> None:
        """Remember what is secret among the settings of an application."""
        earlier = settings.get("SECRET_KEY_FALLBACKS") or []
        earlier = earlier.split(",") if isinstance(earlier, str) else earlier
        key = str(settings.get("JWT_PRIVATE_KEY") or "")
        lines = [line for line in key.splitlines() if not line.startswith("-----")]
        self.keep(
            settings.get("SECRET_KEY"),
            settings.get("METRICS_TOKEN"),
            settings.get("MAIL_PASSWORD"),
            *earlier,
            *lines,
            lasting=True,
        )
        for name in ("DATABASE_URL", "REDIS_URL"):
            with contextlib.suppress(ArgumentError, ValueError):
                self.keep(make_url(settings.get(name) or "sqlite://").password, lasting=True)

    def say(self, where: str, text: str, *, may_show_address: bool = False) -> None:
        """Note what was said."""
        self._said.append(Said(where, text, may_show_address))

    def follow(self, file: Path) -> None:
        """Read what a process writes to this file from here on."""
        self._files.setdefault(file, 0)

    def take(self) -> list[str]:
        """Tell what got out since this was last asked, each secret cut short; then forget what was said."""
        for file in self._files:
            self._read(file)
        said, secrets = self._said, self._lasting | self._fresh
        self._said, self._fresh = [], set()
        whole = "\0".join(one.text for one in said)
        if "@" not in whole and not _FORM.search(whole) and not any(secret in whole for secret in secrets):
            return []
        return list(dict.fromkeys(found for one in said for found in _found(one, secrets)))

    def _read(self, file: Path) -> None:
        if not file.exists():
            return
        with file.open("rb") as written:
            written.seek(self._files[file])
            self.say(f"file {file.name}", written.read().decode(errors="replace"))
            self._files[file] = written.tell()


def _is_telling(text: str) -> bool:
    return len(text) >= _LEAST_LENGTH and len(set(text)) >= _LEAST_CHARACTERS


def _found(said: Said, secrets: Iterable[str]) -> Iterator[str]:
    text = _DEVELOPMENT_LINK.sub("", said.text)
    for secret in secrets:
        if secret in text:
            yield f"{said.where} has the secret {secret[:4]}…"
    if match := _FORM.search(text):
        yield f"{said.where} has a {list(_FORMS)[(match.lastindex or 1) - 1]}, {match[0][:12]}…"
    if not said.may_show_address and (match := _ADDRESS.search(text)):
        yield f"{said.where} has the address {match[0][:3]}…"


watch = Watch()
