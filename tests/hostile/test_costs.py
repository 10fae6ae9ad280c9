"""What the dearest requests cost that fit through the limits: none keeps the processor busy for long."""

import json
import random
import time
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask

from authapp import database, sessions, users
from authapp.clients import Client
from tests.conftest import Figure, MakeApp
from tests.factories import ALICE, Api, make_user

pytestmark = [pytest.mark.long, pytest.mark.any_database]

# In yardsticks, as machines differ by a factor of six: a third of a second on a quick one. Beside the hash, which tests
# have a cheap one of.
MOST = 12
TRIES = 3
FORM = "application/x-www-form-urlencoded"
STAND_INS = "4@8({[<369|1!70$5+%2"
# A long way up the hill from random ones: characters that stand for several letters each, words, dates, repetitions.
PASSWORDS = [
    "{{9o(e7e1!|1!||1e|66%(+{{[[<{{9o(e7e1!|1!||1e|66%(+{{[[<{{9o(e7e1!|1!||1",
    "@[[1[9410|!t@[[1[969<9@19t!51+056@433{{[[<<1[969qc4tc4t5444444444444444@",
    "{[<|1!7$5+" * 12,
    "({[<1!|74@" * 12,
    STAND_INS * 6,
    "aab" * 40,
    "aaca" * 30,
    "a" * 4096,
    "1/1/1990-" * 14,
    "passwordpassword" * 8,
    "qwertyuiop[]" * 10,
    "\ufdfa" * 4096,
    "a" + "\u0345\u0300\u0316" * 1365,
    "\u1100\u1161\u11a8" * 1365,
    "".join(chr(0x300 + number % 64) for number in range(4096)),
]
AGENTS = [
    "SAMSUNG" * 1000,
    "SAMSUNG" * 8 + "MSIE " * 12 + "SAMSUNG" * 20 + "AppleWebKit/",
    "iPhone; " * 8 + " " * 7000,
    "Mozilla/5.0 (" * 600,
    "Android 1." * 700,
    "CPU OS 1_" * 800,
    "HbbTV/1.1.1 (" * 500,
    "a/1.1." * 1000,
]
ADDRESSES = [
    "a@" + "\u00df." * 100 + "com",
    "a" * 64 + "@" + "a." * 90 + "com",
    "." * 4000 + "@example.org",
    "=?" * 2000 + "@example.org",
    '"' + "\\a" * 2000 + '"@example.org',
    "a@[" + "0:" * 2000 + "]",
    "a@" + "\u0300" * 4000,
    "<" * 2000 + ">" * 2000,
]
PHOTOS = [
    "https://" + "a." * 1000,
    "https://" + "a-" * 1000 + ".org",
    "https://" + "1." * 1000,
    "https://[" + "0:" * 1000 + "]",
    "https://a.org/" + "%" * 2000,
    "https://" + "a@" * 1000,
    "https://a.org?" + "a&" * 1000,
    "https://" + "\u00e9" * 2000,
]
BODIES = [
    b"[" * 16_000,
    b'{"a":' * 3000,
    json.dumps({str(number): 0 for number in range(1900)}).encode(),
    json.dumps({"email": [[[[[[]]]]]] * 900}).encode(),
    b'{"email": ' + b"9" * 4200 + b"}",
    b'{"email": "' + b"\\ud800" * 2700 + b'"}',
    b'{"email": ' + b"-1e" + b"9" * 16_000 + b"}",
    b"\xff" * 16_000,
]
FORMS = [b"a&" * 8000, b"a=b;" * 4000, b"%" * 16_000, b"%41" * 5000, b"=" * 16_000, b"{" * 16_000]
HEADERS = {
    "Authorization": [
        "Bearer " + "a." * 4000,
        "Bearer " + "." * 8000,
        "Bearer W" + "1tb" * 1300 + ".e30.AA",
        " " * 8000,
    ],
    "Cookie": ["a=b; " * 1600, "; ".join(f"a{number}=b" for number in range(900)), '"\\' * 4000, "access_token=" * 600],
    "Accept": ["a/b;q=0.1," * 800, "," * 8000, "*/*;" * 2000],
    "Range": ["bytes=" + "0-1," * 2000],
    "If-None-Match": ['"a",' * 2000, 'W/"' * 2000],
    "X-Forwarded-For": ["1.2.3.4," * 1000, ":" * 8000],
    "Host": ["a." * 4000, "[" * 8000, "1" * 8000],
    "Origin": ["http://" + "a." * 4000, "https://[" + ":" * 8000],
    "X-Request-ID": ["a" * 8000],
    "X-CSRF-TOKEN": ["a" * 8000],
    "If-Modified-Since": ["Thu, " * 1600, "1" * 8000],
    "Content-Type": ["application/json;" + "a=b;" * 2000, "a/" * 4000, 'application/json; a="' + "\\" * 8000],
}
TOKENS = ["a" * 4096, "a." * 2000, ".e" * 500 + ".a.b", "." * 1024, "W" * 1000 + ".a.b"]
PATHS = ["/" * 4000, "/.." * 2500, "/%2e%2e" * 1000, "/sessions/" + "0" * 7000, "/" + "%00" * 2000, "/a" * 3500]


