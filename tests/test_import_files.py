"""Reading the file of an import: what is wrong in it is named, and only that is left out."""

import json

import pytest
from flask import Flask

from tests.factories import ALICE, BOB, CAROL, user_of
from tests.test_cli import told
from tests.test_import_users import addresses, bring, counts, refused

BAD = {
    "a@@x": "email: Not a valid e-mail address.",
    "": "email: Not a valid e-mail address.",
    "x@example.invalid": "email: Not a valid e-mail address.",
    f"x@x.org,{'n' * 101}": "name: Longer than maximum length 100.",
    "x@x.org,\x1b[31mRed": "name: Not a valid name.",
    "x@x.org,,http://x.org/a.png": "photo: Not a valid URL.",
    f"x@x.org,,https://x.org/{'a' * 2048}": "photo: Longer than maximum length 2048.",
    f"x@x.org,,,{'r' * 33}": "role: Not a valid role: use at most 32 of A to Z, a to z, 0 to 9 and _ . : -",
    "x@x.org,,,,perhaps": "is_verified: Neither true nor false.",
    "x@x.org,,,,,yesterday": "created_at: Not a time of ISO 8601, such as 2024-05-01T12:30:00Z.",
    "x@x.org,,,,,0001-01-01": "created_at: Not a time between 1970 and now.",
    "x@x.org,,,,,9999-12-31T23:59:59-12:00": "created_at: Not a time of ISO 8601, such as 2024-05-01T12:30:00Z.",
    "x@x.org,,,,,,7": "id: Not a UUID.",
    "b@b,,,,maybe": "email: Not a valid e-mail address. is_verified: Neither true nor false.",
}


@pytest.mark.any_database
def test_row_that_is_wrong_is_named_with_all_that_is_wrong_and_the_others_go_in(app: Flask):
    header = "email,name,photo,role,is_verified,created_at,id"
    wrong = [row + "," * (6 - row.count(",")) for row in BAD]
    result = bring(app, "\n".join([header, f"{ALICE},,,,,,", *wrong, f"{BOB},,,,,,", "x@x.org,x"]))
    found = refused(result)
    assert list(found.values()) == [*BAD.values(), "There are 2 fields in it, and 7 columns."]
    assert list(found) == [*range(3, 3 + len(BAD)), 4 + len(BAD)]
    assert result.stdout == f"Imported 2 users; 0 were there already; {len(BAD) + 1} refused.\n"
    assert addresses(app) == [ALICE, BOB]


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "Not JSON: each line has to be an object of its own."),
        ("[" * 30_000, "Not JSON: each line has to be an object of its own."),
        ("[]", "Not a JSON object."),
        ("{}", "email: Not a valid e-mail address."),
        ('{"email": 7}', "email: Not a valid e-mail address."),
        ('{"email": "x@x.org", "is_active": 7}', "is_active: Neither true nor false."),
        ('{"email": "x@x.org", "name": ["x"]}', "name: Not a text."),
        ('{"email": "x@x.org", "name": "\\ud800"}', "name: Not text in UTF-8."),
        ('{"email": "x@x.org", "name": "\\u0000"}', "name: Not text in UTF-8."),
        ('{"email": "x@x.org", "mail": "x"}', "Unknown: 'mail'. There are: email, password_hash,"),
        ('{"email": "x@x.org", "password": "x"}', "Passwords are not taken, only their hashes (password_hash):"),
        ('{"email": "' + "x" * 70_000 + '"}', "Not JSON: the row is longer than 65536 bytes."),
    ],
    ids=lambda text: text[:40],
)
def test_line_that_is_no_account_is_named_and_the_next_one_goes_in(app: Flask, line: str, why: str):
    found = refused(bring(app, f'{line}\n{{"email": "{ALICE}"}}\n', form="jsonl"))
    assert list(found) == [1]
    assert found[1].startswith(why)
    assert addresses(app) == [ALICE]


@pytest.mark.any_database
def test_byte_order_mark_and_windows_line_ends_are_no_matter(app: Flask):
    counts(bring(app, b"\xef\xbb\xbfemail,name\r\nalice@example.org,Alice\r\nbob@example.org,Bob"))
    assert addresses(app) == [ALICE, BOB]
    assert user_of(app).name == "Alice"


@pytest.mark.any_database
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_row_that_is_no_utf8_is_the_only_one_that_is_refused(app: Flask, form: str):
    rows = [{"email": ALICE, "name": "A"}, {"email": BOB, "name": "B\udcff"}, {"email": CAROL, "name": "C"}]
    lines = ["email,name", *(",".join(row.values()) for row in rows)]
    if form == "jsonl":
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    found = refused(bring(app, "\n".join(lines).encode(errors="surrogateescape"), form=form))
    assert list(found.values()) == ["name: Not text in UTF-8."]
    assert addresses(app) == [ALICE, CAROL]


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "The file is empty."),
        (f"{ALICE},Alice\n", "The first line has to name the columns, one of them email, with commas between them."),
        ("email;name\n", "The first line has to name the columns,"),
        ("email,name,nmae\n", "Unknown: 'nmae'. There are: email, password_hash, name,"),
        ("email,email\n", "A column is there twice."),
        ("email,password\n", "Passwords are not taken, only their hashes (password_hash):"),
        ("email,name\n".encode("utf-16"), "The first line has to name the columns,"),
        ('"email\n', "The first line cannot be read: unexpected end of data."),
    ],
    ids=repr,
)
def test_file_that_cannot_be_understood_is_refused_whole_in_one_line(app: Flask, text: str | bytes, said: str):
    assert told(bring(app, text)).startswith(said)


@pytest.mark.any_database
def test_text_of_a_field_is_never_read_as_rows(app: Flask):
    # In the second row a quote is left open; in the third, what a name says looks like an account.
    rows = f'email,name,role\n{ALICE},Alice,user\n{BOB},"Bob,user\n{CAROL},"x\nmallory@example.org,M,admin\n",user\n'
    assert refused(bring(app, rows)) == {
        3: "Not CSV: ',' expected after '\"', in line 4. Nothing from here on was read.",
    }
    assert addresses(app) == [ALICE]
