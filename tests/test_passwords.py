"""Passwords: which are refused and why, and what checking one costs."""

import sys
import time
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from threading import Event
from types import FrameType
from typing import Literal

import pytest
import zxcvbn.frequency_lists
from flask import Flask

from authapp import passwords
from authapp.errors import ServerBusyError, ValidationError
from authapp.passwords import Gate
from authapp.testing import FAST_PASSWORD_HASH
from tests.conftest import MakeApp
from tests.factories import ALICE, BOB, PASSWORD, Api, data, refusal

pytestmark = pytest.mark.any_database

TOO_SHORT, TOO_LONG = "Use at least 8 characters.", "Use at most 128 characters."
KEPT = 3
TOO_EASY = "This password is too easy to guess."


def problems(api: Api, password: str, **more: str) -> list[str]:
    """Give what registering with this password complains of."""
    response = api.register(password=password, **more)
    assert refusal(response) == (422, "VALIDATION_ERROR")
    details: dict[str, list[str]] = response.get_json()["error"]["details"]
    assert list(details) == ["password"]
    return details["password"]


def test_all_that_is_wrong_is_said_at_once(api: Api):
    assert problems(api, "abc")[:2] == [TOO_SHORT, TOO_EASY]
    assert problems(api, "")[0] == TOO_SHORT
    assert problems(api, "a" * 129)[:2] == [TOO_LONG, TOO_EASY]
    found = problems(api, "password")
    assert found[0] == TOO_EASY
    # And what would be better.
    assert len(found) > 1


def test_short_password_that_is_hard_to_guess_is_only_too_short(api: Api):
    assert problems(api, "x9#Kq!v") == [TOO_SHORT]
    assert problems(api, "violet-tractor-19-sings-" * 6) == [TOO_LONG]


def test_lengths_are_counted_in_characters(api: Api):
    assert problems(api, "añ€😀x9#") == [TOO_SHORT]
    data(api.register(password="añ€😀x9#K"), 201)


def test_longest_password_is_taken(api: Api):
    data(api.register(password=("violet-tractor-19-sings-" * 6)[:128]), 201)


def test_length_is_that_of_the_form_that_is_hashed(api: Api):
    # One character that stands for eighteen.
    assert TOO_LONG in problems(api, "\ufdfa" * 8)


@pytest.mark.parametrize(
    "password", ["password", "12345678", "qwertyuiop", "aaaaaaaaaaaa", "iloveyou1", "P@ssw0rd", "20112011"]
)
def test_passwords_that_everybody_tries_are_refused(api: Api, password: str):
    assert problems(api, password)[0] == TOO_EASY


@pytest.mark.parametrize(
    "password",
    ["alice.liddell@example.org", "alice.liddell", "AliceLiddell", "Alice Liddell", "alice.liddell1", "lleddil.ecila"],
)
def test_own_address_and_name_are_easy_to_guess(api: Api, password: str):
    assert problems(api, password, email="alice.liddell@example.org", name="Alice Liddell")[0] == TOO_EASY


@pytest.mark.parametrize(
    "password", ["Examplecorp", "examplecorp26", "CorporexExamplecorp", "proceLpmaxE", "Corporex!"]
)
def test_name_of_the_service_and_its_host_are_easy_to_guess(app: Flask, make_app: MakeApp, password: str):
    data(Api(app).register(BOB, password=password), 201)
    named = Api(make_app(AUTH_BRAND_NAME="Examplecorp", AUTH_PUBLIC_URL="https://login.corporex.test"))
    assert problems(named, password)[0] == TOO_EASY


def test_three_thousand_passwords_that_are_tried_first_are_refused(app: Flask):
    known = zxcvbn.frequency_lists.FREQUENCY_LISTS["passwords"]
    tried_first = [password for password in known if len(password) >= 8][:3000]
    assert len(tried_first) == 3000
    with app.app_context():
        for password in tried_first:
            with pytest.raises(ValidationError) as refused:
                passwords.check_policy(password, email=ALICE)
            assert refused.value.details is not None
            assert refused.value.details["password"][0] == TOO_EASY, password


@pytest.mark.parametrize(
    "password", [PASSWORD, "correct horse battery staple", "愛麗絲夢遊仙境記得帶傘", "nur Kleinbuchstaben hier"]
)
def test_no_mixture_of_characters_is_demanded(api: Api, password: str):
    data(api.register(password=password), 201)


def test_policy_is_made_of_settings(app: Flask, make_app: MakeApp):
    strict = Api(make_app(AUTH_PASSWORD_MIN_LENGTH=12, AUTH_PASSWORD_MAX_LENGTH=16, AUTH_PASSWORD_MIN_SCORE=4))
    assert problems(strict, "x9#Kq!vT2m")[0] == "Use at least 12 characters."
    assert problems(strict, "x9#Kq!vT2m-hZ8$wL")[0] == "Use at most 16 characters."
    assert problems(strict, "tractor tractor")[0] == TOO_EASY
    data(strict.register(password="x9#Kq!vT2m-hZ8"), 201)


def test_strength_can_be_switched_off_but_not_the_length(app: Flask, make_app: MakeApp):
    lenient = Api(make_app(AUTH_PASSWORD_MIN_SCORE=0))
    assert problems(lenient, "passwor") == [TOO_SHORT]
    data(lenient.register(password="password"), 201)


@pytest.mark.parametrize(
    "password", ["a" * 128, "aA1!" * 32, "password" * 16, "0o4a@1l!$5s" * 11, "4@8({[<3 0$5" * 10, "1" * 4096]
)
def test_password_made_to_keep_the_rating_busy_is_refused_or_taken(api: Api, password: str):
    assert api.register(password=password).status_code in (201, 422)


