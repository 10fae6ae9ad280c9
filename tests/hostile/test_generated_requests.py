"""Thousands of generated requests, each sent to the service on SQLite and on MariaDB: never an error of ours, always
the envelope and the headers, and the same answer from both."""

from collections import Counter
from collections.abc import Iterator

import flask_migrate
import pytest
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from authapp import create_app
from authapp.extensions import db
from authapp.testing import TEST_SETTINGS, empty_tables
from tests.conftest import Figure
from tests.hostile.exchange import Answer, exchange, leaked
from tests.hostile.generated import Sent, requests
from tests.hostile.world import World
from tests.leaks import Watch

# One after the other on the same world: what one has changed the next may meet.
IN_A_ROW = 40
# Everything that reads what a stranger sends is switched on.
SETTINGS = {"AUTH_COOKIES": True, "CLIENT_ORIGIN": "https://app.example.com", "TRUSTED_PROXIES": 1}


@pytest.fixture(scope="module")
def both(mysql_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Flask]]:
    """The same service on SQLite and on MariaDB."""
    file = tmp_path_factory.mktemp("hostile") / "test.db"
    urls = {"SQLite": f"sqlite:///{file}", "MariaDB": mysql_url}
    apps = {
        name: create_app({**TEST_SETTINGS, **SETTINGS, "DATABASE_URL": url}, environ={}) for name, url in urls.items()
    }
    for app in apps.values():
        with app.app_context():
            flask_migrate.upgrade()
    yield apps
    for app in apps.values():
        empty_tables(app)
        with app.app_context():
            db.engine.dispose()


@pytest.mark.parametrize("number", [1_000, pytest.param(20_000, marks=pytest.mark.long)])
def test_generated_requests_are_answered_well_and_the_same_on_each_database(
    both: dict[str, Flask], number: int, figure: Figure, leaks: Watch
):
    counts: Counter[str] = Counter()
    statuses: dict[str, Counter[int]] = {name: Counter() for name in both}
    codes: Counter[str] = Counter()
    distinct: set[Sent] = set()

    def answers_to(request: Sent, worlds: dict[str, World]) -> list[Answer]:
        answers = []
        for name, world in worlds.items():
            answer = exchange(world, request)
            counts[f"requests on {name}"] += 1
            statuses[name][answer.status] += 1
            answers.append(answer)
        codes[answers[0].code or "none"] += 1
        return answers

    @settings(
        max_examples=number // IN_A_ROW,
        # The usual one makes five in six of its examples out of earlier ones, which would be much the same requests.
        backend="hypothesis-urandom",
        deadline=None,
        database=None,
        # The request that failed is told; to find a shorter row before it takes minutes.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(row=st.lists(requests(), min_size=IN_A_ROW, max_size=IN_A_ROW))
    def send(row: list[Sent]) -> None:
        worlds = {name: World(app) for name, app in both.items()}
        distinct.update(row)
        for request in row:
            answers = answers_to(request, worlds)
            for answer in answers:
                faults = answer.faults()
                counts.update(fault.partition(" ")[0] for fault in faults)
                assert faults == [], (request, answer)
            on_sqlite, on_mariadb = (answer.comparable() for answer in answers)
            counts["differences"] += on_sqlite != on_mariadb
            assert on_sqlite == on_mariadb, request
        assert leaked(leaks) == []

    try:
        send()
    finally:
        for name in both:
            figure(f"requests on {name}", counts[f"requests on {name}"])
            figure(f"statuses on {name}", dict(sorted(statuses[name].items())))
        for what, fault in {"answers of 5xx": "5xx", "answers outside the envelope": "outside"}.items():
            figure(what, counts[fault])
        figure("answers without a header of the contract", counts["header"])
        figure("differences between the databases", counts["differences"])
        figure("distinct requests", len(distinct))
        figure("codes", dict(codes.most_common()))
    assert all(counts[f"requests on {name}"] >= number for name in both)
