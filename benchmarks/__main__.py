"""Every figure of docs/performance.md that has a goal, in one table: goal, limit, ours.

    make bench
    .venv/bin/python -m benchmarks --database sqlite --part signed_in

Takes ten minutes on a quiet machine with two cores; on another the figures say little. Exits with 1 where a goal was
missed. Each part can be run by itself, for longer (`make bench-signed-in BENCH="--rounds 9"`).
"""

import argparse
import sys
import time
from collections.abc import Callable

from benchmarks import capacity, growth, login_storm, purge, setting, signed_in, starting
from benchmarks.table import Figure, show

Part = Callable[[tuple[str, ...]], list[Figure]]


def _of(measure: setting.Measure, *, rounds: int, seconds: float) -> Part:
    return lambda kinds: setting.run(measure, kinds=kinds, rounds=rounds, seconds=seconds)


PARTS: dict[str, Part] = {
    "signed_in": _of(signed_in.measure, rounds=8, seconds=1),
    "capacity": _of(capacity.measure, rounds=2, seconds=3),
    "login_storm": _of(login_storm.measure_on, rounds=2, seconds=4),
    "starting": _of(starting.measure, rounds=3, seconds=0),
    "growth": _of(growth.measure, rounds=24, seconds=0),
    "purge": _of(purge.measure, rounds=1, seconds=12),
}


def main() -> int:
    """Measure it all and give the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--database", choices=[kind.lower() for kind in setting.KINDS], help="one of them only")
    parser.add_argument("--part", choices=list(PARTS), action="append", help="some of them only")
    given = parser.parse_args()
    kinds = tuple(kind for kind in setting.KINDS if given.database in (None, kind.lower()))
    figures: list[Figure] = []
    for name in given.part or PARTS:
        began = time.monotonic()
        figures += PARTS[name](kinds)
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    show(figures)
    return int(any(figure.is_met is False for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
