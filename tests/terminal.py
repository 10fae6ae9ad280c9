"""A terminal that a test types at: for programs that ask, and do so only of a person."""

import os
import pty
import select
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


def run(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    answers: Mapping[str, str | Iterator[str]],
    seconds: float = 60,
    columns: int = 100,
) -> tuple[int, str]:
    """Run a program at a terminal, type the answer to each question whose end it prints, and give status and screen.

    A question that is asked again gets the same answer, or the next of several.
    """
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, columns))
    program = subprocess.Popen(
        # In a session of its own, whose terminal this is.
        ["setsid", "--ctty", *command],
        cwd=cwd,
        env=env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        return _attend(program, ours, answers, time.monotonic() + seconds)
    finally:
        os.close(ours)


def _attend(
    program: "subprocess.Popen[bytes]", ours: int, answers: Mapping[str, str | Iterator[str]], end: float
) -> tuple[int, str]:
    screen, read_to = "", 0
    while time.monotonic() < end:
        if not select.select([ours], [], [], 0.1)[0]:
            continue
        try:
            screen += os.read(ours, 65_536).decode(errors="replace")
        except OSError:
            # The last who had the terminal open is gone.
            return program.wait(10), screen.replace("\r\n", "\n")
        for question, answer in answers.items():
            if screen[read_to:].endswith(question):
                read_to = len(screen)
                os.write(ours, f"{answer if isinstance(answer, str) else next(answer)}\n".encode())
                break
    program.kill()
    program.wait()
    raise AssertionError(f"it did not end:\n{screen}")
