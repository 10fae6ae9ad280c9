"""What `tests.leaks` hears: every log record, answer, command and process of a test, and what is secret in it."""

import json
import logging
import re
import subprocess
import traceback
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from weakref import WeakSet

import flask
from click.testing import Result
from flask import Flask, Response, request
from flask.testing import FlaskCliRunner
from sqlalchemy import event

from authapp import api, cookies
from authapp.mail.models import OutboxMessage
from authapp.models import Link, User
from tests.factories import OTHER_PASSWORD, PASSWORD
from tests.leaks import watch

# Loggers of the clients and servers that tests bring along, which tell what they send and get.
_OF_TESTS = ("asyncio", "httpcore", "httpx", "hypothesis", "mail", "playwright", "urllib3")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "request_id", "taskName"}

# Answers that are there to show links and addresses: the development mailbox, the document's made-up examples.
_MEANT_TO_SHOW = ("authapp_mail.", "authapp_openapi.")
# The page of a mailed link sends its token back.
_TOKEN_OF_PAGE = re.compile(r'name="(?:csrf_)?token" value="[^"]*"')
_TOKENS = ("access_token", "refresh_token")
# The CSRF tokens stand in headers of their own too, for a front end on an origin that cannot read the cookies.
_MEANT_TO_HAND_OUT = ("Set-Cookie", cookies.CSRF_HEADER, cookies.CSRF_REFRESH_HEADER)

_PASSWORD_IN_JSON = re.compile(rb'"\w*(?:password|Confirm)\w*"\s*:\s*("(?:[^"\\]|\\.)*")')
_LINK_TOKEN = re.compile(r"token=([\w.-]+)")
_OUR_COMMAND = re.compile(r"\bflask\b|\bgunicorn\b|\bcreate_app\b")
_MAKES_KEYS = "generate-keys"


def listen() -> None:
    """Begin to listen, once in a run; Flask's signals and SQLAlchemy's events tell of every application's."""
    watch.keep(PASSWORD, OTHER_PASSWORD, lasting=True)
    # From DEBUG on, as an operator may have it; SQLAlchemy keeps to warnings, since its rows and statements are data.
    logging.getLogger().setLevel(logging.DEBUG)
    logging.getLogger().addHandler(_Handler())
    # Flask asks this class for its runner, and `subprocess.run` this module for its processes.
    Flask.test_cli_runner_class = _CliRunner
    subprocess.Popen = _Popen  # type: ignore[misc]  # A subclass stands for it.
    flask.appcontext_pushed.connect(_see_app)
    flask.request_finished.connect(_see_answer)
    flask.got_request_exception.connect(_see_exception)
    event.listen(User.password_hash, "set", _see_hash)
    event.listen(Link.nonce, "set", _see_nonce)
    event.listen(OutboxMessage.text, "set", _see_mail)


