"""A way through the API with the client that openapi-python-client makes of its document."""

import sys
import time

import httpx
from authapp_client import AuthenticatedClient, Client
from authapp_client.api.login import login, login_json, logout, refresh_tokens
from authapp_client.api.me import get_me
from authapp_client.api.register import register, verify_email
from authapp_client.api.sessions import list_sessions
from authapp_client.models import (
    ConfirmedAnswer,
    Error,
    Failure,
    Grant,
    Granted,
    LinkTokenBody,
    LoginBody,
    MessageAnswer,
    RefreshTokenBody,
    RegisterBody,
    RegisteredAnswer,
    SessionsAnswer,
    TokensAnswer,
    UserDataAnswer,
)

address, email, password = sys.argv[1:]


def mailed_token() -> str:
    """Wait for the mail and give its token."""
    for _ in range(100):
        box = httpx.get(f"{address}/dev/mailbox", headers={"Accept": "application/json"}).json()
        links = [mail["links"][0] for mail in box if mail["to"] == email]
        if links:
            return str(httpx.URL(links[0]).params["token"])
        time.sleep(0.05)
    sys.exit("no mail came")


stranger = Client(base_url=address, raise_on_unexpected_status=True)
with stranger:
    registered = register.sync(client=stranger, body=RegisterBody(email=email, password=password, name="Alice"))
    assert isinstance(registered, RegisteredAnswer)
    assert registered.data.user.name == "Alice"

    early = login_json.sync(client=stranger, body=LoginBody(email=email, password=password))
    assert isinstance(early, Failure)
    assert early.error.code == "EMAIL_NOT_VERIFIED"

    verified = verify_email.sync(client=stranger, body=LinkTokenBody(token=mailed_token()))
    assert isinstance(verified, ConfirmedAnswer)
    assert verified.data.user.is_verified

    first = login.sync(client=stranger, body=LoginBody(email=email, password=password))
    assert isinstance(first, TokensAnswer)
    form = login.sync(client=stranger, body=Grant(username=email, password=password))
    assert isinstance(form, Granted)

    with AuthenticatedClient(base_url=address, token=first.data.access_token) as alice:
        me = get_me.sync(client=alice)
        assert isinstance(me, UserDataAnswer)
        assert me.data.user.email == email

    refreshed = refresh_tokens.sync(client=stranger, body=RefreshTokenBody(refresh_token=first.data.refresh_token))
    assert isinstance(refreshed, TokensAnswer)
    with AuthenticatedClient(base_url=address, token=refreshed.data.access_token) as alice:
        sessions = list_sessions.sync(client=alice)
        assert isinstance(sessions, SessionsAnswer)
        assert len(sessions.data.sessions) == 2

        gone = logout.sync(client=stranger, body=RefreshTokenBody(refresh_token=refreshed.data.refresh_token))
        assert isinstance(gone, MessageAnswer)
        refused = get_me.sync_detailed(client=alice)
    assert refused.status_code == 401
    assert isinstance(refused.parsed, Failure)
    assert refused.parsed.error.code == "TOKEN_REVOKED"

# A code that a later version may have.
assert Error.from_dict({"code": "NO_SUCH_CODE_YET", "message": "No."}).code == "NO_SUCH_CODE_YET"

sys.stdout.write("walked\n")
