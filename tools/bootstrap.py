"""Makes this checkout runnable from its lock files: `.venv`, the locked packages, and `contracts/node_modules`.

Needs Python 3.11 or newer and nothing else, so it uses the standard library only. `make` runs it before every target;
when nothing changed it does nothing. Each step has a stamp naming what it was made from, removed before the step starts
and written after it ends, so a run that was killed is repeated. `flock` on the checkout keeps two runs apart.
"""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UV = VENV / "bin" / "uv"
CONTRACTS = ROOT / "contracts"
MINIMUM_PYTHON = (3, 11)

Command = list[str | Path]

# What pip was told about where packages come from, under the names uv knows.
UV_NAME_OF_PIP_OPTION = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
}
UV_LISTS_SEPARATED_BY_COMMAS = {"UV_FIND_LINKS"}


class BootstrapError(Exception):
    """The checkout could not be made runnable; the message says what to do."""


def fingerprint(files: Iterable[Path], *extra: str) -> str:
    """SHA-256 over the contents of `files` and the strings of `extra`."""
    digest = hashlib.sha256()
    for part in [*(path.read_bytes() for path in files), *(text.encode() for text in extra)]:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def is_done(stamp: Path, key: str) -> bool:
    """Whether the step behind `stamp` was completed from the inputs that `key` names."""
    return stamp.is_file() and stamp.read_text() == key


def run_step(label: str, stamp: Path, key: str, action: Callable[[], None]) -> None:
    """Run `action` unless `stamp` says that it was completed for `key`."""
    if is_done(stamp, key):
        return
    print(f"bootstrap: {label}", file=sys.stderr, flush=True)
    stamp.unlink(missing_ok=True)
    action()
    stamp.parent.mkdir(exist_ok=True)
    unfinished = stamp.with_suffix(".tmp")
    unfinished.write_text(key)
    unfinished.replace(stamp)


class Runner:
    """Runs the installers. Each holds the lock too: one that outlives a killed bootstrap keeps the next waiting."""

    def __init__(self, lock: int, environ: Mapping[str, str]) -> None:
        self._lock = lock
        self.environ = environ

    def __call__(self, command: Command, **settings: str) -> None:
        """Run `command` in the checkout, with `settings` added to its environment.

        Raises:
            BootstrapError: the command failed.
        """
        env = {**self.environ, **settings}
        finished = subprocess.run(
            command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, pass_fds=[self._lock], check=False
        )
        if finished.returncode:
            shown = " ".join(str(word) for word in command)
            raise BootstrapError(f"`{shown}` failed (exit code {finished.returncode}). Its output above says why.")


