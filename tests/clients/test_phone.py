"""The client of examples/clients/mobile.js on a phone: lost answers, no network, switched off at the worst moment."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine

from authapp.testing import add_user
from tests.browser.spa import answering
from tests.conftest import MakeApp
from tests.factories import ALICE, PASSWORD
from tests.services import free_port, program

pytestmark = pytest.mark.any_database
# The others are tried with the walks.
rarely = pytest.mark.clients

HERE = Path(__file__).parent
EXPIRED = timedelta(minutes=31)


class Phone:
    """A phone that is switched on."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def do(self, step: str, **given: object) -> Any:
        """Have it do something, and give the value, or the code or the name of what went wrong."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"step": step, **given}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return answer.get("error", answer.get("value"))

    def me(self) -> Any:
        found = self.do("call", method="GET", path="/me")
        return found["user"]["email"] if isinstance(found, dict) else found

    def sent(self) -> list[str]:
        found: list[str] = self.do("seen")["sent"]
        return found

    def switch_off(self) -> None:
        self._process.kill()
        self._process.communicate()


SwitchOn = Callable[[], Phone]


@pytest.fixture
def switch_on(make_app: MakeApp, root: Path, tmp_path: Path) -> Iterator[SwitchOn]:
    """Switch Alice's phone on; it keeps what was in its store."""
    app, port = make_app(), free_port()
    add_user(app, ALICE)
    app.add_url_rule("/orders/7", view_func=lambda: ("<h1>There is no such order.</h1>", 404))
    command: list[str | Path] = [
        program("node"),
        HERE / "phone.mjs",
        root / "examples/clients",
        f"http://127.0.0.1:{port}/api/auth",
    ]
    with ExitStack() as stack:
        stack.enter_context(answering(app, port))

        def start() -> Phone:
            process = subprocess.Popen(
                [*command, tmp_path / "store"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            phone = Phone(process)
            stack.callback(phone.switch_off)
            return phone

        yield start


def logged_in(switch_on: SwitchOn) -> Phone:
    phone = switch_on()
    assert phone.do("logIn", email=ALICE, password=PASSWORD)["user"]["email"] == ALICE
    phone.do("set")
    return phone


def test_many_requests_at_once_get_one_new_token(switch_on: SwitchOn):
    phone = logged_in(switch_on)
    with time_machine.travel(EXPIRED):
        assert [found["user"]["email"] for found in phone.do("many", times=10)] == [ALICE] * 10
    assert phone.sent().count("refresh") == 1


@rarely
def test_lost_answer_of_a_refresh_is_asked_for_again(switch_on: SwitchOn):
    phone = logged_in(switch_on)
    phone.switch_off()
    phone = switch_on()
    phone.do("set", losing=1)
    assert phone.me() == ALICE
    assert phone.sent() == ["refresh", "refresh", "me"]
    assert len(phone.do("call", method="GET", path="/sessions")["sessions"]) == 1


@rarely
def test_phone_that_could_not_store_the_next_token_gets_the_same_again(switch_on: SwitchOn):
    phone = logged_in(switch_on)
    phone.switch_off()
    phone = switch_on()
    phone.do("set", broken=True)
    assert phone.me() == "Error"
    # As if it had been switched off between the answer and the store.
    phone.switch_off()
    assert switch_on().me() == ALICE


@rarely
def test_without_a_network_nobody_is_signed_out(switch_on: SwitchOn):
    phone = logged_in(switch_on)
    phone.do("set", offline=True)
    assert phone.me() == "NoAnswer"
    assert phone.do("isSignedIn")
    phone.do("set", offline=False)
    assert phone.me() == ALICE
    assert phone.do("seen")["signedOut"] == []


def test_answer_that_was_lost_for_too_long_asks_for_the_password_and_says_why(switch_on: SwitchOn):
    phone = logged_in(switch_on)
    phone.switch_off()
    phone = switch_on()
    phone.do("set", broken=True)
    assert phone.me() == "Error"
    with time_machine.travel(timedelta(seconds=60)):
        assert phone.me() == "TOKEN_REUSED"
    assert not phone.do("isSignedIn")
    assert phone.do("seen")["signedOut"] == ["TOKEN_REUSED"]


@rarely
def test_logging_out_ends_the_session_and_works_without_a_network_too(switch_on: SwitchOn):
    phone, other = logged_in(switch_on), switch_on()
    phone.do("logOut")
    assert not phone.do("isSignedIn")
    assert other.me() == "UNAUTHORIZED"
    phone = logged_in(switch_on)
    phone.do("set", offline=True)
    phone.do("logOut")
    assert not phone.do("isSignedIn")


@rarely
def test_answer_of_a_refresh_that_comes_late_does_not_undo_a_logout(switch_on: SwitchOn):
    logged_in(switch_on).switch_off()
    phone = switch_on()
    phone.do("logOutMeanwhile")
    assert not phone.do("isSignedIn")
    phone.do("set", offline=False)
    assert phone.me() == "UNAUTHORIZED"


@rarely
def test_error_of_another_route_is_not_taken_for_a_bad_network(switch_on: SwitchOn):
    assert switch_on().do("call", method="GET", path="/../../orders/7") == "Failure 404"
