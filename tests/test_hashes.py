"""Users of other systems: their hashes let them in, and are gone after that."""

import json
import random
import sys
import unicodedata

import pytest
from flask import Flask
from sqlalchemy import select, update
from werkzeug.security import generate_password_hash

from authapp import database, hashes, passwords
from authapp.extensions import db
from authapp.models import User
from authapp.testing import FAST_PASSWORD_HASH
from tests.conftest import MakeApp
from tests.factories import ALICE, Api, make_user, refusal, user_of
from tests.foreign_hashes import LONG, TYPED, VECTORS
from tests.test_cli import output, run

pytestmark = pytest.mark.any_database

DJANGO = next(known for maker, known, _ in VECTORS if maker == "Django pbkdf2_sha256")
BCRYPT = next(known for maker, known, _ in VECTORS if maker == "passlib bcrypt 2b")
WRONG = (401, "INVALID_CREDENTIALS")


def bring(app: Flask, *rows: dict[str, object]) -> None:
    """Import these accounts, verified unless told otherwise."""
    lines = [json.dumps({"is_verified": True, **row}) for row in rows]
    output(app, "import-users", "-", "--format", "jsonl", input="\n".join(lines))


def tried(api: Api, password: str, email: str = ALICE) -> tuple[int, str]:
    return refusal(api.post("/login", {"email": email, "password": password}))


def kept(app: Flask) -> list[str]:
    with app.app_context():
        return list(db.session.scalars(select(User.password_hash)))


def test_whoever_comes_from_another_system_logs_in_and_has_our_hash_from_then_on(app: Flask, api: Api):
    typed = {f"user{number}@example.org": (*vector,) for number, vector in enumerate(VECTORS)}
    rows: list[dict[str, object]] = [{"email": email, "password_hash": vector[1]} for email, vector in typed.items()]
    bring(app, *rows)
    for email, (_, _, password) in typed.items():
        assert api.log_in(email, password)["user"]["email"] == email
    assert all(known.startswith(f"{FAST_PASSWORD_HASH}$") for known in kept(app))
    api.log_in(email, password)


def test_wrong_password_lets_nobody_in_and_renews_nothing(app: Flask, api: Api):
    for _, known, password in VECTORS[::3]:
        with app.app_context():
            for wrong in (f"{password[:-1]}x" if password == TYPED else "x", ""):
                assert passwords.verify(wrong, hashes.take(known)) is False, known
    bring(app, {"email": ALICE, "password_hash": DJANGO})
    assert tried(api, f"{TYPED} ") == WRONG
    assert kept(app) == [DJANGO]


@pytest.mark.parametrize("known", [known for _, known, _ in VECTORS if known.startswith(("$2b", "bcrypt$"))])
def test_bcrypt_has_seen_no_more_than_72_bytes_and_a_longer_password_is_no_error(app: Flask, api: Api, known: str):
    bring(app, {"email": ALICE, "password_hash": known})
    assert tried(api, LONG) == WRONG
    assert tried(api, TYPED * 10) == WRONG


def test_password_that_bcrypt_cut_off_lets_in_as_it_did_there(app: Flask, api: Api):
    import bcrypt

    known = bcrypt.hashpw(LONG.encode()[:72], bcrypt.gensalt(4)).decode()
    bring(app, {"email": ALICE, "password_hash": known})
    api.log_in(password=LONG)
    # From here on all of it counts.
    assert tried(api, LONG[:-1]) == WRONG
    api.log_in(password=LONG)


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_password_is_right_in_the_form_that_it_was_hashed_in(app: Flask, api: Api, form: str):
    # The first three are other characters in their one form, which is the only one that we would hash.
    typed = "ﬁne Ångström №5"
    hashed = unicodedata.normalize(form, typed)  # type: ignore[arg-type]  # One of its forms.
    with app.app_context():
        known = generate_password_hash(hashed, method="pbkdf2:sha256:1000")
    bring(app, {"email": ALICE, "password_hash": known})
    api.log_in(password=hashed)
    assert user_of(app).password_hash.startswith(f"{FAST_PASSWORD_HASH}$")
    api.log_in(password=typed)


