"""Clients: where a request came from, what to count it by, and from where an account signs in."""

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, delete, exists, update

from authapp import clock, database
from authapp.models import USER_AGENT_LENGTH, KnownNetwork, User

KNOWN_FOR = timedelta(days=30)
"""How long a network counts as known after the last sign-in from there."""

_WITH_PORT = re.compile(r"([0-9.]{7,15}):[0-9]{1,5}|\[([^\[\]]{2,60})\](?::[0-9]{1,5})?")


@dataclass(frozen=True)
class Client:
    """Where a request came from, as far as it can be told; what is not an address is not kept."""

    ip: str | None = None
    user_agent: str | None = None

    @classmethod
    def seen(cls, address: str | None, user_agent: str | None) -> "Client":
        """Take what a request says of itself, cut to what the columns hold."""
        # A header may hold any bytes; only characters that every database keeps are kept.
        text = "".join(char for char in user_agent or "" if char.isprintable())
        return cls(_ip(address or ""), text[:USER_AGENT_LENGTH] or None)

    @property
    def network(self) -> str:
        """Give what to count this client by: its address, or the /64 of it, since one IPv6 client has all of that."""
        if self.ip is None:
            return "unknown"
        return str(ipaddress.ip_network(f"{self.ip}/64", strict=False)) if ":" in self.ip else self.ip


def network_of(client: Client | None) -> str | None:
    """Give the client's network; none where no client is known at all, as for a command."""
    return client.network if client else None


def remember(user: User, client: Client) -> None:
    """Keep in mind that the user signs in from there, if it is a place at all."""
    if client.ip is None:
        return
    this, now = {"user_id": user.id, "network": client.network}, clock.now()
    if not database.change(update(KnownNetwork).filter_by(**this).values(seen_at=now)):
        database.insert_new(KnownNetwork, {**this, "seen_at": now})


def forget(user: User) -> None:
    """Forget from where the user has signed in: it may have been somebody else."""
    database.change(delete(KnownNetwork).where(KnownNetwork.user_id == user.id))


def knows(networks: Collection[str]) -> ColumnElement[bool]:
    """Say in SQL, over `User`, that the user has signed in from one of these networks in the last `KNOWN_FOR`."""
    of_user = (KnownNetwork.user_id == User.id, KnownNetwork.network.in_(networks))
    return exists().where(*of_user, KnownNetwork.seen_at > clock.now() - KNOWN_FOR)


def _ip(address: str) -> str | None:
    """Give the one spelling of an address.

    Without the name of a local interface, which may be of any length, and without the port that some proxies add.
    """
    with_port = _WITH_PORT.fullmatch(address)
    try:
        found = ipaddress.ip_address((with_port[1] or with_port[2] if with_port else address).partition("%")[0])
    except ValueError:
        return None
    # A server that listens on IPv6 sees the clients of IPv4 so.
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)
