"""The comparison with peers asks each in its own words, and its table says what was met; nothing is timed here."""

import json

import pytest

from benchmarks.login_storm import Heard
from benchmarks.peers.load import Met
from benchmarks.peers.report import Results, figures_of, show_details
from benchmarks.peers.roster import AUTHAPP, FASTAPI_USERS, FLASK_SECURITY, PEERS, Peer, found
from benchmarks.service import ROOT


def test_every_peer_is_asked_in_its_own_words():
    path, headers, body = FASTAPI_USERS.to_log_in("alice@example.org")
    assert (path, headers["Content-Type"]) == ("/login", "application/x-www-form-urlencoded")
    assert body.startswith(b"username=alice%40example.org&password=")
    assert json.loads(AUTHAPP.to_log_in("alice@example.org")[2])["email"] == "alice@example.org"
    assert json.loads(PEERS["simplejwt"].to_refresh("old")[2]) == {"refresh": "old"}
    assert FLASK_SECURITY.signed("t") == {"Authentication-Token": "t"}
    assert AUTHAPP.signed("t") == {"Authorization": "Bearer t"}
    assert found(b'{"data": {"access_token": "new"}}', AUTHAPP.access) == "new"


@pytest.mark.parametrize("peer", [peer for peer in PEERS.values() if peer is not AUTHAPP], ids=lambda peer: peer.name)
def test_every_peer_has_its_application_beside_the_comparison(peer: Peer):
    source = (ROOT / "benchmarks/peers" / f"{peer.module}.py").read_text()
    assert "fill(sys.argv[1], sys.argv[2:])" in source


def results(*, refreshed: int, failures: list[str] | None = None) -> Results:
    """Make what a peer has met within two rounds of a second each."""
    met = Results(seconds=1.0)
    for _ in range(2):
        met.me.append(Met(500, failures or [], 1.0, 12.5, 0.05, 0.75, 0.25))
        if refreshed:
            met.refresh.append(Met(refreshed, [], 1.0, 40.0, 0.1, 1.0, 0.5))
        met.idle.append(Heard([5.0] * 100))
        met.stormy.append(Heard([10.0] * 100))
        met.logins.append(Heard([100.0] * 20))
    return met


def test_table_has_a_line_for_each_figure_and_the_verdict_of_the_goals():
    everybody = {"authapp": results(refreshed=300), "flask-security": results(refreshed=200)}
    figures = {one.name: one for one in figures_of("SQLite", everybody)}
    refresh = figures["refresh: a second (SQLite)"]
    assert (refresh.limit, refresh.ours, refresh.is_met) == ("flask-security 200", "300 (1.50 times)", True)
    assert figures["me: processor of the service, ms (SQLite)"].ours == "1.50"
    assert figures["me at 100 a second: p99, times idle, beside 16 that log in (SQLite)"].ours == "2.0"
    assert [one.is_met for one in figures.values() if one.goal] == [True, True]


def test_too_slow_a_refresh_is_a_goal_missed():
    everybody = {"authapp": results(refreshed=200), "flask-security": results(refreshed=200)}
    assert [one.is_met for one in figures_of("SQLite", everybody) if one.goal] == [False, True]


def test_who_has_no_refresh_tokens_is_left_out_of_those_lines():
    everybody = {"authapp": results(refreshed=300), "fastapi-users": results(refreshed=0)}
    figures = {one.name: one for one in figures_of("MariaDB", everybody)}
    assert figures["refresh: a second (MariaDB)"].limit == ""
    assert figures["refresh: a second (MariaDB)"].is_met is None
    assert figures["me: a second (MariaDB)"].limit == "fastapi-users 500"
    assert figures["me: processor of the database, ms (MariaDB)"].ours == "0.50"


def test_only_failures_of_ours_are_a_goal_missed():
    good, bad = results(refreshed=0), results(refreshed=0, failures=["me: 500"])
    assert figures_of("SQLite", {"authapp": good, "simplejwt": bad})[-1].is_met
    assert figures_of("SQLite", {"authapp": bad, "simplejwt": good})[-1].is_met is False


def test_details_tell_what_failed_and_what_the_clients_used():
    written: list[str] = []
    show_details("simplejwt", results(refreshed=0, failures=["me: 500 oops"]), written.append)
    assert "client 5%" in written[1]
    assert "    me: 500 oops" in written
