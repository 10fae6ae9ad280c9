"""A host with much of its own, with authapp and without: the same requests get the same answers."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import flask_cors
import flask_mail
import pytest
from flask import Blueprint, Flask, Response, abort, g, jsonify, redirect, render_template, request, session, url_for
from flask.json.provider import DefaultJSONProvider
from flask.typing import ResponseReturnValue
from flask.views import MethodView
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column
from werkzeug.exceptions import HTTPException

from authapp import init_app
from authapp.testing import TEST_SETTINGS
from tests.factories import Api, data, make_user, refusal

REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/", {}),
    ("HEAD", "/", {}),
    ("OPTIONS", "/", {}),
    ("POST", "/", {}),
    ("GET", "/money", {}),
    ("GET", "/money", {"headers": {"Origin": "https://shop.example.com"}}),
    ("OPTIONS", "/money", {"headers": {"Origin": "https://shop.example.com", "Access-Control-Request-Method": "GET"}}),
    ("GET", "/visits", {}),
    ("GET", "/visits", {}),
    ("GET", "/later", {}),
    ("GET", "/boom", {}),
    ("GET", "/forbidden", {}),
    ("GET", "/old", {}),
    ("GET", "/folder", {}),
    ("GET", "/nothing", {}),
    ("GET", "/api", {}),
    ("GET", "/api/authors", {}),
    ("GET", "/auth/login", {}),
    ("GET", "/auth/static/style.css", {}),
    ("GET", "/static/style.css", {}),
    ("GET", "/docs", {}),
    ("GET", "/openapi.json", {}),
    ("GET", "/healthz", {}),
    ("GET", "/books", {}),
    ("POST", "/books", {"json": {"title": "A"}}),
    ("POST", "/books", {"data": b"{", "content_type": "application/json"}),
    ("POST", "/books", {"data": b"{}", "content_type": "text/plain"}),
    ("POST", "/upload", {"data": b"x" * 100_000}),
    ("POST", "/upload", {"data": b"x" * 300_000}),
    ("GET", "/books", {"headers": {"Authorization": "Bearer nonsense", "X-Request-ID": "theirs"}}),
]


class MoneyProvider(DefaultJSONProvider):
    """Writes amounts as texts, and leaves the order of keys alone."""

    sort_keys = False

    @staticmethod
    def default(value: Any) -> Any:
        return f"{value:.2f} EUR" if isinstance(value, Decimal) else DefaultJSONProvider.default(value)


class Host(Flask):
    """An application with a JSON provider of its own, which runs its asynchronous views by itself."""

    json_provider_class = MoneyProvider

    def async_to_sync(self, func: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        return lambda *args, **kwargs: asyncio.run(func(*args, **kwargs))


class Upload(MethodView):
    """A view that is a class."""

    def post(self) -> ResponseReturnValue:
        return str(len(request.get_data()))


def make_host(folder: Path, url: str, mount: Callable[[Flask], object]) -> Flask:
    """Make the host; `mount` is called in the middle, since some set their extensions up before us, some after."""
    host = Host("busy", root_path=str(folder))
    host.config.from_mapping(
        TEST_SETTINGS | {"SQLALCHEMY_DATABASE_URI": url, "MAX_CONTENT_LENGTH": 200_000, "TESTING": False}
    )
    db = SQLAlchemy(host)
    flask_cors.CORS(host, origins=["https://shop.example.com"])
    _add_pages(host)
    mount(host)
    _add_books(host, db)
    _add_hooks(host)
    flask_mail.Mail(host)
    with host.app_context():
        db.create_all()
    return host


def _add_pages(host: Flask) -> None:
    host.add_url_rule("/", "home", lambda: render_template("base.html", tenant=g.tenant))
    host.add_url_rule("/money", "money", lambda: jsonify(z=Decimal(7), a=1))
    host.add_url_rule("/visits", "visits", lambda: str(session.setdefault("first", "yes")))
    host.add_url_rule("/boom", "boom", lambda: str(1 // 0))
    host.add_url_rule("/forbidden", "forbidden", lambda: abort(403))
    host.add_url_rule("/old", "old", lambda: redirect(url_for("home")))
    host.add_url_rule("/folder/", "folder", lambda: "a folder")
    host.add_url_rule("/upload", view_func=Upload.as_view("upload"))

    @host.get("/later")
    async def later() -> ResponseReturnValue:
        return "in a moment"

    auth = Blueprint("auth", "busy", root_path=host.root_path, static_folder="static", url_prefix="/auth")
    auth.add_url_rule("/login", "login", lambda: render_template("auth/login.html"))
    host.register_blueprint(auth)
    pages = Blueprint("pages", "busy", url_prefix="/pages")
    host.register_blueprint(pages)


def _add_books(host: Flask, db: SQLAlchemy) -> None:
    class Book(db.Model):  # type: ignore[name-defined,misc]  # Flask-SQLAlchemy makes it as it runs.
        id: Mapped[int] = mapped_column(primary_key=True)
        title: Mapped[str]

    @host.get("/books")
    def books() -> ResponseReturnValue:
        return jsonify([book.title for book in db.session.scalars(db.select(Book))])

    @host.post("/books")
    def add_book() -> ResponseReturnValue:
        db.session.add(Book(title=request.get_json()["title"]))
        db.session.commit()
        return "added", 201


def _add_hooks(host: Flask) -> None:
    def page(error: Exception) -> ResponseReturnValue:
        code = error.code if isinstance(error, HTTPException) else None
        return f"the host's page: {type(error).__name__}", code or 500

    @host.before_request
    def find_tenant() -> None:
        g.tenant = request.headers.get("X-Tenant", "nobody")

    @host.after_request
    def sign(response: Response) -> Response:
        response.headers["X-Host"] = f"busy {request.endpoint}"
        return response

    host.register_error_handler(404, lambda _error: ("the host's 404", 404))
    host.register_error_handler(Exception, page)
    host.context_processor(lambda: {"shop": "The busy shop"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The host's templates, one of which is named as many are, and its static files."""
    for name, text in {
        "templates/base.html": "{{ shop }} for {{ tenant }}",
        "templates/auth/login.html": "the host's login of {{ shop }}",
        "static/style.css": "body {}",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def answers(host: Flask) -> list[tuple[int, dict[str, str], bytes]]:
    """Send every request with one client, and give what comes back but for the time."""
    client, found = host.test_client(), []
    for method, path, given in REQUESTS:
        answer = client.open(path, method=method, **given)
        headers = {name: value for name, value in answer.headers if name not in ("Date", "Set-Cookie", "Last-Modified")}
        cookies = [value.partition("=")[0] for value in answer.headers.getlist("Set-Cookie")]
        found.append((answer.status_code, {**headers, "cookies": str(cookies)}, answer.data))
        answer.close()
    return found


def ordinary(config: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: config[name] for name in names if config[name] is not None}


@pytest.mark.any_database
def test_every_answer_of_the_host_stays_as_it_was(folder: Path):
    url = f"sqlite:///{folder / 'busy.db'}"
    hosts = []
    for number, mount in enumerate((lambda _host: None, lambda host: init_app(host, environ={}))):
        hosts.append(make_host(folder, url.replace("busy.db", f"{number}.db"), mount))
    without, with_authapp = hosts
    for sent, before, after in zip(REQUESTS, answers(without), answers(with_authapp), strict=True):
        assert after == before, sent
    names = set(without.config) - {"SQLALCHEMY_DATABASE_URI", "SQLALCHEMY_ENGINES"}
    kept = {name for name in names if without.config[name] is not None}
    assert ordinary(with_authapp.config, kept) == ordinary(without.config, kept)
    for made in hosts:
        with made.app_context():
            made.extensions["sqlalchemy"].engine.dispose()


@pytest.mark.any_database
def test_every_answer_of_ours_is_as_everywhere_in_such_a_host(folder: Path):
    host = make_host(folder, f"sqlite:///{folder / 'busy.db'}", lambda host: init_app(host, environ={}))
    api = Api(host)
    assert refusal(api.get("/nothing")) == (404, "NOT_FOUND")
    assert refusal(api.post("/login", data=b"x" * 20_000, content_type="application/json")) == (
        413,
        "PAYLOAD_TOO_LARGE",
    )
    make_user(host)
    user = data(api.get("/me", token=api.log_in()["access_token"]))["user"]
    assert user["created_at"].endswith("Z")
    assert "<form" in api.get("/verify-email?token=x").text
    assert json.loads(api.get("/me").data)["error"]["code"] == "UNAUTHORIZED"
    with host.app_context():
        host.extensions["sqlalchemy"].engine.dispose()
