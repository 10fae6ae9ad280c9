"""What a log shows of an error: where it came from, never what somebody sent. The watch on secrets reads every line."""

import logging

import pymysql
import pytest
from sqlalchemy.exc import IntegrityError

from authapp.extensions import db
from authapp.models import User
from tests.conftest import MakeApp
from tests.factories import (
    ALICE,
    BOB,
    CAROL,
    OTHER_PASSWORD,
    PASSWORD,
    Api,
    data,
    mailed_token,
    make_user,
    refusal,
    user_of,
)
from tests.statements import failing, just_before

# Code, words as the server says them, quoting what was in the statement.
QUOTING = [
    (pymysql.err.ProgrammingError, 1064, "You have an error in your SQL syntax; check … near '{}' at line 1"),
    (pymysql.err.DataError, 1366, "Incorrect string value: '{}' for column `authapp`.`auth_user`.`name` at row 1"),
    (pymysql.err.OperationalError, 1292, "Truncated incorrect DOUBLE value: '{}'"),
    (pymysql.err.IntegrityError, 1062, "Duplicate entry '{}' for key 'other'"),
    (pymysql.err.InternalError, 1525, "Incorrect UUID value: '{}'"),
]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What was logged, from any logger."""
    return caplog


def trace_of(log: pytest.LogCaptureFixture, event: str) -> str:
    """Give the trace of the one line of this event."""
    (record,) = [record for record in log.records if record.getMessage() == event]
    assert record.exc_info
    return logging.Formatter().formatException(record.exc_info)


@pytest.mark.any_database
@pytest.mark.parametrize(("kind", "code", "words"), QUOTING, ids=lambda value: str(value)[:24])
def test_words_of_the_driver_stay_out_of_the_log(
    make_app: MakeApp, log: pytest.LogCaptureFixture, kind: type[Exception], code: int, words: str
):
    app = make_app()
    make_user(app)
    said = kind(code, words.format(f"{ALICE} {PASSWORD} {user_of(app).password_hash}"))
    with failing(app, "SELECT", said):
        assert refusal(Api(app).post("/login", {"email": ALICE, "password": PASSWORD})) == (500, "INTERNAL_ERROR")
    trace = trace_of(log, "internal_error")
    assert f"{kind.__name__} {code}) [SQL: SELECT" in trace
    assert "in authenticate_user" in trace


def test_row_that_broke_a_rule_stays_out_of_the_log(make_app: MakeApp, log: pytest.LogCaptureFixture):
    app = make_app()

    @app.get("/broken")
    def broken() -> str:
        for _ in range(2):
            db.session.add(User(email=ALICE, password_hash="scrypt:128:1:1$salt$0123456789abcdef0123456789abcdef"))
        db.session.flush()
        return ""

    assert refusal(app.test_client().get("/broken")) == (500, "INTERNAL_ERROR")
    assert "IntegrityError (IntegrityError" in trace_of(log, "internal_error")


def test_row_stays_out_of_what_went_wrong_because_of_it(make_app: MakeApp, log: pytest.LogCaptureFixture):
    app = make_app()
    make_user(app)

    def break_a_rule() -> None:
        db.session.add(User(email=ALICE, password_hash=""))
        db.session.flush()

    @app.get("/then")
    def then() -> str:
        try:
            break_a_rule()
        except IntegrityError:
            return str(db.session.query(User).count())
        return ""

    @app.get("/because")
    def because() -> str:
        try:
            break_a_rule()
        except IntegrityError as error:
            raise RuntimeError("no such thing") from error
        return ""

    for path in ("then", "because"):
        log.clear()
        assert refusal(app.test_client().get(f"/{path}")) == (500, "INTERNAL_ERROR")
        assert "in break_a_rule" in trace_of(log, "internal_error") or path == "then"


@pytest.mark.any_database
@pytest.mark.parametrize("path", ["/register", "/login", "/refresh", "/logout", "/verify-email", "/reset-password"])
def test_error_deep_in_a_view_shows_nothing_of_what_was_sent(
    make_app: MakeApp, log: pytest.LogCaptureFixture, path: str
):
    app = make_app()
    api = Api(app)
    data(api.register(), 201)
    data(api.post("/forgot-password", {"email": ALICE}), 202)
    verification, reset = mailed_token(app, -2), mailed_token(app, -1)
    make_user(app, BOB)
    refresh_token = api.log_in(BOB)["refresh_token"]
    bodies = {
        "/register": {"email": CAROL, "password": PASSWORD},
        "/login": {"email": BOB, "password": PASSWORD},
        "/refresh": {"refresh_token": refresh_token},
        "/logout": {"refresh_token": refresh_token},
        "/verify-email": {"token": verification},
        "/reset-password": {"token": reset, "new_password": OTHER_PASSWORD},
    }

    def be_a_bug() -> None:
        raise KeyError("a bug")

    log.clear()
    with just_before(app, "", be_a_bug):
        status, code = refusal(api.post(path, bodies[path]))
    assert (status, code) == (500, "INTERNAL_ERROR")
    assert "KeyError: 'a bug'" in trace_of(log, "internal_error")
