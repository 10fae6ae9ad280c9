"""Health: whether the process is up, and whether it can serve."""

import select
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import flask_migrate
import pytest
from flask import Flask
from sqlalchemy import make_url, text

from authapp.extensions import db
from tests import databases
from tests.conftest import MakeApp
from tests.factories import data, refusal
from tests.statements import heard

AWAY = "mysql+pymysql://root@127.0.0.1:1/x"


@pytest.fixture(params=databases.KINDS)
def own_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of an empty database of the test's own."""
    with databases.empty(request.param, request) as url:
        yield url


@pytest.fixture
def own_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def upgrade(app: Flask) -> None:
    with app.app_context():
        flask_migrate.upgrade()


def execute(app: Flask, statement: str) -> None:
    """Run a statement in a transaction of its own."""
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text(statement))


def is_ready(app: Flask) -> bool:
    """Ask `/readyz`, and check that it answers one thing or the other."""
    response = app.test_client().get("/readyz")
    if response.status_code == 200:
        assert data(response) == {"status": "ready"}
        return True
    assert refusal(response) == (503, "SERVICE_UNAVAILABLE")
    return False


def test_process_is_up_and_asks_nothing_of_the_database(app: Flask):
    with heard(app) as statements:
        response = app.test_client().get("/healthz")
    assert data(response) == {"status": "ok"}
    assert response.headers["Cache-Control"] == "no-store"
    assert statements == []


def test_process_is_up_while_its_database_is_away(make_app: MakeApp):
    app = make_app(DATABASE_URL=AWAY)
    assert data(app.test_client().get("/healthz")) == {"status": "ok"}
    assert not is_ready(app)


def test_service_is_ready_when_the_schema_is_at_head(app: Flask):
    response = app.test_client().get("/readyz")
    assert data(response) == {"status": "ready"}
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_takes_head_and_nothing_that_writes(app: Flask, path: str):
    assert app.test_client().head(path).status_code == 200
    assert refusal(app.test_client().post(path)) == (405, "METHOD_NOT_ALLOWED")


def test_service_is_ready_once_the_schema_is_there_without_a_restart(own_url: str):
    with databases.serving(own_url) as app:
        assert not is_ready(app)
        upgrade(app)
        assert is_ready(app)


def test_service_is_not_ready_with_the_schema_of_another_version(own_url: str):
    with databases.serving(own_url) as app:
        upgrade(app)
        execute(app, "CREATE TABLE kept AS SELECT * FROM alembic_version")
        for changed, mend in (
            ("UPDATE alembic_version SET version_num = '0001'", "flask db upgrade"),
            ("DELETE FROM alembic_version", "flask db upgrade"),
            ("UPDATE alembic_version SET version_num = '9999'", "a newer one: run that"),
            ("INSERT INTO alembic_version VALUES ('9999')", "a newer one: run that"),
        ):
            execute(app, changed)
            assert not is_ready(app), changed
            # The operator reads the mend, and a stranger nothing of the database.
            answer = app.test_client().get("/readyz").text
            assert mend in answer
            assert "9999" not in answer
            assert "0001" not in answer
            execute(app, "DELETE FROM alembic_version")
            execute(app, "INSERT INTO alembic_version SELECT * FROM kept")
            assert is_ready(app), changed


def test_sqlite_file_that_comes_back_makes_the_service_ready_again(tmp_path: Path):
    folder = tmp_path / "volume"
    with databases.serving(f"sqlite:///{folder / 'own.db'}") as app:
        assert not is_ready(app)
        folder.mkdir()
        upgrade(app)
        assert is_ready(app)


def test_database_server_that_comes_back_makes_the_service_ready_again(own_port: int, request: pytest.FixtureRequest):
    with databases.empty("mariadb", request) as url:
        server = make_url(url)
        target = (server.host or "127.0.0.1", server.port or 3306)
        relayed = server.set(host="127.0.0.1", port=own_port).render_as_string(hide_password=False)
        with databases.serving(url) as direct:
            upgrade(direct)
        with databases.serving(relayed) as app:
            assert not is_ready(app)
            with relay(own_port, target):
                assert is_ready(app)
            # Its pooled connection is dead now, as after a restart of the server.
            assert not is_ready(app)
            with relay(own_port, target):
                assert is_ready(app)


class _Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True


@contextmanager
def relay(port: int, target: tuple[str, int]) -> Iterator[None]:
    """Stand for a database server that comes up and goes down again, all its connections with it."""
    down = threading.Event()

    class Relay(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(target) as server:
                _carry(self.request, server, down.is_set)

    with _Listener(("127.0.0.1", port), Relay) as listener:
        thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield
        finally:
            down.set()
            listener.shutdown()
            thread.join()


def _carry(client: socket.socket, server: socket.socket, is_down: Callable[[], bool]) -> None:
    while not is_down():
        readable, _, _ = select.select([client, server], [], [], 0.01)
        for end in readable:
            if not (content := end.recv(65536)):
                return
            (server if end is client else client).sendall(content)
