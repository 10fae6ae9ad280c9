"""A page as everybody may see it: on a phone and a desk, light and dark, and as axe-core judges it."""

import os
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from tests import npm

PHONE, DESK = (360, 780), (1280, 800)
# A folder to look at the pages in, when one is named.
SCREENSHOTS = os.environ.get("TEST_SCREENSHOTS")


def check(page: Page, name: str, *left_out: str) -> None:
    """Fail unless axe-core has nothing against this page and it fits, in every size and theme.

    What is below the selectors `left_out` is others' work.
    """
    found: list[str] = []
    for (width, height), theme in product((PHONE, DESK), ("light", "dark")):
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]  # Names of themes.
        look = f"{name}-{width}-{theme}"
        if SCREENSHOTS:
            page.screenshot(path=Path(SCREENSHOTS) / f"{look}.png")
        if not page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"):
            found.append(f"{look}: it is wider than the window")
        found += [f"{look}: {problem}" for problem in _violations(page, left_out)]
    assert found == [], "\n".join(found)


def _violations(page: Page, left_out: tuple[str, ...]) -> list[str]:
    # Through the debugger, which asks no content security policy.
    page.evaluate(_axe())
    result: dict[str, Any] = page.evaluate(
        "out => axe.run({exclude: out}, {resultTypes: ['violations']})", list(left_out)
    )
    assert result["passes"], "axe has looked at nothing"
    return [
        f"{one['id']} ({one['impact']}): {one['help']}: {[node['html'] for node in one['nodes']]}"
        for one in result["violations"]
    ]


@cache
def _axe() -> str:
    return (npm.packages() / "axe-core" / "axe.min.js").read_text()
