"""Commands that keep the service going: its mails, its keys, its database, and whether all of it is sound."""

import base64
import signal
import sys

import click

from authapp import doctor, extensions, keys, purge, users
from authapp.cli import base, progress
from authapp.mail import delivery, outbox, smtp, trial, worker

_ALGORITHMS = ("RS256", "ES256", "EdDSA")


@base.command("purge", example="purge", refused="the database refused")
@base.as_json
def purge_expired(as_json: bool) -> None:
    """Delete what is past its time: sessions, revoked tokens, links, sent mails. Meant for cron, once a day."""
    with progress.count("Deleted") as show:
        deleted = purge.run(show)
    if as_json:
        base.show({what.replace(" ", "_"): number for what, number in deleted.items()})
        return
    for what, number in deleted.items():
        click.echo(f"{what}: {number}")


@base.command("deliver-mail", example="deliver-mail --watch", refused="the mail server cannot be reached")
@click.option("--watch", is_flag=True, help="Go on until stopped.")
def deliver_mail(watch: bool) -> None:
    """Send the mails that are due. The service does so by itself; this is for a process or a cron job of its own."""
    if watch:
        _deliver_until_told()
        return
    sent = 0
    try:
        with progress.count("Sent") as show:
            while now := delivery.deliver_due():
                sent += now
                show(sent)
    except delivery.UnreachableError as error:
        raise click.ClickException(f"{trial.explain(error.__cause__)} Sent {base.plural(sent, 'mail')}.") from None
    click.echo(f"Sent {base.plural(sent, 'mail')}.")


def _deliver_until_told() -> None:
    """Deliver in a thread, which inherits what is blocked here, and so need not be interrupted amid a mail."""
    ends = (signal.SIGINT, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    thread = worker.Worker()
    thread.start(extensions.app_at_hand())
    signal.sigwait(ends)
    thread.retire()


@base.command(
    "send-test-mail",
    example="send-test-mail alice@example.com",
    refused="the server did not take it, or cannot be reached",
)
@click.argument("address")
def send_test_mail(address: str) -> None:
    """Send one mail through the mail server, now, and say what that answers."""
    to = users.normalize_email(address)
    if outbox.stays_here():
        click.echo("No MAIL_SERVER is set, so in development mails stay on the page /dev/mailbox; nothing was sent.")
        return
    try:
        answer = trial.send(to)
    except smtp.FAILURES as error:
        raise click.ClickException(trial.explain(error)) from None
    click.echo(f"The mail server took the mail to {to}: {answer or 'no answer'}")


@base.command(
    "generate-keys",
    example="generate-keys --algorithm ES256",
    refused="the settings cannot work",
    notes=(
        "To rotate: put the JWT_PUBLIC_KEY of before into JWT_PREVIOUS_PUBLIC_KEYS, the\n"
        "new lines into .env, and restart; take it out REFRESH_TOKEN_EXPIRE_DAYS later.\n"
        "Where the settings name an algorithm whose key is not there yet, no command\n"
        "starts: write JWT_ALGORITHM= JWT_PRIVATE_KEY= before this one."
    ),
)
@click.option(
    "--algorithm",
    type=click.Choice(_ALGORITHMS),
    default="RS256",
    show_default=True,
    help="RS256 is what every library and gateway can check; the others have shorter keys and signatures.",
)
@base.as_json
def generate_keys(algorithm: str, as_json: bool) -> None:
    """Make a key pair that signs tokens, as lines for .env. Nothing is kept: what is printed is all there is."""
    private, public = keys.generate(algorithm)
    lines = {
        "JWT_ALGORITHM": algorithm,
        "JWT_PRIVATE_KEY": base64.b64encode(private.encode()).decode(),
        "JWT_PUBLIC_KEY": base64.b64encode(public.encode()).decode(),
    }
    if as_json:
        base.show(lines)
        return
    for name, value in lines.items():
        click.echo(f"{name}={value}")


@base.command("doctor", example="doctor", refused="not sound: something fails")
@base.as_json
def examine(as_json: bool) -> None:
    """Say whether this deployment is sound: settings, proxies, database, clock, mail server. Nothing is changed."""
    findings = doctor.examine()
    for finding in findings:
        if as_json:
            base.show({"name": finding.name, "level": finding.level, "says": finding.says})
        else:
            click.echo(f"{finding.level:<8} {finding.name:<12} {finding.says}")
    if any(finding.level == doctor.FAIL for finding in findings):
        sys.exit(1)
