"""An attempt begins in a folder of its own. One that is there already is from a time that the service has forgotten.

A database that was restored from a backup gives attempt numbers again. What the forgotten attempt reported and saved
must then be neither read as the new one's nor lost: it is moved aside, for the operator to look at and remove.
"""

import logging
import time
from pathlib import Path

log = logging.getLogger(__name__)


def set_aside(run_dir: Path) -> Path | None:
    """Rename what an earlier life left there; answers its new name, `<attempt>.before-<seconds>`, or None."""
    if not run_dir.is_dir():
        return None
    aside = run_dir.with_name(f"{run_dir.name}.before-{time.time_ns() // 10**9}")
    run_dir.rename(aside)
    log.warning("%s was there already, from before the database was restored: it is now %s", run_dir, aside.name)
    return aside
