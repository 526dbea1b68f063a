"""Removes what Clarion made in this checkout: the state folder and the embedded database, wherever that is."""

import shutil

from clarion.config import load_settings
from clarion.store.database import embedded_server


def main() -> None:
    """Stop the embedded database and remove the state folder."""
    settings = load_settings()
    embedded_server(settings).remove()
    if settings.state_dir.exists():
        shutil.rmtree(settings.state_dir)


if __name__ == "__main__":
    main()
