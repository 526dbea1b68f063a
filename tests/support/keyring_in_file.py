"""A keyring for tests: `PYTHON_KEYRING_BACKEND=support.keyring_in_file.KeyringInFile`, its one password in a file."""

import os
from pathlib import Path

from keyring.backend import KeyringBackend


class KeyringInFile(KeyringBackend):
    priority = 1

    def get_password(self, service: str, username: str) -> str | None:
        place = f"{service}/{username}"
        return Path(os.environ["KEYRING_FILE"]).read_text() if place == "clarion/keeper" else None

    def set_password(self, service: str, username: str, password: str) -> None:
        raise NotImplementedError
