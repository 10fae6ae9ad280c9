"""A Debian of a test's own, with the systemd of it booted: a directory, namespaces, control groups and a cable."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.server import machines
from tests.services import lacking, program

_SUITE = "bookworm"
_PACKAGES = "systemd,systemd-sysv,python3,python3-venv,adduser,sudo"
# What would ask the kernel for something that is not this machine's alone, and what only makes the start longer.
_MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "console-getty.service", "dev-hugepages.mount", "dev-mqueue.mount"),
    *("dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer", "getty.target"),
    *("proc-sys-fs-binfmt_misc.automount", "sys-fs-fuse-connections.mount", "sys-kernel-debug.mount"),
    *("sys-kernel-tracing.mount", "systemd-binfmt.service", "systemd-journald-audit.socket", "systemd-logind.service"),
    *("systemd-modules-load.service", "systemd-sysctl.service", "systemd-timesyncd.service"),
)
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
_BOOT_SECONDS = 60
_COMMAND_SECONDS = 180


@dataclass(frozen=True)
class Debian:
    """A Debian in a directory, which may have been booted: the process of its systemd, and where others reach it."""

    directory: Path
    systemd: int = 0
    address: str = ""

    def install(self, script: str) -> None:
        """Run commands for root in the directory, before it is booted, with this machine's network."""
        ours = {name: text for name, text in os.environ.items() if name.startswith("PIP_") or "proxy" in name.lower()}
        here = ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-euc", _WITH_NETWORK, "sh"]
        subprocess.run([*here, self.directory, script], env=ours | _ENVIRONMENT, check=True, timeout=_COMMAND_SECONDS)

    def run(self, *command: str, status: int = 0) -> str:
        """Run a command on the machine as root, check the status that it ends with, and give what it prints."""
        enter = [program("nsenter"), f"--target={self.systemd}", "--all", "--root", "--wd"]
        done = subprocess.run(
            [*enter, *command],
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=_COMMAND_SECONDS,
        )
        assert done.returncode == status, done.stdout
        return done.stdout

    def property(self, unit: str, name: str) -> str:
        """Give what systemd says of a unit."""
        return self.run("systemctl", "show", f"--property={name}", "--value", unit).strip()


_WITH_NETWORK = """
for path in /etc/resolv.conf /etc/hosts /etc/ssl/certs; do
  [ -d $path ] || touch "$1$path"
  mount --bind $path "$1$path"
done
mount -t proc proc "$1/proc"
exec chroot "$1" /bin/bash -euc "$2"
"""


@contextmanager
def debian() -> Iterator[Debian]:
    """Make a Debian of a few packages, which is gone afterwards."""
    if os.geteuid():
        lacking("only root makes a machine")
    found = Debian(Path(tempfile.mkdtemp(prefix="authapp-debian-")))
    command = ["unshare", "--mount", "--propagation", "private", program("debootstrap"), "--variant=minbase"]
    try:
        found.directory.chmod(0o755)
        made = subprocess.run(
            [*command, f"--include={_PACKAGES}", _SUITE, found.directory],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=900,
        )
        if made.returncode:
            lacking(f"no Debian can be made here: {made.stdout[-500:]}")
        for unit in _MASKED:
            (found.directory / "etc/systemd/system" / unit).symlink_to("/dev/null")
        (found.directory / "etc/machine-of-a-test").touch()
        yield found
    finally:
        shutil.rmtree(found.directory)


@contextmanager
def booted(found: Debian, machine: machines.Machine) -> Iterator[Debian]:
    """Boot it, as this machine of a network, until the block is left."""
    name = f"authapp-{secrets.token_hex(4)}"
    log = found.directory / "var/log/boot.log"
    script = Path(__file__).with_name("boot.sh")
    with ExitStack() as undone, log.open("wb") as output:
        undone.callback(_remove_groups, name)
        process = subprocess.Popen(
            [program("nsenter"), f"--net=/run/netns/{machine.name}", script, found.directory, name],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        undone.callback(_end, process)
        systemd = _wait_until_up(process, log)
        yield Debian(found.directory, systemd, machine.address)


def _wait_until_up(process: "subprocess.Popen[bytes]", log: Path) -> int:
    deadline = time.monotonic() + _BOOT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for systemd in _children(process.pid):
            with contextlib.suppress(AssertionError):
                Debian(log, systemd).run("systemctl", "is-active", "multi-user.target")
                return systemd
        time.sleep(0.2)
    return lacking(f"no machine can be booted here: {log.read_text()}")


def _children(pid: int) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the machine as a power cut does: the kernel ends its other processes with the first."""
    for systemd in _children(process.pid):
        os.kill(systemd, signal.SIGKILL)
    process.wait(30)


def _remove_groups(name: str) -> None:
    for group in Path("/sys/fs/cgroup").glob(f"**/{name}"):
        for path, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):
                Path(path).rmdir()
