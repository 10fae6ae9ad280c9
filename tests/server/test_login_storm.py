"""A storm of logins beside which those who are signed in go on being served: the benchmark, in short."""

import pytest
from flask import Flask

from benchmarks import login_storm, people
from tests.conftest import Figure

pytestmark = [pytest.mark.server, pytest.mark.long]


def test_nobody_who_is_signed_in_is_refused_while_others_log_in(app: Flask, figure: Figure):
    with app.app_context():
        people.fill()
    met = login_storm.measure(people.production(app.config["DATABASE_URL"]), rounds=2, seconds=4)
    for one in login_storm.figures(met, app.config["DATABASE_URL"].partition(":")[0]):
        figure(one.name, one.ours)
    assert {name: phase.failures for name, phase in met.items() if phase.failures} == {}
    assert all(phase.logins.milliseconds for name, phase in met.items() if name != "idle")
