"""What a person sees at a terminal, and what is not shown where there is none."""

import json
import os
import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
import time_machine
from flask import Flask

from authapp import database
from authapp.extensions import db
from authapp.models import User
from tests import commands, terminal
from tests.factories import ALICE, BOB, PASSWORD, Api, make_user
from tests.leaks import watch
from tests.test_cli import WEAK

LONG = f"{'l' * 60}@example.org"
NOBODY = "line 2: email: Not a valid e-mail address."
COUNTED = "Imported 0 users; 0 were there already; 1 refused."


class Seen(NamedTuple):
    """The lines as they stay on a screen, where what was drawn over is gone; all that was sent to it; the status."""

    lines: list[str]
    sent: str
    status: int


def seen(app: Flask, root: Path, answers: dict[str, str | Iterator[str]], *wanted: tuple[int, list[str]]) -> list[Seen]:
    """Run these commands, at a terminal of so many columns, or at none; see `tests.commands`."""
    program = [sys.executable, "-m", "tests.commands", app.config["DATABASE_URL"], json.dumps(wanted)]
    status, screen = terminal.run(program, cwd=root, env={"PATH": os.environ["PATH"]}, answers=answers)
    assert status == 0, screen
    watch.say("a terminal", screen, may_show_address=True)
    parts = re.split(rf"{commands.OVER} (\d+)\n", screen)[:-1]
    return [_seen(sent, int(code)) for sent, code in zip(parts[::2], parts[1::2], strict=True)]


def _seen(sent: str, status: int) -> Seen:
    plain = re.sub(r"\x1b\[\??[0-9]*[A-Za-z]", "", sent)
    return Seen([line.rpartition("\r")[2] for line in plain.split("\n")[:-1]], sent, status)


@pytest.mark.long
@pytest.mark.any_database
def test_person_at_a_terminal_is_helped_and_elsewhere_nothing_is_drawn(
    app: Flask, api: Api, root: Path, tmp_path: Path
):
    make_user(app, BOB)
    with time_machine.travel(timedelta(days=-60)):
        api.log_in(BOB)
    with app.app_context():
        db.session.add(User(email=LONG, password_hash=""))
        database.commit()
    file = tmp_path / "users.csv"
    file.write_text("email\nnobody\n")
    made, wide, narrow, narrower, imported, purged, kept, *detached = seen(
        app,
        root,
        {"Password: ": iter([WEAK, PASSWORD]), "Repeat for confirmation: ": PASSWORD, "[y/N]: ": "n"},
        (100, ["create-user", ALICE, "--verified"]),
        (160, ["list-users"]),
        (90, ["list-users"]),
        (20, ["list-users"]),
        (100, ["import-users", str(file)]),
        (100, ["purge"]),
        (100, ["delete-user", BOB]),
        (0, ["import-users", str(file)]),
        (0, ["delete-user", BOB]),
    )
    _check_password(made)
    api.log_in()
    _check_tables(wide, narrow, narrower)
    assert (imported.status, imported.lines[0], imported.lines[2:]) == (1, NOBODY, [COUNTED])
    assert re.fullmatch(r"Importing +\[#{36}\] +100% *", imported.lines[1])
    assert "Deleted: 1\r" in purged.sent
    assert purged.lines[0] == "sessions: 1"
    assert (kept.status, kept.lines[-1]) == (1, "Aborted!")
    assert [(one.status, sorted(one.sent.splitlines())) for one in detached] == [
        (1, [COUNTED, NOBODY]),
        (1, ["Error: There is no terminal to ask at: use --yes."]),
    ]


def _check_password(made: Seen) -> None:
    assert made.status == 0
    asked = "Password: ", "Repeat for confirmation: "
    assert (made.lines[0], *made.lines[2:4]) == ("Password: ", *asked)
    assert made.lines[1].startswith("This password is too easy to guess. ")
    assert made.lines[-1].startswith(f"Made {ALICE} (")
    assert WEAK not in made.sent
    assert PASSWORD not in made.sent


def _check_tables(wide: Seen, narrow: Seen, narrower: Seen) -> None:
    header = ["EMAIL", "ROLE", "STATE", "CREATED", "ID"]
    for table, number in ((wide, 5), (narrow, 4), (narrower, 1)):
        assert table.lines[0].split() == header[:number]
        assert {len(line.replace(", ", ",").split()) for line in table.lines} == {number}
    assert [line.find(" user ") for line in wide.lines[1:]] == [wide.lines[0].find(" ROLE ")] * 3
    assert max(map(len, narrow.lines)) == 90
    assert max(map(len, narrower.lines)) == 20
    assert f"{'l' * 19}…" in narrower.lines
