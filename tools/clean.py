"""Removes what Clarion made in this checkout: the state folder and its embedded databases, wherever their data are."""

import shutil

from clarion.config import load_settings
from clarion.store.embedded import LOCK_SUFFIX, EmbeddedPostgres


def main() -> None:
    """Stop the embedded databases and remove the state folder."""
    state_dir = load_settings().state_dir
    clusters = [lock.with_suffix("") for lock in state_dir.rglob(f"*{LOCK_SUFFIX}") if lock.with_suffix("").is_dir()]
    for data_dir in clusters:
        EmbeddedPostgres(data_dir).remove()
    if state_dir.exists():
        shutil.rmtree(state_dir)


if __name__ == "__main__":
    main()
