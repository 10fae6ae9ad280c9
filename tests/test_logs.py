"""The service's log: one line an event, which nobody from outside can forge, and which keeps secrets."""

import io
import json
import logging
import re
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from authapp import logs
from tests.conftest import MakeApp
from tests.factories import ALICE, BOB, OTHER_PASSWORD, PASSWORD, Api, data, mailed_token, make_user, refusal

pytestmark = pytest.mark.any_database

EVENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) ([A-Za-z0-9._-]+) (.+)")
FORGED = "2031-03-01T12:00:00.000+00:00 INFO - user_deleted"
# Whatever some reader of a log takes for the end of a line, and what steers a terminal or turns its text around.
ENDS = ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
STEERING = ["\x00", "\x08", "\x1b", "\x7f", "\x9b", "\u202e", "\u2066"]


@pytest.fixture
def log(app: Flask) -> Iterator[io.StringIO]:
    """What the service writes to standard error meanwhile."""
    # Whoever counts for /metrics listens too.
    (handler,) = [one for one in logging.getLogger("authapp").handlers if isinstance(one, logging.StreamHandler)]
    assert isinstance(handler, logging.StreamHandler)
    # The first application of the process has set it up, and may have been one for production.
    before = handler.stream, handler.formatter
    written = io.StringIO()
    handler.stream, handler.formatter = written, logs.TextFormatter()
    yield written
    handler.stream, handler.formatter = before


@pytest.fixture
def everything() -> Iterator[io.StringIO]:
    """What any library logs meanwhile, from INFO on, every SQL statement included."""
    written, loggers = io.StringIO(), [logging.getLogger(), logging.getLogger("sqlalchemy.engine")]
    handler, levels = logging.StreamHandler(written), [logger.level for logger in loggers]
    handler.setFormatter(logs.TextFormatter())
    loggers[0].addHandler(handler)
    for logger in loggers:
        logger.setLevel(logging.INFO)
    yield written
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    loggers[0].removeHandler(handler)


def events(log: io.StringIO) -> list[tuple[str, str, str]]:
    """Give the level, the request id and the rest of every line, none of which may be anything else."""
    found = [EVENT.fullmatch(line) for line in log.getvalue().splitlines()]
    assert all(found), log.getvalue()
    return [(match[1], match[2], match[3]) for match in found if match]


def test_event_is_one_line_with_its_fields(log: io.StringIO):
    logging.getLogger("authapp").info("mail_sent", extra={"mail": "1", "attempts": 2})
    assert events(log) == [("INFO", "-", "mail_sent mail=1 attempts=2")]


def test_line_has_the_id_of_its_request_whichever_logger_writes_it(app: Flask, api: Api, log: io.StringIO):
    body, headers = {"email": ALICE, "password": PASSWORD}, {"X-Request-ID": "from-a-proxy.1"}
    assert api.post("/register", body, headers=headers).headers["X-Request-ID"] == "from-a-proxy.1"
    make_user(app, BOB)
    first = api.log_in(BOB)
    data(api.refresh(data(api.refresh(first["refresh_token"]))["refresh_token"]))
    response = api.post("/refresh", {"refresh_token": first["refresh_token"]}, headers={"X-Request-ID": "r-2"})
    assert refusal(response) == (401, "TOKEN_REUSED")
    (registered, mailed, *_others, ended, reused) = events(log)
    for line, event in ((registered, "user_registered user_id="), (mailed, "development_mail link=http")):
        assert line[:2] == ("INFO", "from-a-proxy.1")
        assert line[2].startswith(event)
    assert ended[:2] == ("INFO", "r-2")
    assert " reason=token_reused " in ended[2]
    assert reused[:2] == ("WARNING", "r-2")
    assert reused[2].startswith("token_reused user_id=")


@pytest.mark.parametrize("given", [{}, {"X-Request-ID": f"x {FORGED}"}, {"X-Request-ID": "x" * 200}])
def test_request_without_a_good_id_gets_one(api: Api, log: io.StringIO, given: dict[str, str]):
    response = api.post("/register", {"email": ALICE, "password": PASSWORD}, headers=given)
    (request_id,) = {request_id for _, request_id, _ in events(log)}
    assert re.fullmatch("[0-9a-f]{32}", request_id)
    assert response.headers["X-Request-ID"] == request_id


@pytest.mark.parametrize("name", ["authapp", "authapp.sessions", "authapp.mail.delivery"])
def test_line_outside_a_request_has_a_dash(app: Flask, log: io.StringIO, name: str):
    with app.app_context():
        logging.getLogger(name).warning("mail_given_up")
    assert events(log) == [("WARNING", "-", "mail_given_up")]