Way = tuple[str, str, str, dict[str, Any]]
"""What is odd about a request; its method, its path, and what else the client is to be told."""


def odd_fields() -> Iterator[Way]:
    choose = random.Random(1)
    some = ["".join(choose.choices([*choose.sample(STAND_INS, 10), "a"], k=128)) for _ in range(60)]
    for password in (*PASSWORDS, *some):
        account = {"email": "a.b.c.d@example.org", "password": password, "name": "A B"}
        yield f"password {password[:20]!r}", "POST", "/register", {"json": account}
    for password in PASSWORDS:
        yield f"login {password[:20]!r}", "POST", "/login", {"json": {"email": ALICE, "password": password}}
    for address in ADDRESSES:
        yield f"address {address[:20]!r}", "POST", "/forgot-password", {"json": {"email": address}}
    for photo in PHOTOS:
        yield f"photo {photo[:20]!r}", "PATCH", "/me", {"json": {"photo": photo}}
    for token in TOKENS:
        yield f"link {token[:20]!r}", "POST", "/verify-email", {"json": {"token": token}}
        yield f"refresh token {token[:20]!r}", "POST", "/refresh", {"json": {"refresh_token": token}}
        yield f"query {token[:20]!r}", "GET", f"/reset-password?{urlencode({'token': token})}&{'a&' * 2000}", {}


def odd_bytes() -> Iterator[Way]:
    for raw in BODIES:
        yield f"JSON {raw[:20]!r}", "POST", "/register", {"data": raw, "content_type": "application/json"}
    for raw, path in product(FORMS, ("/register", "/login", "/verify-email/page")):
        yield f"form {raw[:20]!r}", "POST", path, {"data": raw, "content_type": FORM}
    for name, values in HEADERS.items():
        for value, path in product(values, ("/me", "/static/page.css")):
            yield f"{name} {value[:20]!r}", "GET", path, {"headers": {name: value}}
            yield f"{name} {value[:20]!r}", "POST", "/login", {"headers": {name: value}, "data": b"{}"}
    for path in PATHS:
        yield f"path {path[:20]!r}", "GET", path, {}


def seconds_of(work: Callable[[], Any]) -> float:
    """The processor time of this thread that `work` takes."""
    before = time.thread_time()
    work()
    return time.thread_time() - before


def yardstick() -> None:
    """Some work of the interpreter that costs the same whatever authapp does."""
    sum(number * number for number in range(500_000))


def dear(work: Callable[[], Any]) -> float:
    """What `work` costs in yardsticks: where that is too much, the least of some tries, for a neighbour slows one."""
    costs: list[float] = []
    while len(costs) < TRIES and (not costs or costs[-1] >= MOST):
        costs.append(seconds_of(work) / seconds_of(yardstick))
    return min(costs)


def test_no_request_keeps_the_processor_busy(app: Flask, make_app: MakeApp, figure: Figure):
    make_user(app)
    api = Api(make_app(AUTH_COOKIES=True, CLIENT_ORIGIN="https://app.example.com", TRUSTED_PROXIES=1))
    token = api.log_in()["access_token"]
    api.register("bob@example.org")
    costs = []
    for what, method, path, more in (*odd_fields(), *odd_bytes()):
        signed_in = {"token": token} if path == "/me" and "headers" not in more else {}

        def ask(what: str = what, request: tuple[Any, ...] = (method, path), more: Any = signed_in | more) -> None:
            with api.request(*request, **more) as answer:
                assert answer.status_code < 500, what

        costs.append((dear(ask), what))
    costs.sort(reverse=True)
    figure("requests measured", len(costs))
    figure("dearest requests, yardsticks of processor", [(round(cost, 2), what) for cost, what in costs[:3]])
    assert costs[0][0] < MOST


def test_list_of_sessions_from_odd_browsers_is_cheap(app: Flask, api: Api, figure: Figure):
    make_user(app)
    token = api.log_in()["access_token"]
    # The tables of browsers are loaded once in a process.
    api.get("/sessions", token=token)
    with app.app_context():
        user = users.find(ALICE)
        assert user is not None
        for number in range(120):
            agent = AGENTS[number % len(AGENTS)]
            sessions.start(user, Client.seen("192.0.2.1", f"{agent[:200]}{number} {agent}"))
        database.commit()

    def ask() -> None:
        listed = api.get("/sessions", token=token)
        assert len((listed.json or {})["data"]["sessions"]) == 100

    cost = dear(ask)
    figure("list of 100 sessions from hostile browsers, yardsticks of processor", round(cost, 2))
    assert cost < MOST
