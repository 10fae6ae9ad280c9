"""Tables for people: aligned, and no wider than the terminal that they are read at."""

import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence

_GAP = "  "
_CUT = "…"
# Less of the first column would tell nobody anything.
_LEAST = 24


def lines(header: Sequence[str], pages: Iterable[Iterable[Sequence[str]]]) -> Iterator[str]:
    """Lay out rows page by page, since there may be a million; a later page can be wider, and none is narrower.

    At a terminal the first column is cut where it has to be, and columns that still do not fit are left out from the
    right. Elsewhere everything is there. Without rows there is no header either.
    """
    widths: list[int] = []
    for page in pages:
        rows = list(page)
        longest = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        rows = rows if widths else [header, *rows]
        widths = list(map(max, longest, widths or longest))
        shown = _fitting(widths)
        for row in rows:
            cells = [_cut(cell, width).ljust(width) for cell, width in zip(row, shown, strict=False)]
            yield _GAP.join(cells).rstrip()


def _fitting(widths: list[int]) -> list[int]:
    """Give the widths of the columns that are shown."""
    if not sys.stdout.isatty():
        return widths
    room, first = shutil.get_terminal_size().columns, widths[0]
    for number in range(len(widths), 1, -1):
        others = widths[1:number]
        left = room - sum(others) - len(_GAP) * len(others)
        if left >= min(first, _LEAST):
            return [min(first, left), *others]
    return [min(first, room)]


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else cell[: width - 1] + _CUT
