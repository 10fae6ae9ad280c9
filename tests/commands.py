"""A program that runs `flask auth …` several times: `-m tests.commands DATABASE_URL '[[columns, arguments], …]'`.

Each is a process of its own, forked from this one, so that importing everything is waited for once. It is at this
program's terminal, made so many columns wide; with none it has no terminal, and its output is printed when it is over.
"""

import json
import os
import sys
import tempfile
import termios

from flask import Flask
from flask.cli import ScriptInfo

from authapp import cli, create_app
from authapp.testing import TEST_SETTINGS

OVER = "=== over, with status"


def run(app: Flask, arguments: list[str], *, columns: int) -> int:
    """Run one command and give its exit status."""
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if child == 0:
            if columns:
                termios.tcsetwinsize(1, (24, columns))
            else:
                detach(output.fileno())
            cli.group.main(arguments, obj=ScriptInfo(create_app=lambda: app))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        sys.stdout.write(output.read().decode())
    return status


def detach(output: int) -> None:
    """Leave the terminal, as what cron starts has none."""
    os.setsid()
    for ours, other in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, output)):
        os.dup2(other, ours)


def main(url: str, commands: str) -> None:
    app = create_app({**TEST_SETTINGS, "DATABASE_URL": url}, environ={})
    for columns, arguments in json.loads(commands):
        status = run(app, arguments, columns=columns)
        sys.stdout.write(f"{OVER} {status}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
