"""An import's file that was written, or went wrong, so that it does harm."""

import io
import tracemalloc
from pathlib import Path

import pytest
from flask import Flask

from authapp import users
from authapp.errors import ValidationError
from authapp.importing import accounts, files
from tests.factories import ALICE, BOB, make_user, user_of
from tests.test_cli import run
from tests.test_import_users import addresses, bring, refused

pytestmark = pytest.mark.any_database

# A kelvin sign, a long s, an i without a dot and an I with one: letters that Unicode folds to, or from, those of ASCII.
LOOKALIKES = "\u212a\u017f\u0131\u0130"


def test_letter_that_is_folded_to_one_of_ascii_makes_nobody_of_another_address(app: Flask):
    for letter in "ksi":
        make_user(app, f"{letter}endra@example.org", role="admin")
    there = addresses(app)
    found = refused(bring(app, "\n".join(["email", *(f"{letter}endra@example.org" for letter in LOOKALIKES)])))
    assert found == dict.fromkeys(range(2, 6), "email: Not a valid e-mail address.")
    assert addresses(app) == there


@pytest.mark.parametrize("role", ["admin\u200b", "\u0430dmin", "admin\u00ad", "\uff41dmin", "ad min"], ids=ascii)
def test_role_that_looks_like_another_is_refused(app: Flask, role: str):
    found = refused(bring(app, f"email,role\n{ALICE},{role}\n{BOB},ROLE_editor-2.b:c\n"))
    assert found == {2: "role: Not a valid role: use at most 32 of A to Z, a to z, 0 to 9 and _ . : -"}
    assert user_of(app, BOB).role == "ROLE_editor-2.b:c"


@pytest.mark.parametrize("link", [False, True])
def test_file_that_is_read_is_not_written(app: Flask, tmp_path: Path, link: bool):
    file = tmp_path / "users.jsonl"
    file.write_text('{"email": "nobody"}\n')
    errors = tmp_path / "errors.txt" if link else file
    if link:
        errors.symlink_to(file)
    result = run(app, "import-users", str(file), "--errors", str(errors))
    assert (result.exit_code, file.read_text()) == (2, '{"email": "nobody"}\n')
    assert "Say with --errors another file" in result.stderr


def test_row_without_an_end_is_read_no_further_than_a_row_may_be_long():
    file = io.BytesIO(b'email\nalice@example.org\n"' + b'ab\n","' * 1_000_000)
    tracemalloc.start()
    try:
        found = list(files.rows(files.Lines(file), files.CSV))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    problem = "Not CSV: the row is longer than 65536 bytes, in line 10926. Nothing from here on was read."
    assert [(row.line, row.problem) for row in found] == [(2, None), (3, problem)]
    assert (file.tell() < 2**18, peak < 2**22) == (True, True)


def test_address_with_any_letter_that_folds_to_ascii_is_read_as_a_registration_reads_it():
    letters = [char for char in map(chr, range(128, 2**16)) if _folds_to_ascii(char)]
    assert set(LOOKALIKES) < set(letters)
    for char in letters:
        for address in (f"{char}endra@example.org", f"x@{char}ewe.org", f"x@example.o{char}g"):
            assert _taken(address) == _registered(address), ascii(address)


def _folds_to_ascii(char: str) -> bool:
    forms = (char.lower(), char.upper(), char.casefold())
    return any(letter.isascii() and letter.isalpha() for form in forms for letter in form)


def _taken(address: str) -> str | None:
    try:
        email: str = accounts.values({"email": address})["email"]
    except ValidationError:
        return None
    return email


def _registered(address: str) -> str | None:
    try:
        return users.normalize_email(address)
    except ValidationError:
        return None