def without_python_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` less what would lead the new virtual environment's Python elsewhere."""
    return {name: value for name, value in environ.items() if name not in ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")}


def writable_caches(environ: Mapping[str, str]) -> dict[str, str]:
    """Settings that move package caches into the checkout where the user has no home to write to."""
    home = Path(environ.get("HOME", "/nonexistent"))
    if home.is_dir() and os.access(home, os.W_OK):
        return {}
    cache = VENV / "cache"
    names = {"PIP_CACHE_DIR": "pip", "UV_CACHE_DIR": "uv", "npm_config_cache": "npm"}
    return {name: str(cache / folder) for name, folder in names.items() if name not in environ}


def uv_settings(pip_config: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Translate the output of `pip config list` into uv's environment; what `environ` sets already stays."""
    options: dict[str, str] = {}
    # pip lists the least specific place first and the environment last
    for line in sorted(pip_config.splitlines(), key=lambda line: line.startswith(":env:")):
        key, separator, value = line.partition("=")
        name = UV_NAME_OF_PIP_OPTION.get(key.rpartition(".")[2])
        if separator and name and name not in environ:
            words = value.strip("'\"").replace("\\n", " ").split()
            options[name] = ("," if name in UV_LISTS_SEPARATED_BY_COMMAS else " ").join(words)
    # pip takes a version from any index; hashes make that as safe for uv
    return {"UV_INDEX_STRATEGY": environ.get("UV_INDEX_STRATEGY", "unsafe-best-match")} | options


def make_venv(run: Runner, python: str) -> None:
    """Create `.venv` from nothing, with the pinned uv in it."""
    if importlib.util.find_spec("ensurepip") is None:
        raise BootstrapError(
            f"{python} cannot make virtual environments: its ensurepip module is missing. On Debian or Ubuntu install "
            "the package python3-venv; elsewhere choose a complete Python with `make PYTHON=/path/to/python3`."
        )
    pip_install: Command = [
        PYTHON,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--require-hashes",
    ]
    run([python, "-m", "venv", "--clear", VENV])
    run([*pip_install, "--requirement", ROOT / "requirements-bootstrap.txt"])


def run_uv_pip(run: Runner, *arguments: str | Path) -> None:
    """Run `uv pip` on `.venv`, with the package index that pip is set to."""
    listing: Command = [PYTHON, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    told = subprocess.run(listing, env=run.environ, capture_output=True, text=True, check=False).stdout
    run([UV, "pip", *arguments, "--quiet", "--python", PYTHON], **uv_settings(told, run.environ))


def bootstrap(run: Runner) -> None:
    """Bring every step up to date."""
    # a virtual environment holds absolute paths: it is made again when the checkout or the interpreter moves
    python = os.path.realpath(sys.executable)
    venv = fingerprint([ROOT / "requirements-bootstrap.txt"], str(ROOT), python, sys.version)
    packages = fingerprint([ROOT / "requirements.lock"], venv)
    project = fingerprint([ROOT / "pyproject.toml"], packages)
    node = fingerprint([CONTRACTS / name for name in ("package.json", "package-lock.json", ".npmrc")])

    venv_stamp = VENV / "bootstrap" / "venv"
    packages_stamp = VENV / "bootstrap" / "packages"
    project_stamp = VENV / "bootstrap" / "project"
    node_stamp = CONTRACTS / "node_modules" / ".bootstrap"
    if not all(path.exists() for path in (PYTHON, packages_stamp, project_stamp)):
        venv_stamp.unlink(missing_ok=True)  # an installer does not see that a package is half written: start afresh

    # compiled here once: where nobody may write into .venv later, every command would compile for seconds
    sync = ("sync", "--compile-bytecode", "--require-hashes", ROOT / "requirements.lock")
    install = ("install", "--no-deps", "--no-build-isolation", "--editable", ROOT)
    npm_ci: Command = [PYTHON, "-m", "clarion.node", "npm", "ci", "--prefix", CONTRACTS, "--loglevel=error"]
    run_step("creating .venv", venv_stamp, venv, lambda: make_venv(run, python))
    run_step("installing requirements.lock", packages_stamp, packages, lambda: run_uv_pip(run, *sync))
    run_step("installing clarion", project_stamp, project, lambda: run_uv_pip(run, *install))
    run_step("installing contracts/package-lock.json", node_stamp, node, lambda: run(npm_ci))


def remove_installed() -> None:
    """Remove what `bootstrap` made."""
    shutil.rmtree(VENV, ignore_errors=True)
    shutil.rmtree(CONTRACTS / "node_modules", ignore_errors=True)


def main(arguments: list[str]) -> int:
    """Bring the checkout up to date, or with `--remove` take away what was installed."""
    if sys.version_info < MINIMUM_PYTHON:
        needed = ".".join(str(part) for part in MINIMUM_PYTHON)
        print(f"bootstrap: Python {needed} or newer is needed, {sys.executable} is {sys.version.split()[0]}. "
              "Name another one with `make PYTHON=/path/to/python3`.", file=sys.stderr)  # fmt: skip
        return 1
    lock = os.open(ROOT, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    environ = without_python_settings(os.environ)
    try:
        if "--remove" in arguments:
            remove_installed()
        else:
            bootstrap(Runner(lock, environ | writable_caches(environ)))
    except BootstrapError as error:
        print(f"bootstrap: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