def test_hash_of_our_own_cost_is_renewed_too_since_it_may_be_of_another_form(app: Flask, api: Api):
    known = generate_password_hash("ﬁne Ångström №5", method=FAST_PASSWORD_HASH)
    bring(app, {"email": ALICE, "password_hash": known})
    api.log_in(password="ﬁne Ångström №5")
    assert user_of(app).password_hash.startswith(f"{FAST_PASSWORD_HASH}$")
    assert user_of(app).password_hash != known


def test_account_that_may_not_sign_in_keeps_its_hash(app: Flask, api: Api):
    bring(app, {"email": ALICE, "password_hash": DJANGO, "is_verified": False})
    assert tried(api, TYPED) == (403, "EMAIL_NOT_VERIFIED")
    assert kept(app) == [DJANGO]


def test_tries_at_an_imported_account_are_counted(make_app: MakeApp):
    app = make_app(RATELIMIT_ENABLED=True)
    bring(app, {"email": ALICE, "password_hash": DJANGO})
    api = Api(app)
    assert [tried(api, "wrong-violet-tractor") for _ in range(11)][-2:] == [WRONG, (429, "RATE_LIMITED")]


@pytest.mark.parametrize("none", [None, "", "!dyMkRf6A8PPyimA59Cze0N4IZeZyBVoi6CaooWOb"])
def test_account_without_a_password_lets_nobody_in(app: Flask, api: Api, none: str | None):
    bring(app, {"email": ALICE, "password_hash": none})
    for password in ("", "!", TYPED, none or "x"):
        assert tried(api, password) == WRONG


def test_damaged_hash_lets_nobody_in_and_is_no_error(app: Flask, api: Api):
    chosen = random.Random(5)  # The same damage each time.
    make_user(app)
    for _, known, password in VECTORS[::3]:
        at = chosen.randrange(len(known))
        for damaged in (known[:at], known[:at] + "€" + known[at + 1 :], f"{known} "):
            with app.app_context():
                db.session.execute(update(User).values(password_hash=damaged))
                database.commit()
            assert tried(api, password) == WRONG, damaged


def test_damage_that_only_the_library_finds_is_a_wrong_password_too(
    app: Flask, api: Api, monkeypatch: pytest.MonkeyPatch
):
    bring(app, {"email": ALICE, "password_hash": BCRYPT})
    # As bcrypt does with a salt that it does not like.
    monkeypatch.setattr("bcrypt.checkpw", lambda _password, _known: int("Invalid salt"))
    assert tried(api, TYPED) == WRONG


@pytest.mark.parametrize("r", [1, 8])
@pytest.mark.parametrize("p", [1, 2, 16])
def test_scrypt_of_the_least_cost_that_is_taken_has_the_memory_that_it_needs(p: int, r: int):
    for known in (f"scrypt:128:{r}:{p}$salt${'0' * 128}", f"$scrypt$ln=7,r={r},p={p}$c2FsdHNhbHQ${'A' * 43}"):
        assert hashes.read(hashes.take(known))("x") is False


def test_password_with_accents_costs_a_stranger_no_more_than_two_checks(app: Flask):
    found: list[str] = []
    with app.app_context():
        sys.setprofile(lambda _frame, event, act: found.append(act.__name__) if event == "c_call" else None)
        try:
            assert passwords.verify("ﬁne Ångström №5", DJANGO) is False
        finally:
            sys.setprofile(None)
    assert found.count("pbkdf2_hmac") == 2


def test_what_can_be_read_can_be_checked(app: Flask):
    chosen, checked = random.Random(7), 0
    for _, known, password in VECTORS * 8:
        at = chosen.randrange(len(known))
        damaged = known[:at] + chosen.choice("0z/.=$,A+") + known[at + chosen.randrange(2) :]
        try:
            check = hashes.read(hashes.take(damaged))
        except hashes.HashError:
            continue
        checked += 1
        # Padding, and what marks a kind of bcrypt, may be damaged without loss.
        assert check(password) in (True, False), damaged
    assert checked > 20


