"""Importing users: what is right goes in, what is not is named by its line, and a second run makes nobody twice."""

import json
import re
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import func, select

from authapp.extensions import db
from authapp.importing import files
from authapp.models import User
from tests.factories import ALICE, BOB, CAROL, Api, mails, make_user, refusal, user_of
from tests.foreign_hashes import TYPED, VECTORS
from tests.statements import failing, heard, just_before
from tests.test_cli import DEADLOCK, run, told

HASH = next(known for maker, known, _ in VECTORS if maker == "Django pbkdf2_sha256")
ID = "4f6b1c52-8d3e-4a37-9f10-2b7c5d9e8a01"
OTHER_ID = "0d9a4b7e-13c5-4e0f-8c55-6a1f0e3b2d77"


def bring(app: Flask, text: str | bytes, *options: str, form: str = "csv") -> Result:
    return run(
        app, "import-users", "-", "--format", form, *options, input=text.encode() if isinstance(text, str) else text
    )


def counts(result: Result) -> str:
    """Give the last line, of a run in which nothing was refused."""
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def refused(result: Result) -> dict[int, str]:
    """Give the lines that were refused, and why."""
    assert result.exit_code == 1, result.output
    said = [line.removeprefix("line ").partition(": ") for line in result.stderr.splitlines()]
    return {int(number): why for number, _, why in said}


def addresses(app: Flask) -> list[str]:
    with app.app_context():
        return sorted(db.session.scalars(select(User.email)))


def test_account_has_all_that_its_row_says(app: Flask, api: Api):
    with app.app_context():
        before = datetime.now(UTC)
    rows = "id,email,password_hash,name,photo,role,is_active,is_verified,created_at\n"
    rows += f'{ID},Alice@Example.ORG,{HASH},"Liddell, ""Alice"" 😀",https://x.org/a.png,editor,true,1,2019-05-01T12:30:00+02:00\n'
    rows += f"{{{OTHER_ID.upper()}}},{BOB},,,,,F,,2019-05-01 10:30:00\n"
    rows += f"\n,{CAROL},,,,,,,\n"
    assert counts(bring(app, rows)) == "Imported 3 users; 0 were there already; 0 refused.\n"
    alice, bob, carol = user_of(app), user_of(app, BOB), user_of(app, CAROL)
    assert (alice.id, bob.id, carol.id.version) == (uuid.UUID(ID), uuid.UUID(OTHER_ID), 7)
    assert (alice.name, alice.photo, alice.role) == ('Liddell, "Alice" 😀', "https://x.org/a.png", "editor")
    assert (bob.name, bob.photo, bob.role) == (None, None, "user")
    assert [(user.is_active, user.is_verified) for user in (alice, bob, carol)] == [
        (True, True),
        (False, False),
        (True, False),
    ]
    assert alice.created_at == bob.created_at == datetime(2019, 5, 1, 10, 30, tzinfo=UTC)
    assert before <= carol.created_at <= carol.updated_at
    assert mails(app) == []
    assert api.log_in(password=TYPED)["user"]["id"] == ID


def test_account_has_all_that_its_object_says(app: Flask):
    row = {"email": ALICE, "name": "Zoë", "is_verified": True, "is_active": 0, "role": None, "id": ID}
    result = bring(app, f"\n{json.dumps(row)}\r\n{json.dumps({'email': BOB})}", form="jsonl")
    assert counts(result) == "Imported 2 users; 0 were there already; 0 refused.\n"
    alice = user_of(app)
    assert (str(alice.id), alice.name, alice.role) == (ID, "Zoë", "user")
    assert (alice.is_active, alice.is_verified) == (False, True)


def test_address_that_is_in_the_file_twice_is_taken_once(app: Flask):
    # In any spelling, with and without other rows' commits between them.
    rows = [
        "email",
        *(f"user{number}@example.org" for number in range(510)),
        "USER0@Example.org",
        "user509@example.ORG",
    ]
    result = bring(app, "\n".join(rows))
    assert refused(result) == {512: "email: The same as in line 2.", 513: "email: The same as in line 511."}
    assert result.stdout == "Imported 510 users; 0 were there already; 2 refused.\n"


def test_who_is_there_already_stays_as_they_are(app: Flask):
    make_user(app, name="Alice")
    rows = f"email,name\nALICE@example.org,Mallory\n{BOB},Bob\n"
    assert counts(bring(app, rows)) == "Imported 1 user; 1 was there already; 0 refused.\n"
    assert counts(bring(app, rows)) == "Imported 0 users; 2 were there already; 0 refused.\n"
    assert user_of(app).name == "Alice"


