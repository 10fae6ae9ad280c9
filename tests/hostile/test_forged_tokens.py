"""Thousands of forged tokens and links of each kind: none is accepted, and none is an error of ours."""

import base64
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.conftest import Figure, MakeApp
from tests.factories import BOB, OTHER_PASSWORD, Api, claims, data, key_pair, make_user, refusal
from tests.hostile.forged_links import forged_links
from tests.hostile.forgery import AUDIENCE, ISSUER, Forged, Forger, encoded
from tests.hostile.world import World

pytestmark = pytest.mark.any_database

# Of each kind and algorithm: what fits beside the other tests, and what is promised.
NUMBERS = [400, pytest.param(10_000, marks=pytest.mark.long)]
ALGORITHMS = ("HS256", "RS256", "ES256", "EdDSA")
# A text that no token can be (too long, a NUL in it) is refused before it is looked at as one.
NO_TEXT = (422, "VALIDATION_ERROR")
INVALID, EXPIRED = (401, "TOKEN_INVALID"), (401, "TOKEN_EXPIRED")


@dataclass
class Tally:
    """What came of the forged ones that were sent."""

    figure: Figure
    seen: Counter[tuple[int, str]]

    def send(self, what: str, every: Sequence[Forged], use: Callable[[str], TestResponse], *refusals: tuple[int, str]):
        """Use each and check that it is refused so; the last way is for one whose time is over."""
        for forged in every:
            answer = use(forged.token)
            assert 400 <= answer.status_code < 500, (forged, answer.status_code)
            told = refusal(answer)
            assert told in refusals[:-1] or (told == refusals[-1] and forged.is_expired), (forged, told)
            self.seen[told] += 1
        self.figure(f"forged {what} sent, of which 0 were accepted and 0 answered with 5xx", len(every))


@pytest.fixture
def tally(figure: Figure) -> Tally:
    return Tally(figure, Counter())


def service(make_app: MakeApp, algorithm: str, which: str) -> Api:
    """A service that checks all that can be checked."""
    if algorithm == "HS256":
        own = {"SECRET_KEY": f"the secret of a service that is {which}, as long as it must be"}
    else:
        own = {"JWT_ALGORITHM": algorithm, "JWT_PRIVATE_KEY": key_pair(algorithm, which)[0]}
    return Api(make_app(**own, JWT_ISSUER=ISSUER, JWT_AUDIENCE=AUDIENCE, AUTH_COOKIES=True))


def as_header(token: str) -> str:
    """Give the text that a server makes of these bytes in a header."""
    return token.encode(errors="surrogatepass").decode("latin-1")


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_forged_token_is_accepted(app: Flask, make_app: MakeApp, tally: Tally, algorithm: str, number: int):
    make_user(app)
    make_user(app, BOB, OTHER_PASSWORD)
    api, forgers = service(make_app, algorithm, "current"), service(make_app, algorithm, "forger")
    pair, later, bobs, own = api.log_in(), api.log_in(), api.log_in(BOB, OTHER_PASSWORD), forgers.log_in()
    elsewhere = [found[name] for found in (own,) for name in ("access_token", "refresh_token")]

    access = Forger(api.app, forgers.app, pair["access_token"], (pair["refresh_token"], *elsewhere))
    every = access.every()
    assert len(every) >= 10_000
    swapped = signature_of(pair["access_token"], later["access_token"], bobs["access_token"])
    uses = (
        lambda token: api.get("/me", environ_overrides={"HTTP_AUTHORIZATION": f"Bearer {as_header(token)}"}),
        lambda token: api.get("/me", environ_overrides={"HTTP_COOKIE": f"access_token={as_header(token)}"}),
    )
    tally.send(f"access tokens ({algorithm})", [*swapped, *every][:number], uses[0], INVALID, EXPIRED)
    # What is no cookie at all is no token either.
    of_cookies = [forged for forged in every[: number // 10] if forged.token.isascii() and forged.token.isprintable()]
    tally.send(f"access tokens in cookies ({algorithm})", of_cookies, uses[1], INVALID, (401, "UNAUTHORIZED"), EXPIRED)

    refresh = Forger(api.app, forgers.app, pair["refresh_token"], (pair["access_token"], *elsewhere))
    swapped = signature_of(pair["refresh_token"], later["refresh_token"], bobs["refresh_token"])
    forged = [*swapped, *refresh.every()]
    assert len(forged) >= 10_000
    tally.send(f"refresh tokens ({algorithm})", forged[:number], api.refresh, INVALID, NO_TEXT, EXPIRED)

    tally.figure(f"answers ({algorithm})", dict(tally.seen.most_common()))
    data(api.get("/me", token=pair["access_token"]))
    data(api.refresh(pair["refresh_token"]))


def signature_of(good: str, *others: str) -> list[Forged]:
    """Give the token with the signatures of others, and theirs with its own."""
    unsigned, _, signature = good.rpartition(".")
    found = [f"{unsigned}.{other.rpartition('.')[2]}" for other in others]
    found += [f"{other.rpartition('.')[0]}.{signature}" for other in others]
    return [Forged("the signature of another", token) for token in found]


@pytest.mark.parametrize("number", NUMBERS)
def test_no_forged_link_is_accepted(app: Flask, tally: Tally, number: int):
    api = Api(app)
    kinds = {
        "verify-email": ("verify", lambda token: api.post("/verify-email", {"token": token})),
        "change-email": ("change", lambda token: api.post("/change-email/confirm", {"token": token})),
        "reset-password": (
            "reset",
            lambda token: api.post("/reset-password", {"token": token, "new_password": OTHER_PASSWORD}),
        ),
    }
    for purpose, (name, use) in kinds.items():
        world = World(app)
        mine = world.named[name]
        others = [token for other, token in world.named.items() if other not in (name, "verified", "taken")]
        every = forged_links(app, mine, purpose=purpose, others=others)
        refused = ((400, "LINK_INVALID"), NO_TEXT, (400, "LINK_EXPIRED"))
        assert len(every) >= 10_000
        tally.send(f"links ({purpose})", every[:number], use, *refused)
        data(use(mine))
    tally.figure("answers", dict(tally.seen.most_common()))


def test_second_signature_that_anybody_can_make_gives_the_same_token(app: Flask, make_app: MakeApp):
    """To every signature of ECDSA there is a twin; what is revoked, and what is used once, is the `jti` within."""
    make_user(app)
    api = service(make_app, "ES256", "current")
    pair = api.log_in()
    twins = {name: twin(pair[name]) for name in ("access_token", "refresh_token")}
    assert claims(twins["access_token"]) == claims(pair["access_token"])
    data(api.get("/me", token=twins["access_token"]))
    later = data(api.refresh(pair["refresh_token"]))
    assert data(api.refresh(twins["refresh_token"])) == later
    data(api.post("/logout", token=pair["access_token"]))
    assert refusal(api.get("/me", token=twins["access_token"])) == (401, "TOKEN_REVOKED")
    assert refusal(api.refresh(twins["refresh_token"])) == (401, "TOKEN_REVOKED")


def twin(token: str) -> str:
    """Put n - s in place of s in a signature by P-256 (FIPS 186-5, 6.4.2), which is as good."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    unsigned, _, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    return f"{unsigned}.{encoded(raw[:32] + (order - int.from_bytes(raw[32:])).to_bytes(32, 'big'))}"