@pytest.mark.parametrize(
    "known",
    [
        DJANGO.replace("$1000$", "$2000001$"),
        "$pbkdf2-sha512$2000001" + "$abcdefgh" * 2,
        f"pbkdf2:sha256:2000001$salt${'0' * 64}",
        f"scrypt:1048576:8:1$salt${'0' * 128}",
        f"scrypt:32768:8:5$salt${'0' * 128}",
        f"scrypt$131072$salt$8$3${'A' * 85}w==",
        "$scrypt$ln=30,r=8,p=1$c2FsdHNhbHQ$" + "A" * 43,
        BCRYPT.replace("$04$", "$14$"),
        BCRYPT.replace("$04$", "$31$"),
        f"bcrypt_sha256${BCRYPT.replace('$04$', '$14$')}",
        "$argon2id$v=19$m=2097152,t=1,p=4$c2FsdHNhbHQ$" + "A" * 43,
        "$argon2id$v=19$m=65536,t=9,p=4$c2FsdHNhbHQ$" + "A" * 43,
        "$argon2id$v=19$m=65536,t=1,p=64$c2FsdHNhbHQ$" + "A" * 43,
    ],
)
def test_hash_that_would_keep_the_gate_busy_is_refused(app: Flask, known: str):
    lines = [{"email": ALICE, "password_hash": known}, {"email": "bob@example.org", "password_hash": DJANGO}]
    typed = "\n".join(map(json.dumps, lines))
    result = run(app, "import-users", "-", "--format", "jsonl", input=typed)
    said = "line 1: password_hash: Too costly: one check would take seconds, or hundreds of megabytes.\n"
    assert (result.exit_code, result.stderr) == (1, said)
    assert kept(app) == [DJANGO]


@pytest.mark.parametrize(
    "known",
    [
        "5f4dcc3b5aa765d61d8327deb882cf99",
        "sha1$salt$5baa61e4c9b93f3f0682250b6cf8331b7ee68fd8",
        "$6$P3BSgVPkvpFDfN9V$" + "x" * 86,
        "$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk=a2V5$c2FsdA$aGFzaA",
        "pbkdf2:md5:1000$salt$00",
        DJANGO.replace("$1000$", "$0$"),
        BCRYPT.replace("$04$", "$03$"),
        f"scrypt:1000:8:1$salt${'0' * 128}",
        f"scrypt:65536:1:1$salt${'0' * 128}",
        f"scrypt:2:1:1$s${'0' * 128}",
        "$scrypt$ln=1,r=524288,p=1$AAAA$" + "A" * 86,
        f"{BCRYPT[:28]}/{BCRYPT[29:]}",
        "$argon2id$v=19$m=8,t=1,p=4$c2FsdHNhbHQ$" + "A" * 43,
        "violet-tractor-19",
        "pbkdf2_sha256$1000$" + "s" * 300 + "$A",
    ],
)
def test_hash_of_no_form_that_can_be_checked_is_refused_and_not_quoted(app: Flask, known: str):
    result = run(
        app, "import-users", "-", "--format", "jsonl", input=json.dumps({"email": ALICE, "password_hash": known})
    )
    assert result.exit_code == 1
    assert result.stderr.startswith("line 1: password_hash: ")
    assert known not in result.stderr
    assert kept(app) == []


def test_costs_that_the_makers_choose_themselves_are_taken():
    digest, salt = "A" * 43, "c2FsdHNhbHQ"
    for known in (
        f"pbkdf2_sha256$1800000$salt${digest}=",
        "$2b$13$" + "a" * 21 + "u" + "a" * 31,
        f"$argon2id$v=19$m=102400,t=2,p=8${salt}${digest}",
        f"$argon2id$v=19$m=65536,t=3,p=4${salt}${digest}",
        f"$scrypt$ln=17,r=8,p=1${salt}${digest}",
        f"scrypt:32768:8:1$salt${'0' * 128}",
        f"pbkdf2:sha256:1000000$salt${'0' * 64}",
        f"scrypt$16384$salt$8$5${'A' * 85}w==",
    ):
        hashes.take(known)