def test_id_belongs_to_one_account(app: Flask):
    counts(bring(app, f"email,id\n{ALICE},{ID}\n"))
    rows = f"email,id\n{ALICE},{ID}\n{BOB},{ID}\n{ALICE},{OTHER_ID}\n{CAROL},{OTHER_ID}\nx@x.org,{OTHER_ID}\n"
    assert refused(bring(app, rows)) == {
        3: "id: The same as in line 2.",
        4: "email: The same as in line 2.",
        6: "id: The same as in line 5.",
    }
    rows = f"email,id\n{ALICE},{uuid.UUID(int=7)}\nx@x.org,{ID}\n"
    assert refused(bring(app, rows)) == {
        2: "id: The address is there already, under another id.",
        3: "id: Another account's.",
    }
    assert addresses(app) == [ALICE, CAROL]


def test_dry_run_says_the_same_and_writes_nothing(app: Flask):
    make_user(app)
    rows = f"email,name\n{ALICE},\n{BOB},\nnobody,\n{BOB},\n"
    result = bring(app, rows, "--dry-run")
    assert refused(result) == {4: "email: Not a valid e-mail address.", 5: "email: The same as in line 3."}
    assert result.stdout == "Would import 1 user; 1 was there already; 2 refused.\n"
    assert addresses(app) == [ALICE]


@pytest.mark.any_database
def test_file_is_read_by_its_name_and_errors_are_written_where_they_should(app: Flask, tmp_path: Path):
    file, errors = tmp_path / "users.JSONL", tmp_path / "errors.txt"
    file.write_text(f'{{"email": "{ALICE}"}}\n{{"email": "nobody"}}\n')
    result = run(app, "import-users", str(file), "--errors", str(errors))
    assert (result.exit_code, result.stderr) == (1, "")
    assert errors.read_text() == "line 2: email: Not a valid e-mail address.\n"
    assert addresses(app) == [ALICE]


@pytest.mark.any_database
def test_file_that_is_not_there_or_of_no_known_kind_is_misuse(app: Flask, tmp_path: Path):
    (tmp_path / "users.txt").touch()
    for arguments in ([str(tmp_path / "users.txt")], ["-"], [str(tmp_path / "none.csv")], [str(tmp_path)], []):
        assert run(app, "import-users", *arguments).exit_code == 2


def test_who_registers_meanwhile_is_there_already(app: Flask):
    with just_before(app, "INSERT INTO auth_user", lambda: make_user(app, BOB, name="Bob")):
        result = bring(app, f"email,name\n{ALICE},\n{BOB},Mallory\n{CAROL},\n")
    assert counts(result) == "Imported 2 users; 1 was there already; 0 refused.\n"
    assert user_of(app, BOB).name == "Bob"


@pytest.mark.only_on("mariadb")
def test_deadlock_is_tried_again_twice_and_then_told_in_one_line(app: Flask):
    with failing(app, "INSERT INTO auth_user", DEADLOCK, times=2):
        counts(bring(app, f"email\n{ALICE}\n"))
    with failing(app, "INSERT INTO auth_user", DEADLOCK, times=3):
        assert told(bring(app, f"email\n{BOB}\n")) == "The database refused: Deadlock found; see flask auth doctor."
    assert addresses(app) == [ALICE]


def test_batch_costs_one_select_and_one_insert(app: Flask):
    rows = ["email,id", *(f"user{number}@example.org,{uuid.uuid4()}" for number in range(1000))]
    with heard(app) as statements:
        counts(bring(app, "\n".join(rows)))
    assert [statement.split()[0] for statement in statements] == ["SELECT", "INSERT"] * 2
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(User)) == 1000


@pytest.mark.any_database
@pytest.mark.parametrize(
    "address", ["é@example.org", "x..y@example.org", "x@xn--bcher-kva.example", "x@bücher.org", "=?x?=@x.org"]
)
def test_address_is_taken_exactly_where_a_registration_takes_it(app: Flask, api: Api, address: str):
    for email in (address, f"{'x' * 64}@{'y' * 63}.{address.rpartition('@')[2]}", f"{'x' * 65}@example.org"):
        response = api.register(email)
        result = bring(app, json.dumps({"email": email}), form="jsonl")
        assert (response.status_code == 201) == (result.exit_code == 0), email
        if response.status_code == 201:
            assert "1 was there already" in result.stdout
        else:
            assert refusal(response) == (422, "VALIDATION_ERROR")


@pytest.mark.any_database
def test_page_names_every_field_and_every_hash_that_is_taken(root: Path):
    page = (root / "docs/import.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(files.FIELDS)
    (table,) = re.findall(r"^\| it begins with .*?\n\n", page, re.MULTILINE | re.DOTALL)
    named = {text for row in table.strip().splitlines()[2:] for text in re.findall(r"`([^`]+)`", row.split("|")[1])}
    taken = {next((name for name in named if known.startswith(name)), known) for _, known, _ in VECTORS}
    assert taken == named
