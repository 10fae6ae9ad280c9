"""The documents' blocks: which there are, and the commands among them as one script that ends."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# A command that goes on until it is stopped.
_SERVES = re.compile(r"^(?!#).*(\bmake run\b|gunicorn\b.* \S+:\w+|flask .* run\b|--watch).*$", re.MULTILINE)
_SCRIPT = """
server=
stop() {
  [ -z "$server" ] || { kill -- "-$server" && wait "$server" || true; }
  server=
}
trap stop EXIT
serve() {
  stop
  set -m
  bash -c "$1" > "$HERE/served.log" 2>&1 < /dev/null &
  server=$!
  set +m
  for _ in $(seq 1200); do
    kill -0 "$server" || { cat "$HERE/served.log"; return 1; }
    if [[ "$1" == *--watch* ]]; then sleep 2; return; fi
    if curl -s -o /dev/null "http://127.0.0.1:$PORT/healthz"; then return; fi
    sleep 0.1
  done
  cat "$HERE/served.log"
  return 1
}
"""


@dataclass(frozen=True)
class Block:
    """A fenced block: the page and the heading that it stands under, its language, what is in it."""

    page: str
    heading: str
    language: str
    text: str


def pages(root: Path) -> list[Path]:
    """Give every document."""
    return [*sorted(root.glob("*.md")), *sorted((root / "docs").glob("*.md")), *sorted(root.glob("examples/*/*.md"))]


def blocks(root: Path, page: Path) -> list[Block]:
    """Give the blocks of a page, as they stand in it."""
    heading, found = "", []
    for mark in re.finditer(r"^#+ ([^\n]*)$|^( *)```(\w*)\n(.*?)^ *```$", page.read_text(), re.MULTILINE | re.DOTALL):
        if mark[1]:
            heading = mark[1]
        else:
            text = re.sub(f"^{mark[2]}", "", mark[4], flags=re.MULTILINE)
            found.append(Block(str(page.relative_to(root)), heading, mark[3], text))
    return found


def script(found: Iterable[Block], *, port: int) -> str:
    """Give these blocks as one script, what serves in the background until the next one does, at this port."""
    commands = "".join(f"echo '--- {block.heading}'\n{_in_background(block.text)}\n" for block in found)
    return _SCRIPT + commands.replace("8000", str(port))


def _in_background(text: str) -> str:
    return _SERVES.sub(lambda line: "serve " + _quoted(line[0].partition("  #")[0]), text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
