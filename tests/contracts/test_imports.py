"""The contracts stand on the standard library alone, so that any service can import them."""

import ast
import sys
from pathlib import Path

import pytest

import contracts

MODULES = sorted(Path(str(contracts.__file__)).parent.glob("**/*.py"))


def imported(module: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." if node.level else str(node.module))
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_only_the_standard_library(module: Path) -> None:
    assert imported(module) - sys.stdlib_module_names <= {"contracts", ""}


def test_there_are_modules_to_look_at() -> None:
    assert {"events.py", "topics.py", "tensors.py"} <= {module.name for module in MODULES}