class _Handler(logging.Handler):
    """Hears every record of every logger, its fields and its trace included."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.partition(".")[0] in _OF_TESTS:
            return
        fields = [f"{name}={value}" for name, value in vars(record).items() if name not in _STANDARD]
        trace = "".join(traceback.format_exception(record.exc_info[1])) if record.exc_info else ""
        watch.say(f"logger {record.name}", " ".join([record.getMessage(), *fields, trace]))


class _CliRunner(FlaskCliRunner):
    """Runs commands, hears what they print, and knows that what is typed is a password."""

    def invoke(  # type: ignore[override]  # All but these two is passed on.
        self, cli: Any = None, args: Any = None, **options: Any
    ) -> Result:
        if isinstance(typed := options.get("input"), str):
            watch.keep(*typed.splitlines())
        result = super().invoke(cli, args, **options)
        if _MAKES_KEYS not in list(args or []):
            # An operator's commands name the accounts that they are about.
            watch.say(f"output of {args}", result.output, may_show_address=True)
        return result


class _Popen(subprocess.Popen):  # type: ignore[type-arg]  # Of text or of bytes.
    """A process. Where it is the service or one of its commands, its settings are known and what it prints is heard.

    What it writes to a file is a log; a command may name the accounts that it is about.
    """

    def __init__(self, args: Any, *more: Any, **options: Any) -> None:
        words = args if isinstance(args, str) else " ".join(map(str, args))
        self._is_ours = bool(_OUR_COMMAND.search(words)) and _MAKES_KEYS not in words
        if self._is_ours:
            watch.keep_settings(options.get("env") or {})
            if isinstance(name := getattr(options.get("stdout"), "name", None), str):
                watch.follow(Path(name))
        super().__init__(args, *more, **options)

    def communicate(self, *args: Any, **options: Any) -> tuple[Any, Any]:
        printed = super().communicate(*args, **options)
        for text in filter(None, printed if self._is_ours else ()):
            plain = text if isinstance(text, str) else text.decode(errors="replace")
            watch.say("output of a process", plain, may_show_address=True)
        return printed


_seen: WeakSet[Flask] = WeakSet()


def _see_app(app: Flask, **_more: object) -> None:
    if app not in _seen:
        _seen.add(app)
        watch.keep_settings(app.config)


def _see_hash(_user: object, value: str, *_more: object) -> None:
    watch.keep(*value.split("$")[1:])


def _see_nonce(_link: object, value: str, *_more: object) -> None:
    watch.keep(value)


def _see_mail(_mail: object, value: str, *_more: object) -> None:
    for token in _LINK_TOKEN.findall(value):
        watch.keep_token(token)


def _see_exception(app: Flask, exception: BaseException, **_more: object) -> None:
    watch.say(f"exception of {request.method} {request.endpoint}", "".join(traceback.format_exception(exception)))


def _see_answer(app: Flask, response: Response, **_more: object) -> None:
    """Learn what was asked with and what is handed out, and note all else that is answered."""
    _keep_passwords(vars(request).get("_cached_data", b""))
    for cookie in response.headers.getlist("Set-Cookie"):
        watch.keep_token(cookie.partition(";")[0].partition("=")[2])
    where = f"{response.status_code} of {request.method} {request.endpoint or request.path}"
    headers = "\n".join(value for name, value in response.headers if name not in _MEANT_TO_HAND_OUT)
    watch.say(f"a header of {where}", headers)
    if not response.is_streamed and not (request.endpoint or "").startswith(_MEANT_TO_SHOW):
        watch.say(where, _body(response), may_show_address=not _is_ours(app))


def _keep_passwords(asked: bytes) -> None:
    """Remember the passwords of a request, as far as its view has read its body."""
    for name, value in parse_qsl(asked.decode(errors="replace")) if b"=" in asked else ():
        if "password" in name:
            watch.keep(value)
    for quoted in _PASSWORD_IN_JSON.findall(asked):
        try:
            watch.keep(json.loads(quoted))
        except ValueError:
            continue


def _is_ours(app: Flask) -> bool:
    """Say whether the answer is authapp's: on pages of its own, a host shows whose they are."""
    if "authapp" not in app.extensions:
        return False
    is_service = "authapp_health" in app.blueprints
    return is_service or (request.blueprint or "").startswith(api.OWN_BLUEPRINT) or api.is_below_prefix()


def _body(response: Response) -> str:
    """Give the body without what it is meant to carry: tokens and the user of a success, a page's own token."""
    text = response.get_data(as_text=True)
    if not response.is_json:
        return _TOKEN_OF_PAGE.sub("", text)
    try:
        body = response.get_json()
    except ValueError:
        return text
    return json.dumps(_without_handed_out(body), ensure_ascii=False)


def _without_handed_out(body: Any) -> Any:
    if not isinstance(body, dict):
        return body
    rest = dict(body)
    if isinstance(error := rest.get("error"), dict) and "details" in error:
        # They stand under the names of fields that came with the request, whatever it called them.
        rest["error"] = {**error, "details": list(error["details"].values())}
    if isinstance(data := rest.get("data"), dict) and rest.get("success") is True:
        rest["data"] = _without_tokens(data)
        if isinstance(user := data.get("user"), dict):
            rest["data"]["user"] = {name: value for name, value in user.items() if name != "email"}
    # An answer in the form of RFC 6749 has its tokens at the top.
    return _without_tokens(rest) if "token_type" in rest else rest


def _without_tokens(fields: dict[str, Any]) -> dict[str, Any]:
    for name in _TOKENS:
        watch.keep_token(str(fields.get(name, "")))
    return {name: value for name, value in fields.items() if name not in _TOKENS}
