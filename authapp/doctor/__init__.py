"""Whether this deployment is sound: its settings, its database, its mail server, and what should run beside it.

Settings that cannot work at all never come here: `config` stops the start for them.
"""

from collections.abc import Iterator, Mapping

from authapp.doctor import background, configuration, databases, limits, mails
from authapp.doctor.finding import FAIL, OK, WARNING, Check, Finding, fail, warning

__all__ = ["FAIL", "OK", "WARNING", "Finding", "examine"]

_CHECKS: Mapping[str, Check] = {
    "environment": configuration.environment,
    "settings": configuration.names,
    "secrets": configuration.secrets,
    "keys": configuration.keys,
    "public-url": configuration.public_url,
    "cookies": configuration.cookies,
    "origins": configuration.origins,
    "proxies": configuration.proxies,
    "passwords": configuration.passwords,
    "threads": configuration.threads,
    "database": databases.reachable,
    "schema": databases.schema,
    "charset": databases.charset,
    "isolation": databases.isolation,
    "storage": databases.storage,
    "clock": databases.clock_of_server,
    "outbox": background.outbox,
    "purge": background.purge,
    "limits": limits.limits,
    "mail-server": mails.server,
    "mail-sender": mails.sender,
}
# What asks the database, and has nothing to ask where that does not answer.
_NEED_DATABASE = frozenset({"schema", "charset", "isolation", "storage", "clock"})
_NEED_SCHEMA = frozenset({"outbox", "purge"})


def examine() -> list[Finding]:
    """Make every check, in an application context, and give what each found; nothing is changed and no mail is sent.

    A check that itself goes wrong is a finding. Each waits for a server only as long as a request would.
    """
    return list(_examine())


def _examine() -> Iterator[Finding]:
    levels: dict[str, str] = {}
    for name, check in _CHECKS.items():
        needed = [("database", _NEED_DATABASE | _NEED_SCHEMA), ("schema", _NEED_SCHEMA)]
        missing = next((what for what, names in needed if name in names and levels[what] == FAIL), None)
        found = warning(f"Not checked, because {missing} fails.") if missing else _made(check)
        levels[name] = found.level
        yield Finding(name, found.level, found.says)


def _made(check: Check) -> Finding:
    try:
        return check()
    except Exception as error:
        # Neither its text nor its trace: they may quote what nobody should read.
        return fail(f"The check itself went wrong ({type(error).__name__}).")
