"""Machines of a test's own: network namespaces on a bridge, each with its address, and nodes of the service there."""

import contextlib
import os
import random
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.services import Server, lacking, program

_PORT = 8000


@dataclass
class Machine:
    """A network namespace: its name, its address, and this machine's end of its cable."""

    name: str
    address: str
    cable: str

    def unplug(self) -> None:
        """Cut it off: nobody is told."""
        _ip("link", "set", self.cable, "down")

    def plug_in(self) -> None:
        """Connect it again."""
        _ip("link", "set", self.cable, "up")


@dataclass
class Network:
    """Machines that reach each other, and this one at `host`."""

    host: str
    machines: list[Machine] = field(default_factory=list)


@contextmanager
def network(machines: int) -> Iterator[Network]:
    """Make a network of so many machines and this one; all of it is gone afterwards, whatever happens in the block."""
    if os.geteuid():
        lacking("only root makes network namespaces")
    mark = secrets.token_hex(4)
    subnet = f"10.{random.randrange(128, 256)}.{random.randrange(256)}"
    bridge = f"aa{mark}"
    found = Network(f"{subnet}.1")
    with ExitStack() as undone:
        _make(undone, "link", "add", bridge, "type", "bridge", undo=("link", "delete", bridge))
        _ip("address", "add", f"{found.host}/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        for number in range(1, machines + 1):
            machine = Machine(f"authapp-{mark}-{number}", f"{subnet}.{number + 1}", f"aa{mark}{number}")
            _make(undone, "netns", "add", machine.name, undo=("netns", "delete", machine.name))
            undone.callback(_end_processes, machine)
            cable = ("type", "veth", "peer", "name", "eth0", "netns", machine.name)
            _make(undone, "link", "add", machine.cable, *cable, undo=("link", "delete", machine.cable))
            _connect(machine, bridge)
            found.machines.append(machine)
        yield found


def _make(undone: ExitStack, *command: str, undo: tuple[str, ...]) -> None:
    """Make a part, which is unmade in the end."""
    made = subprocess.run([program("ip"), *command], capture_output=True, text=True, check=False)
    if made.returncode:
        lacking(f"no network can be made here: {made.stderr.strip()}")
    undone.callback(subprocess.run, [program("ip"), *undo], check=False)


def _connect(machine: Machine, bridge: str) -> None:
    inside = ("-netns", machine.name)
    _ip("link", "set", machine.cable, "master", bridge, "up")
    _ip(*inside, "address", "add", f"{machine.address}/24", "dev", "eth0")
    _ip(*inside, "link", "set", "eth0", "up")
    _ip(*inside, "link", "set", "lo", "up")


def _end_processes(machine: Machine) -> None:
    pids = subprocess.run(
        [program("ip"), "netns", "pids", machine.name], capture_output=True, text=True, check=False
    ).stdout
    for pid in pids.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), 9)


def _ip(*command: str) -> None:
    subprocess.run([program("ip"), *command], check=True)


def node(machine: Machine, environment: Mapping[str, str], directory: Path) -> Server:
    """Give the service as a process on this machine."""
    root = Path(__file__).parents[2]
    address = f"{machine.address}:{_PORT}"

    def answers() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://{address}/readyz", timeout=5).status_code == 200
        return False

    gunicorn = [sys.executable, "-m", "gunicorn", "--chdir", str(root), "-c", str(root / "gunicorn.conf.py")]
    return Server(
        [program("ip"), "netns", "exec", machine.name, *gunicorn, "wsgi:app"],
        port=_PORT,
        log=directory / f"{machine.name}.log",
        answers=answers,
        environment={"PATH": os.environ["PATH"], "BIND": address, "AUTHAPP_GREETING": "1", **environment},
    )
