"""The command that takes in the users of another system."""

import os
import sys
from pathlib import Path
from typing import BinaryIO, TextIO

import click

from authapp.cli import base, progress
from authapp.importing import files

_FORMATS = {".csv": files.CSV, ".jsonl": files.JSONL, ".ndjson": files.JSONL}


@base.command(
    "import-users",
    example="import-users examples/users.csv --dry-run",
    refused="rows were refused and the others are in, or the file is none",
    notes=(
        "Fields: email, and as they are there password_hash, name, photo, role, is_active,\n"
        "is_verified, created_at, id. After an interruption, run it again: who is there\n"
        "already is passed over. No mails are sent. docs/import.md has more."
    ),
    # Standard input can be read but once; the batches are tried again.
    once_only=True,
)
@click.argument("file", type=click.File("rb"))
@click.option("--format", "form", type=click.Choice([files.CSV, files.JSONL]), help="Unless the file's name tells.")
@click.option("--dry-run", is_flag=True, help="Check everything, write nothing.")
@click.option("--errors", type=click.File("w"), help="Write what is wrong with which line here.")
def import_users(file: BinaryIO, form: str | None, dry_run: bool, errors: TextIO | None) -> None:
    """Make an account of each row of a file, CSV or JSON Lines; - is standard input."""
    # With the libraries of every hash that there is; the service has the commands too, and needs them hardly ever.
    from authapp.importing import batches

    form = form or _FORMATS.get(Path(getattr(file, "name", "-")).suffix.lower())
    if form is None:
        raise click.UsageError("Say with --format whether it is csv or jsonl.")
    if errors and _is_same(file, errors):
        raise click.UsageError("Say with --errors another file than the one that is read: it is written anew.")

    def refuse(line: int, reason: str) -> None:
        if errors:
            click.echo(f"line {line}: {reason}", errors)
        else:
            progress.note(f"line {line}: {reason}")

    lines, run, size = files.Lines(file), batches.Import(refuse, dry_run=dry_run), _size(file)
    label = "Checking" if dry_run else "Importing"
    try:
        with progress.bar(label, size) if size else progress.count(label) as show:
            for _ in run.run(files.rows(lines, form)):
                show(lines.bytes_read if size else lines.number)
    except files.FileError as error:
        raise click.ClickException(str(error)) from None
    there = f"{run.there_already:,} {'was' if run.there_already == 1 else 'were'} there already"
    made = f"{'Would import' if dry_run else 'Imported'} {run.made:,} {'user' if run.made == 1 else 'users'}"
    click.echo(f"{made}; {there}; {run.refused:,} refused.")
    if run.refused:
        sys.exit(1)


def _is_same(file: BinaryIO, errors: TextIO) -> bool:
    """Say whether what would be written is what is to be read. It is opened, and emptied, at the first error only."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(errors.name))
    except OSError:
        return False


def _size(file: BinaryIO) -> int | None:
    """Give how many bytes there are to read, where that is known."""
    try:
        return os.fstat(file.fileno()).st_size or None
    except OSError:
        return None
