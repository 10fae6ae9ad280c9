"""What Prometheus gets: the numbers of every worker, summed, and what only the database knows."""

from collections.abc import Iterator
from datetime import datetime

from flask import current_app
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy import and_, case, func, select
from sqlalchemy.exc import SQLAlchemyError

from authapp import clock, database
from authapp.mail.models import MailRequest, OutboxMessage
from authapp.metrics import series


def exposition(accept: str) -> tuple[bytes, str]:
    """Give all metrics, in the newest form that the `Accept` header takes, and its content type."""
    registry = CollectorRegistry()
    if directory := series.directory():
        MultiProcessCollector(registry, directory)  # type: ignore[no-untyped-call]  # It has no types.
    else:
        registry.register(series.REGISTRY)
    registry.register(_State())
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _State(Collector):
    """What is not counted but looked up when somebody asks."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        build = GaugeMetricFamily("authapp_build_info", "The version that runs.", labels=["version"])
        build.add_metric([current_app.extensions["authapp"].version], 1)
        yield build
        try:
            found = list(_mails())
        except SQLAlchemyError:
            found = []
        yield GaugeMetricFamily("authapp_database_up", "Whether the database answers.", value=bool(found))
        yield from found


def _mails() -> Iterator[GaugeMetricFamily]:
    pending, oldest, given_up = _outbox()
    age = max(0.0, (clock.now() - oldest).total_seconds()) if oldest else 0.0
    yield GaugeMetricFamily("authapp_mails_pending", "Mails not yet sent.", value=pending)
    yield GaugeMetricFamily("authapp_mails_oldest_pending_seconds", "How long the oldest of these waits.", value=age)
    yield GaugeMetricFamily("authapp_mails_given_up", "Mails that the mail server refused for good.", value=given_up)


def _outbox() -> tuple[int, datetime | None, int]:
    """Give the number of mails that wait, when the oldest was written, and the number of those that were given up.

    A request that nobody has looked into yet may become a mail. One that nobody tried to send stays in the
    development mailbox.
    """
    waits, tried = OutboxMessage.due_at.is_not(None), OutboxMessage.attempts > 0
    unsent = select(
        func.count(case((waits, 1))),
        func.min(case((waits, OutboxMessage.created_at))),
        func.count(case((and_(~waits, tried), 1))),
    ).where(OutboxMessage.sent_at.is_(None))
    asked_for = select(func.count(), func.min(MailRequest.created_at))
    with database.reading() as reader:
        mails, oldest_mail, given_up = reader.execute(unsent).one()
        requests, oldest_request = reader.execute(asked_for).one()
    return mails + requests, min(filter(None, (oldest_mail, oldest_request)), default=None), given_up
