"""`python -m authapp`: the service under gunicorn as `gunicorn.conf.py` sets it up; gunicorn's options may follow."""

import os
import sys
from pathlib import Path

_HELP = """usage: python -m authapp [OPTIONS OF GUNICORN]

The authentication service, at http://127.0.0.1:8000 unless BIND says otherwise.
Settings are read from the environment, and from .env in the working directory;
instance/ there keeps the SQLite database, where no other is named. (In a checkout,
both are the checkout's.)

  flask --app authapp db upgrade    make the tables, and bring them up to date
  flask --app authapp auth --help   the commands: accounts, sessions, mails, keys
  flask --app authapp auth doctor   is this deployment sound?
  python -m gunicorn --help         what may follow here, for example --workers 4
"""
_GROUPS = ("auth", "db")


def main() -> None:
    """Become gunicorn: a process that has imported nothing of ours, so that its workers load new code at a SIGHUP."""
    options = sys.argv[1:]
    if {"-h", "--help"} & set(options):
        sys.stdout.write(_HELP)
        return
    if options and not options[0].startswith("-"):
        words = options if options[0] in _GROUPS else ["auth", *options]
        sys.exit(f"authapp: {options[0]} is no option; if you mean a command: flask --app authapp {' '.join(words)}")
    settings = Path(__file__).with_name("gunicorn.conf.py")
    command = [sys.executable, "-m", "gunicorn", "--config", str(settings), *options, "authapp.wsgi:app"]
    os.execv(sys.executable, command)  # noqa: S606  # There is no shell to be meant.


if __name__ == "__main__":
    main()
