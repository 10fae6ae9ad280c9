"""Starting the service with settings that cannot work."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.server


def test_gunicorn_stops_at_once_and_says_which_setting_is_wrong(root: Path):
    done = subprocess.run(
        [sys.executable, "-m", "gunicorn", "wsgi:app"],
        cwd=root,
        # A developer's `.env` beside wsgi.py may have a good secret; the environment comes before it.
        env={"PATH": os.environ["PATH"], "BIND": "127.0.0.1:0", "APP_ENV": "production", "SECRET_KEY": "short"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 3
    said = [line for line in done.stderr.splitlines() if not re.match(r"\[.*\] \[INFO\] Starting gunicorn", line)]
    assert len(said) == 1, done.stderr
    assert said[0].startswith("authapp: SECRET_KEY is shorter than 32 bytes: make one with:")
