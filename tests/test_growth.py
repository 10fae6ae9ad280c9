"""What benchmarks reckon with, apart from their times: rows that servers make, and what is said of what was met."""

from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select

from authapp import purge, users
from authapp.extensions import db
from authapp.models import KnownNetwork, RevokedToken, Session, User
from benchmarks import growth
from benchmarks import purge as purging
from benchmarks.filling import fill
from benchmarks.growth import Cost, Size
from benchmarks.login_storm import Heard
from benchmarks.purge import Purged


def test_rows_that_the_server_makes_are_those_that_are_told_by_number(app: Flask):
    filled = fill(app.config["DATABASE_URL"], users=20, tokens=30)
    with app.app_context():
        for number in (1, 20):
            user = users.find(filled.email(number))
            assert user is not None
            assert user.id == filled.user_id(number)
            assert user.id.version == 7
            session = db.session.get_one(Session, filled.session_id(number))
            assert session.user_id == user.id
            assert session.created_at == filled.now
        counts = [db.session.scalar(select(func.count()).select_from(one)) for one in (User, RevokedToken)]
        assert counts == [20, 30]
        assert not any(purge.run().values())


def test_rows_that_are_past_their_time_are_what_a_purge_finds(app: Flask):
    fill(app.config["DATABASE_URL"], users=4, tokens=6, expired=True)
    with app.app_context():
        deleted = purge.run()
        assert {what: number for what, number in deleted.items() if number} == {
            "sessions": 4,
            "revoked tokens": 6,
            "known networks": 4,
        }
        assert db.session.scalar(select(func.count()).select_from(KnownNetwork)) == 0


def test_filled_users_are_served(app: Flask):
    app.config["AUTH_PASSWORD_HASH"], before = "scrypt:32768:8:3", app.config["AUTH_PASSWORD_HASH"]
    sizes = [Size(app, fill(app.config["DATABASE_URL"], users=3, tokens=3))] * 2
    growth.compare(*sizes, rounds=1, requests=4)
    app.config["AUTH_PASSWORD_HASH"] = before
    assert all(len(cost.ours) == 2 for cost in sizes[0].costs.values())
    assert len(growth.figures("x", *sizes)) >= len(growth.KINDS)


def costing(*seconds: float) -> dict[str, Cost]:
    return {kind: Cost(list(seconds)) for kind in growth.KINDS}


@pytest.mark.any_database
@pytest.mark.parametrize(("large", "is_met"), [((1.1, 9.0, 1.0), True), ((1.2, 9.0, 1.0), False)])
def test_growth_is_told_by_the_medians_of_the_rounds(app: Flask, large: tuple[float, ...], is_met: bool):
    filled: Any = type("Filled", (), {"users": 10})()
    sizes = [Size(app, filled, costing(*costs)) for costs in ((1.0, 1.0, 8.0), large)]
    assert {figure.is_met for figure in growth.figures("x", *sizes)} == {is_met}


@pytest.mark.any_database
def test_purge_is_judged_by_the_slowest_hundredth_and_by_its_memory():
    idle, twice, thrice = (Heard([float(time)] * 10) for time in (5, 10, 15))
    flat, grown = [1, *[100] * 19], [1, *[100] * 18, 120]
    good = purging.figures("x", Purged(idle, twice, 10, 2.0, flat))
    assert [figure.is_met for figure in good] == [True, True, None]
    assert good[-1].ours == "5"
    assert [figure.is_met for figure in purging.figures("x", Purged(idle, thrice, 10, 2.0, grown))] == [
        False,
        False,
        None,
    ]
    failed = Purged(idle, Heard([5.0] * 10, failures=["me: 503"]), 10, 2.0, flat)
    assert purging.figures("x", failed)[0].is_met is False
