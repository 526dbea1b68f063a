"""Where an agent gets its key: a file, a variable of its environment, or the system's keyring.

Only agents read keys. No error repeats anything of what was found.
"""

from __future__ import annotations

import os
import stat
from typing import Final

from clarion.chains.stacks.keys import PrivateKey
from clarion_keeper.signers.errors import KeySourceError

FILE: Final = "file:"
ENVIRONMENT: Final = "env:"
KEYRING: Final = "keyring:"
KEY_SOURCES: Final = (FILE, ENVIRONMENT, KEYRING)

_MAX_FILE_BYTES: Final = 256


def read_key(source: str) -> bytes:
    """The key at ``file:PATH``, ``env:NAME`` or ``keyring:SERVICE/USER``: 32 bytes, or 33 ending in 01.

    It is written there as 64 or 66 hexadecimal digits. A variable of the environment is taken out of it.

    Raises `KeySourceError`.
    """
    for scheme, read in ((FILE, _from_file), (ENVIRONMENT, _from_environment), (KEYRING, _from_keyring)):
        if source.startswith(scheme):
            text = read(source.removeprefix(scheme))
            break
    else:
        raise KeySourceError("A key comes from file:PATH, env:NAME or keyring:SERVICE/USER")
    try:
        key = bytes.fromhex(text.strip().removeprefix("0x"))
        PrivateKey(key)
    except ValueError:
        raise KeySourceError(f"{source} holds no private key: 64 hexadecimal digits, or 66 ending in 01") from None
    return key


def _from_file(path: str) -> str:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - its mode is read from the open file, not from the path
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise KeySourceError(f"The key file {path} is no regular file")
            if status.st_mode & 0o077:
                raise KeySourceError(
                    f"The key file {path} can be read or written by others than its user "
                    f"(mode {stat.S_IMODE(status.st_mode):o}): chmod 600 {path}"
                )
            if status.st_uid not in (os.geteuid(), 0):
                raise KeySourceError(f"The key file {path} belongs to another user (number {status.st_uid})")
            return file.read(_MAX_FILE_BYTES).decode("ascii", "replace")
    except OSError as error:
        raise KeySourceError(f"The key file {path} cannot be read: {error.strerror}") from None


def _from_environment(name: str) -> str:
    text = os.environ.pop(name, None)
    if text is None:
        raise KeySourceError(f"The environment has no variable {name}, which is to hold the key")
    return text


def _from_keyring(place: str) -> str:
    service, separator, user = place.rpartition("/")
    if not separator or not service or not user:
        raise KeySourceError(f"keyring:{place} names no place in a keyring: it is keyring:SERVICE/USER")
    try:
        import keyring
        import keyring.errors
    except ImportError:
        raise KeySourceError(
            "Keys in the system's keyring need the package keyring: pip install 'clarion[keyring]'"
        ) from None
    try:
        text = keyring.get_password(service, user)
    except keyring.errors.KeyringError as error:
        raise KeySourceError(
            f"The system's keyring cannot be read for {service}/{user}: {type(error).__name__}. "
            "Is it unlocked, and is there one for this user?"
        ) from None
    if text is None:
        raise KeySourceError(f"The system's keyring has no password for {service}/{user}")
    return text