@pytest.mark.parametrize("end", [*ENDS, *STEERING], ids=ascii)
def test_nothing_in_a_message_or_a_field_begins_a_line_or_steers_a_terminal(log: io.StringIO, end: str):
    hostile = f"x{end}{FORGED}"
    logging.getLogger("authapp").warning("said %s", hostile, extra={"name_given": hostile})
    ((_, _, rest),) = events(log)
    assert rest.startswith("said x\\")
    assert " name_given=x\\" in rest
    assert log.getvalue().removesuffix("\n").isprintable()


def test_half_a_surrogate_pair_can_be_written():
    # Formatted here and not logged: pytest keeps what is logged, and could not send it from one process to another.
    record = logging.makeLogRecord({"msg": "said x\ud800", "levelname": "INFO"})
    assert logs.TextFormatter().format(record).endswith(" said x\\ud800")


def test_readable_text_stays_as_it_is(log: io.StringIO):
    logging.getLogger("authapp").info("said", extra={"name_given": "Zoë 漢字 😀 \\ \"'"})
    assert events(log) == [("INFO", "-", "said name_given=Zoë 漢字 😀 \\ \"'")]


def as_json(**record: object) -> dict[str, Any]:
    """Give a record as JSON has it, after checking that nothing in the line ends it or steers a terminal."""
    line = logs.JsonFormatter().format(logging.makeLogRecord({"levelname": "INFO", "name": "authapp", **record}))
    assert line.isascii()
    assert line.isprintable()
    found: dict[str, Any] = json.loads(line)
    return found


def test_json_has_the_time_level_event_and_id_before_the_fields():
    found = as_json(
        msg="mail_sent", created=1795296660.25, request_id="r-1", mail=uuid.UUID(int=1), attempts=2, at=None
    )
    assert list(found.items()) == [
        ("time", "2026-11-21T21:31:00.250Z"),
        ("level", "INFO"),
        ("event", "mail_sent"),
        ("request_id", "r-1"),
        ("mail", "00000000-0000-0000-0000-000000000001"),
        ("attempts", 2),
        ("at", None),
    ]


@pytest.mark.parametrize("end", [*ENDS, *STEERING, "\ud800", '"}'], ids=ascii)
def test_json_is_one_line_whatever_is_in_it(end: str):
    hostile = f"x{end}{FORGED}"
    found = as_json(msg="said", name_given=hostile, level="DEBUG", event="user_deleted", time="never")
    assert (found["event"], found["level"], found["name_given"]) == ("said", "INFO", hostile)
    assert found["time"] != "never"


def test_json_of_others_has_their_name_for_an_event_and_their_text_beside_it():
    found = as_json(name="gunicorn.error", msg="Worker exiting (pid: %s)", args=(7,))
    assert (found["event"], found["message"]) == ("gunicorn.error", "Worker exiting (pid: 7)")


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("Worker (pid:7) was sent SIGKILL! Perhaps out of memory?", None),
        ("Error handling request GET /verify-email?token=secret", "Error handling request GET /verify-email?"),
        ("Invalid request from ip=::1: Invalid header: 'its:\nall'", "Invalid request from ip=::1: Invalid header"),
        ("Invalid request from ip=10.0.0.1: Request is too large", None),
    ],
)  # fmt: skip
def test_what_gunicorn_quotes_of_a_request_is_left_out(said: str, left: str | None):
    assert as_json(name="gunicorn.error", msg=said)["message"] == (left or said)
    record = logging.makeLogRecord({"name": "gunicorn.error", "msg": said})
    assert logs.TextFormatter().format(record).endswith(left or said)


def test_json_has_a_trace_in_a_field():
    try:
        raise RuntimeError(f"broken\n{FORGED}")
    except RuntimeError:
        found = as_json(msg="internal_error", exc_info=sys.exc_info())
    assert found["trace"].startswith("Traceback (most recent call last):\n")
    assert found["trace"].endswith(f"RuntimeError: broken\n{FORGED}")


@pytest.mark.parametrize("way", ["login", "register", "delete"])
def test_fact_is_one_line_without_the_address(app: Flask, api: Api, log: io.StringIO, way: str):
    user_id = make_user(app, BOB)
    log.truncate(log.seek(0))
    if way == "login":
        assert refusal(api.post("/login", {"email": BOB, "password": OTHER_PASSWORD})) == (401, "INVALID_CREDENTIALS")
        assert refusal(api.post("/login", {"email": ALICE, "password": PASSWORD})) == (401, "INVALID_CREDENTIALS")
        of_bob = f"login_failed user_id={user_id} code=INVALID_CREDENTIALS ip=127.0.0.1"
        expected = [of_bob, "login_failed code=INVALID_CREDENTIALS ip=127.0.0.1"]
    elif way == "register":
        made = data(api.register(), 201)["user"]["id"]
        expected = [f"user_registered user_id={made} ip=127.0.0.1"]
    else:
        token = api.log_in(BOB)["access_token"]
        log.truncate(log.seek(0))
        data(api.delete("/me", token=token, json={"password": PASSWORD}))
        expected = [f"user_deleted user_id={user_id} ip=127.0.0.1"]
    assert [rest for _, _, rest in events(log) if not rest.startswith("development_mail")] == expected