def test_long_tail_does_not_hide_that_a_password_repeats_itself(api: Api):
    for password in ("password" * 16, "a" * 128, "qwertyuiop" * 12):
        assert problems(api, password)[0] == TOO_EASY


def test_policy_names_the_field_it_was_asked_for(app: Flask):
    with app.app_context(), pytest.raises(ValidationError) as refused:
        passwords.check_policy("abc", email=ALICE, field="new_password")
    assert list(refused.value.details or {}) == ["new_password"]


def test_hash_has_the_configured_cost_and_a_salt_of_its_own(make_app: MakeApp):
    with make_app(AUTH_PASSWORD_HASH="scrypt:256:1:1").app_context():
        first, second = passwords.hash(PASSWORD), passwords.hash(PASSWORD)
        assert first.startswith("scrypt:256:1:1$")
        assert first != second
        assert PASSWORD not in first
        assert passwords.verify(PASSWORD, first)
        assert passwords.verify(PASSWORD, second)
        assert not passwords.verify(PASSWORD.title(), first)


def test_spellings_of_one_password_have_one_hash(app: Flask):
    with app.app_context():
        kept = passwords.hash("ﬁne Ångström №5")
        forms: tuple[Literal["NFC", "NFD", "NFKC", "NFKD"], ...] = ("NFC", "NFD", "NFKC", "NFKD")
        for form in forms:
            assert passwords.verify(unicodedata.normalize(form, "ﬁne Ångström №5"), kept)
        assert not passwords.verify("fine Angstrom No5", kept)


def test_nobody_has_a_password_not_even_the_decoys(app: Flask):
    with app.app_context():
        for password in (PASSWORD, "", "the password of nobody"):
            assert passwords.verify(password, None) is False


def test_checking_nobodys_password_computes_the_same_hash_as_a_real_one(app: Flask):
    with app.app_context():
        kept = passwords.hash(PASSWORD)
        somebody = hashes_computed(lambda: passwords.verify("something else", kept))
        nobody = hashes_computed(lambda: passwords.verify("something else", None))
    assert nobody == somebody == [FAST_PASSWORD_HASH]


def hashes_computed(act: Callable[[], object]) -> list[str]:
    """Give the method of every hash that Werkzeug computes meanwhile."""
    found: list[str] = []

    def listen(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_name == "_hash_internal":
            found.append(frame.f_locals["method"])

    sys.setprofile(listen)
    try:
        act()
    finally:
        sys.setprofile(None)
    return found


@pytest.mark.parametrize("broken", ["", "x", "$", "!", "scrypt$", "scrypt:1:1:1$"])
def test_broken_hash_lets_nobody_in(app: Flask, broken: str):
    with app.app_context():
        for password in (PASSWORD, "", "the password of nobody"):
            assert passwords.verify(password, broken) is False


def test_hash_of_another_cost_or_method_is_outdated(make_app: MakeApp):
    with make_app(AUTH_PASSWORD_HASH="scrypt:256:1:1").app_context():
        assert not passwords.is_outdated("scrypt:256:1:1$salt$hash")
        for other in ("scrypt:256:1:11$salt$hash", "scrypt:2560:1:1$salt$hash", "pbkdf2:sha256:1000$salt$hash"):
            assert passwords.is_outdated(other)


def test_gate_refuses_whoever_comes_when_it_is_full_and_lets_in_again():
    gate = Gate(concurrency=1, queue=0)
    for _ in range(3):
        with gate.place(), pytest.raises(ServerBusyError) as refused, gate.place():
            raise AssertionError("Two hold the only place.")
        assert refused.value.headers == {"Retry-After": "2"}


def test_who_is_refused_is_kept_for_a_moment_but_only_some(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(passwords, "_HELD_OFF_SECONDS", 3600.0)
    monkeypatch.setattr(passwords, "_MOST_HELD_OFF", KEPT)
    kept, over = Queue[float](), Event()

    def keep(seconds: float) -> None:
        kept.put(seconds)
        assert over.wait(20)

    monkeypatch.setattr(time, "sleep", keep)
    gate = Gate(concurrency=1, queue=0)

    def is_refused(_number: int = 0) -> bool:
        with pytest.raises(ServerBusyError), gate.place():
            raise AssertionError("Two hold the only place.")
        return True

    with gate.place(), ThreadPoolExecutor(KEPT) as threads:
        waiting = threads.map(is_refused, range(KEPT))
        assert [kept.get(timeout=20) for _ in range(KEPT)] == [3600.0] * KEPT
        # There are as many as may be: whoever comes now is told at once.
        assert is_refused()
        assert kept.empty()
        over.set()
        assert all(waiting)
        assert is_refused()
        assert kept.get(timeout=20) == 3600.0


def test_gate_frees_the_place_of_whoever_fails():
    gate = Gate(concurrency=1, queue=0)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), gate.place():
            raise ZeroDivisionError
    with gate.place():
        pass


@pytest.mark.parametrize("stand_ins", ["4@8({[<369|!10$57+%2", "2%+75$01!|963<[{(8@4"])
def test_characters_that_stand_for_letters_are_rated_by_their_first_kinds(app: Flask, stand_ins: str):
    with app.app_context():
        rated = passwords._ratable(stand_ins * 4)
    assert set(rated) == {*stand_ins[: passwords._MOST_STAND_INS], "~"}
    assert len(rated) == 40


def test_digits_are_rated_as_they_are(api: Api):
    assert passwords._ratable("0123456789") == "0123456789"
    assert refusal(api.register(password="0123456789")) == (422, "VALIDATION_ERROR")
