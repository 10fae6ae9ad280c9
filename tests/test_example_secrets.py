"""What can be read in this repository is no secret: production refuses every value of it that looks like one."""

import ast
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from authapp import create_app
from authapp.config import ConfigError
from authapp.settings import MIN_SECRET_BYTES
from authapp.testing import TEST_SETTINGS

# What people copy from, and the tests, whose settings others take for a start.
PLACES = (
    *("README.md", "CONTRIBUTING.md", ".env.example", "compose.yaml"),
    *("authapp", "benchmarks", "docs", "examples", "tests"),
)
KINDS = (".md", ".yaml", ".ini", ".example", ".html", ".js", ".sh", ".json")
# Checksums of packages, and what other tests have installed: no program of ours reads either.
LEFT_OUT = {"package-lock.json", "node_modules"}
NAME = re.compile(r"SECRET|(^|_)KEY\b")
GIVEN = re.compile(r"""(\w*(?:SECRET|_KEY)\w*)["']?\s*[:=]+\s*["'`]?([^\s"'`,;<>]+)""")
RUN = re.compile(rf"[A-Za-z0-9_+=-]{{{MIN_SECRET_BYTES},}}")
AT_RANDOM = (re.compile("[a-z]"), re.compile("[A-Z]"), re.compile("[0-9]"))


def files(root: Path) -> Iterator[Path]:
    for place in PLACES:
        here = root / place
        yield from here.rglob("*") if here.is_dir() else (here,)


def made_at_random(text: str) -> Iterator[str]:
    return (run for run in RUN.findall(text) if all(kind.search(run) for kind in AT_RANDOM))


def in_text(text: str) -> Iterator[str]:
    """Find what a text gives to a name of a secret, and whatever was made at random."""
    yield from (value for _, value in GIVEN.findall(text))
    yield from made_at_random(text)


def in_program(text: str) -> Iterator[str]:
    """Find the texts that a program gives to a name of a secret; a test has tokens and checksums too."""
    for node in ast.walk(ast.parse(text)):
        for name, value in given(node):
            if isinstance(value, ast.Constant) and isinstance(value.value, str) and NAME.search(name):
                yield value.value


def given(node: ast.AST) -> Iterator[tuple[str, ast.AST | None]]:
    """Give the names to which a piece of a program gives values, and the values."""
    if isinstance(node, ast.keyword):
        yield node.arg or "", node.value
    elif isinstance(node, ast.Assign):
        yield from ((ast.unparse(target), node.value) for target in node.targets)
    elif isinstance(node, ast.AnnAssign):
        yield ast.unparse(node.target), node.value
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant):
                yield str(key.value), value


def readable_secrets(root: Path) -> dict[str, str]:
    """Give all that looks like a secret and is long enough to be one, and the file that it stands in."""
    found: dict[str, str] = {}
    for file in files(root):
        if LEFT_OUT & {*file.relative_to(root).parts}:
            continue
        if file.suffix == ".py":
            found |= dict.fromkeys(in_program(file.read_text()), file.name)
        elif file.suffix in KINDS or file.name == ".env.example":
            found |= dict.fromkeys(in_text(file.read_text()), file.name)
    return {secret: place for secret, place in found.items() if len(secret.encode()) >= MIN_SECRET_BYTES}


def refused(secret: str) -> bool:
    settings = {
        "APP_ENV": "production",
        "AUTH_PUBLIC_URL": "https://auth.example.org",
        "DATABASE_URL": "sqlite:///x.db",
    }
    try:
        create_app({**settings, "SECRET_KEY": secret}, environ={})
    except ConfigError as error:
        return "SECRET_KEY" in error.message
    return False


def test_production_refuses_every_secret_that_can_be_read_here(root: Path):
    found = readable_secrets(root)
    assert TEST_SETTINGS["SECRET_KEY"] in found
    assert {place: secret for secret, place in found.items() if not refused(secret)} == {}


def test_secret_that_somebody_adds_would_be_found():
    fresh = secrets.token_urlsafe(48)
    assert fresh in in_text(f"    SECRET_KEY={fresh}\n")
    assert fresh in in_text(f"Sign with `{fresh}`, say.")
    phrase = "one made of words and spaces"
    for program in (
        f"PRODUCTION = {{'SECRET_KEY': '{phrase}'}}",
        f"make_app(SECRET_KEY='{phrase}')",
        f"SECRET = '{phrase}'",
    ):
        assert list(in_program(program)) == [phrase]
    assert not refused(fresh)
