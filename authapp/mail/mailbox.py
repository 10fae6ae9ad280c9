"""The development mailbox: a page with the mails that would have been sent. Only for whoever sits at this machine."""

import ipaddress
import uuid
from collections.abc import Sequence
from urllib.parse import urlsplit

from flask import Response, jsonify, render_template, request
from sqlalchemy import select

from authapp.errors import NotFoundError
from authapp.extensions import db
from authapp.mail import outbox
from authapp.mail.models import OutboxMessage

_MOST_SHOWN = 50
# What a proxy adds to a request, with whatever it is followed by.
_OF_PROXIES = tuple("forwarded x-forwarded x-original x-client x-cluster x-real-ip via cf- true-client- fly-".split())  # noqa: SIM905  # Shorter so.
_CSP = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
# What a mail program lets a mail do: be looked at.
_CSP_OF_MAIL = f"{_CSP}; form-action 'none'; sandbox"


def mailbox() -> Response:
    """Show the mails, newest first; with `Accept: application/json` as a list."""
    _check_local()
    newest = select(OutboxMessage).order_by(OutboxMessage.id.desc()).limit(_MOST_SHOWN)
    messages = db.session.scalars(newest).all()
    if request.accept_mimetypes.best_match(["text/html", "application/json"]) == "application/json":
        return jsonify(_as_list(messages))
    return _page(render_template("authapp/mail/mailbox.html", messages=messages, split=outbox.split), _CSP)


def html(id: uuid.UUID) -> Response:
    """Show a mail as a mail program does. Raises `NotFoundError`."""
    _check_local()
    message = db.session.get(OutboxMessage, id)
    if message is None:
        raise NotFoundError
    return _page(message.html, _CSP_OF_MAIL)


def _page(content: str, policy: str) -> Response:
    page = Response(content)
    page.headers["Content-Security-Policy"] = policy
    return page


def _as_list(messages: Sequence[OutboxMessage]) -> list[dict[str, object]]:
    return [
        {
            "id": str(message.id),
            "to": message.to,
            "subject": message.subject,
            "text": message.text,
            "html": message.html,
            "links": outbox.links_of(message),
            "created_at": message.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
        for message in messages
    ]


def _check_local() -> None:
    if not _is_local():
        raise NotFoundError


def _is_local() -> bool:
    """Say whether the request began on this machine: not through a proxy, nor by a page that had its name rebound."""
    if any(name.lower().startswith(_OF_PROXIES) for name, _ in request.headers):
        return False
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        return False
    host = urlsplit(f"//{request.host}").hostname or ""
    return _is_loopback(request.remote_addr or "") and (host == "localhost" or _is_loopback(host))


def _is_loopback(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    # A server that listens on IPv6 sees the clients of IPv4 so.
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback
