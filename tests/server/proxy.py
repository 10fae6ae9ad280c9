"""nginx as a process of its own, with the configuration that operators are given."""

import os
import re
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import certificates
from tests.services import Server, accepts, free_port, program, running

SHIPPED = Path(__file__).parents[2] / "deploy" / "nginx.conf"
_LOG_SECONDS = 5

# What Debian's own nginx.conf puts around a site, with files that are the test's.
_AROUND = """
daemon off;
{user}
worker_processes 2;
pid {directory}/nginx.pid;
events {{}}
http {{
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/site.conf;
}}
"""


@dataclass
class Proxy:
    """A running nginx: where it listens, whom a client of it trusts, and what it has written."""

    address: str
    plain_address: str
    trust: ssl.SSLContext
    directory: Path

    def log(self) -> str:
        """Give all that it has logged, errors too."""
        return "".join(file.read_text() for file in sorted(self.directory.glob("*.log")))

    def logs(self, text: str) -> bool:
        """Say whether it logs this; a request's line comes when all of it is over, later than the answer."""
        deadline = time.monotonic() + _LOG_SECONDS
        while text not in self.log() and time.monotonic() < deadline:
            time.sleep(0.02)
        return text in self.log()


@contextmanager
def nginx(directory: Path, nodes: Sequence[str], *, host: str = "127.0.0.1") -> Iterator[Proxy]:
    """Run nginx before these nodes (`host:port`) until the block is left."""
    ports = free_port(), free_port()
    command = configured(directory, nodes, host=host, ports=ports)
    server = Server(command, port=ports[1], log=directory / "nginx.log", answers=lambda: accepts(ports[1], host))
    with running(server):
        trust = ssl.create_default_context(cafile=directory / "fullchain.pem")
        yield Proxy(f"https://{host}:{ports[1]}", f"http://{host}:{ports[0]}", trust, directory)


def configured(directory: Path, nodes: Sequence[str], *, host: str, ports: tuple[int, int]) -> list[str]:
    """Change in the shipped file what an operator changes, and give the command that runs nginx with it."""
    directory.mkdir(exist_ok=True)
    certificates.make(directory, host)
    site = SHIPPED.read_text()
    for theirs, ours in (
        (r"^    server 127\.0\.0\.1:8000(.*)$", "\n".join(rf"    server {node}\1" for node in nodes)),
        (r"listen 80;", f"listen {host}:{ports[0]};"),
        (r"listen 443 ssl;", f"listen {host}:{ports[1]} ssl;"),
        (r"^ *listen \[::\]:.*\n", ""),
        (r"/etc/letsencrypt/live/auth\.example\.com|/var/log/nginx", str(directory)),
    ):
        site, found = re.subn(theirs, ours, site, flags=re.MULTILINE)
        assert found, theirs
    (directory / "site.conf").write_text(site)
    user = "" if os.geteuid() else "user root;"
    (directory / "nginx.conf").write_text(_AROUND.format(directory=directory, user=user))
    return [program("nginx"), "-c", f"{directory}/nginx.conf", "-e", f"{directory}/start.log"]
