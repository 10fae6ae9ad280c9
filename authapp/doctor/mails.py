"""Checks of the way that mails take: whether the mail server lets us in, and what it will think of the sender."""

import ipaddress
from email.utils import parseaddr

from flask import current_app

from authapp.doctor.finding import Finding, fail, ok, warning
from authapp.mail import outbox, smtp, trial

# What stands in `.env.example`, and what is nobody's.
_PLACEHOLDERS = ("localhost", "example.com")


def server() -> Finding:
    """Connect to the mail server, with TLS and a login as the settings say; no mail is sent."""
    config = current_app.config
    if outbox.stays_here():
        return ok("No MAIL_SERVER is set: in development mails stay on the page /dev/mailbox.")
    if current_app.extensions["mail"].suppress:
        return warning("MAIL_SUPPRESS_SEND is on, as in tests: mails count as sent, and go nowhere; set it to false.")
    if bool(config["MAIL_USERNAME"]) != bool(config["MAIL_PASSWORD"]):
        return fail("Of MAIL_USERNAME and MAIL_PASSWORD only one is set, so nobody logs in: set both, or neither.")
    try:
        trial.reach()
    except smtp.FAILURES as error:
        return fail(trial.explain(error))
    if not (config["MAIL_USE_TLS"] or config["MAIL_USE_SSL"] or _is_here(config["MAIL_SERVER"])):
        return warning(
            "Mails, with links as good as passwords, go to MAIL_SERVER in the clear: set MAIL_USE_TLS or MAIL_USE_SSL."
        )
    return ok(f"{config['MAIL_SERVER']}:{config['MAIL_PORT']} answers and lets us in.")


def sender() -> Finding:
    """Check that mails come from an address of the operator's."""
    if outbox.stays_here():
        return ok("Mails stay here.")
    _, address = parseaddr(current_app.config["MAIL_DEFAULT_SENDER"])
    domain = address.rpartition("@")[2].lower()
    if "@" not in address or domain in _PLACEHOLDERS or domain.endswith(".localhost"):
        return fail(
            f"MAIL_DEFAULT_SENDER is {address or 'no address'}, which others refuse as spam: "
            "give an address of your domain."
        )
    return ok(f"Mails come from {address}.")


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
