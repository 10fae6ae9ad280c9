"""Another service, which knows the JWKS address and nothing else; and keys that change under everybody's sessions."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import jwt as pyjwt
import pytest
from werkzeug.serving import make_server

from tests.conftest import MakeApp
from tests.factories import ALICE, PASSWORD, key_pair
from tests.server.conftest import StartNode

pytestmark = [pytest.mark.server, pytest.mark.any_database]

ALGORITHMS = ("RS256", "ES256", "EdDSA")
Pair = dict[str, Any]


def signed_by(algorithm: str, which: str = "current", *, previous: str = "") -> dict[str, object]:
    """Give the settings of a service with this key, which accepts the `previous` one too."""
    return {
        "AUTH_REQUIRE_VERIFIED_EMAIL": "false",
        "JWT_ALGORITHM": algorithm,
        "JWT_PRIVATE_KEY": key_pair(algorithm, which)[0],
        "JWT_PREVIOUS_PUBLIC_KEYS": key_pair(algorithm, previous)[1] if previous else "",
    }


def post(address: str, route: str, **body: str) -> httpx.Response:
    return httpx.post(f"{address}/api/auth{route}", json=body)


def register(address: str) -> Pair:
    return tokens_of(post(address, "/register", email=ALICE, password=PASSWORD))


def tokens_of(response: httpx.Response) -> Pair:
    assert response.is_success, response.text
    found: Pair = response.json()["data"]
    return found


def me(address: str, pair: Pair) -> httpx.Response:
    return httpx.get(f"{address}/api/auth/me", headers={"Authorization": f"Bearer {pair['access_token']}"})


def refresh(address: str, pair: Pair) -> httpx.Response:
    return post(address, "/refresh", refresh_token=pair["refresh_token"])


def kid_of(token: str) -> str:
    kid: str = pyjwt.get_unverified_header(token)["kid"]
    return kid


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def other_service(root: Path, address: str, algorithm: str, *tokens: str) -> list[str]:
    """Run what docs/tokens.md prints in a process that knows nothing of ours, and give what it says of each token."""
    (program,) = re.findall(r"^```python\n(.*?)^```$", (root / "docs/tokens.md").read_text(), re.MULTILINE | re.DOTALL)
    program = program.replace("https://auth.example.com/", f"{address}/").replace('"RS256"', f'"{algorithm}"')
    program += """
import sys
for token in sys.argv[1:]:
    try:
        print(user_id_of(token))
    except jwt.PyJWTError as error:
        print(type(error).__name__, *error.args)
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, *tokens], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.splitlines()


@pytest.fixture
def start_here(make_app: MakeApp) -> Iterator[StartNode]:
    """Start a service in a thread of the test, without the second that a process of its own takes."""
    with ExitStack() as nodes:

        def start(*, workers: int, **settings: object) -> str:
            server = make_server("127.0.0.1", 0, make_app(**settings), threaded=True)
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            # Undone in the opposite order.
            nodes.callback(server.server_close)
            nodes.callback(thread.join)
            nodes.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}"

        yield start


@pytest.mark.parametrize(
    "algorithm",
    # Each starts several services; what differs between algorithms is tried without any in test_keys.py.
    [pytest.param(name, marks=[] if name == "ES256" else pytest.mark.long) for name in ALGORITHMS],
)
def test_another_service_checks_tokens_and_no_session_is_lost_when_the_key_changes(
    start_node: StartNode, start_here: StartNode, root: Path, algorithm: str
):
    # Processes of gunicorn's are the same for each: ES256 is the one that takes trouble to sign alike in all.
    start = start_node if algorithm == "ES256" else start_here
    before = start(workers=1, **signed_by(algorithm, "earlier"))
    idle = register(before)
    alice = idle["user"]["id"]
    busy, asleep = (tokens_of(post(before, "/login", email=ALICE, password=PASSWORD)) for _ in range(2))
    earlier_kid = kid_of(idle["access_token"])
    forged = forge(idle, algorithm)
    found = other_service(root, before, algorithm, idle["access_token"], idle["refresh_token"], forged)
    assert found[:2] == [alice, "InvalidTokenError not an access token"]
    assert found[2].startswith("InvalidSignatureError")

    rotated = start(workers=2, **signed_by(algorithm, previous="earlier"))
    later = tokens_of(refresh(rotated, busy))
    alive = (idle, busy, later)
    assert all(me(rotated, pair).is_success for pair in alive)
    assert other_service(root, rotated, algorithm, *(pair["access_token"] for pair in alive)) == [alice] * 3
    (later_kid,) = {kid_of(later[name]) for name in ("access_token", "refresh_token")}
    shown = httpx.get(f"{rotated}/.well-known/jwks.json").json()["keys"]
    assert [key["kid"] for key in shown] == [later_kid, earlier_kid]
    # The lost answer is found again, now under the new key.
    assert tokens_of(refresh(rotated, busy)) == later

    dropped = start(workers=1, **signed_by(algorithm))
    for response in (me(dropped, idle), refresh(dropped, idle), refresh(dropped, asleep)):
        assert code(response) == (401, "TOKEN_INVALID")
    found = other_service(root, dropped, algorithm, later["access_token"], idle["access_token"])
    assert found[0] == alice
    assert found[1].startswith("PyJWKClientError")
    assert tokens_of(refresh(dropped, later))
    # To drop it too early ended nothing: who brings it back has every session back.
    assert tokens_of(refresh(rotated, asleep))


def forge(pair: Pair, algorithm: str) -> str:
    """Make an access token that names the right key and is signed with another."""
    payload = {"sub": pair["user"]["id"], "type": "access", "exp": 4_000_000_000}
    headers = {"kid": kid_of(pair["access_token"])}
    return pyjwt.encode(payload, key_pair(algorithm, "forger")[0], algorithm=algorithm, headers=headers)
