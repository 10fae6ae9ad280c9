"""The service, and what the garbage collector of its worker is up to: for a test, in place of `wsgi:app`."""

import gc

from wsgi import app


@app.get("/collector")
def collector() -> dict[str, int | bool]:
    """Tell how many objects it never looks at again, and whether it looks at the others."""
    return {"frozen": gc.get_freeze_count(), "is_on": gc.isenabled()}
