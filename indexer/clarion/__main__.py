"""`python -m clarion`."""

from clarion.cli import app

if __name__ == "__main__":
    app()
