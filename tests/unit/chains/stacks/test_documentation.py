import doctest
from pathlib import Path

import pytest

from clarion.chains.stacks import clarity, clarity_forms, transactions

from .conftest import REPOSITORY


def test_every_example_of_the_guide_runs() -> None:
    guide = REPOSITORY / "docs" / "codec.md"
    result = doctest.testfile(str(guide), module_relative=False)
    assert result.attempted > 40
    assert result.failed == 0


@pytest.mark.parametrize(
    "module", [clarity, clarity_forms, transactions], ids=lambda module: Path(module.__file__).stem
)
def test_every_example_in_a_docstring_runs(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0
