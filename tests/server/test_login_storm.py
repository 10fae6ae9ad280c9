"""A storm of logins beside which those who are signed in go on being served: the benchmark, in short."""

import pytest
from flask import Flask

from benchmarks import login_storm
from tests.conftest import Figure

pytestmark = [pytest.mark.server, pytest.mark.long]


def test_nobody_who_is_signed_in_is_refused_while_others_log_in(app: Flask, figure: Figure):
    with app.app_context():
        login_storm.fill()
    settings = login_storm.production(app.config["DATABASE_URL"])
    met = login_storm.measure(settings, rounds=2, seconds=4)
    login_storm.report(met)
    figure("p99 of GET me beside 16 that log in, times idle", round(met.times_idle, 1))
    figure("longest answer of /healthz beside them, ms", round(met.longest_health))
    figure("logins answered", len(met.logins.milliseconds))
    assert met.failures == []