@pytest.mark.parametrize("end", [*ENDS, *STEERING], ids=ascii)
def test_no_line_of_a_trace_can_pass_for_an_event(log: io.StringIO, end: str):
    try:
        try:
            raise ValueError(f"{end}{FORGED}{end}")
        except ValueError as error:
            raise RuntimeError(f"{FORGED}{end}{FORGED}") from error
    except RuntimeError:
        logging.getLogger("authapp").exception("internal_error")
    first, *trace = log.getvalue().removesuffix("\n").split("\n")
    assert EVENT.fullmatch(first)
    assert first.endswith(" internal_error")
    assert trace[0] == "  Traceback (most recent call last):"
    assert any(FORGED in line for line in trace)
    # Another reader may split at more than "\n"; it finds no more lines than we wrote.
    assert log.getvalue().splitlines() == [first, *trace]
    assert all(line.startswith("  ") and line.isprintable() for line in trace)


def test_error_in_a_view_is_logged_with_its_trace_under_its_request(make_app: MakeApp, log: io.StringIO):
    app = make_app(PROPAGATE_EXCEPTIONS=False)

    @app.get("/broken")
    def broken() -> str:
        raise RuntimeError(f"broken\n{FORGED}")

    response = app.test_client().get("/broken", headers={"X-Request-ID": "r-1"})
    assert refusal(response) == (500, "INTERNAL_ERROR")
    first, *trace = log.getvalue().splitlines()
    assert EVENT.fullmatch(first)
    assert first.endswith(" ERROR r-1 internal_error ip=127.0.0.1")
    assert trace[-2:] == ["  RuntimeError: broken", f"  {FORGED}"]


def test_another_application_does_not_double_the_lines(make_app: MakeApp, log: io.StringIO):
    make_app()
    logging.getLogger("authapp").info("said")
    assert len(events(log)) == 1


def test_log_has_no_password_token_or_whole_address(make_app: MakeApp, everything: io.StringIO, log: io.StringIO):
    # Nobody listens there: the mail is queued, its delivery fails, and both are logged.
    app = make_app(MAIL_SERVER="127.0.0.1", MAIL_PORT=1, MAIL_SUPPRESS_SEND=False)
    api, secrets = Api(app), [PASSWORD, OTHER_PASSWORD, ALICE, BOB]
    data(api.register(), 201)
    assert refusal(api.register()) == (409, "USER_ALREADY_EXISTS")
    assert refusal(api.register(BOB, "short")) == (422, "VALIDATION_ERROR")
    link = mailed_token(app)
    assert refusal(api.post("/login", {"email": ALICE, "password": PASSWORD})) == (403, "EMAIL_NOT_VERIFIED")
    assert refusal(api.post("/verify-email", {"token": f"{link}x"})) == (400, "LINK_INVALID")
    data(api.post("/verify-email", {"token": link}))
    assert refusal(api.post("/login", {"email": ALICE, "password": OTHER_PASSWORD})) == (401, "INVALID_CREDENTIALS")
    assert refusal(api.post("/login", {"email": BOB, "password": PASSWORD})) == (401, "INVALID_CREDENTIALS")
    first = api.log_in()
    second = data(api.refresh(first["refresh_token"]))
    third = data(api.refresh(second["refresh_token"]))
    assert refusal(api.refresh(first["refresh_token"])) == (401, "TOKEN_REUSED")
    assert refusal(api.get("/me", token=third["access_token"])) == (401, "TOKEN_REVOKED")
    last = api.log_in()
    data(api.post("/logout", {"refresh_token": last["refresh_token"]}, token=last["access_token"]))
    assert app.test_cli_runner().invoke(args=["auth", "deliver-mail"]).exit_code == 1
    for pair in (first, second, third, last):
        secrets += [pair["access_token"], pair["refresh_token"]]
    # The signature alone is what a token is worth; half a token in a log is no better than a whole one.
    signatures = [secret.rpartition(".")[2] for secret in [*secrets[4:], link]]
    for written in (everything.getvalue(), log.getvalue()):
        assert "token_reused" in written
        assert [secret for secret in [*secrets, *signatures, link] if secret in written] == []
    assert "INSERT INTO auth_user" in everything.getvalue()
