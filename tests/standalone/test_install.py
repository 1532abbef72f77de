"""The first file that a newcomer's Python runs: it can be read by old ones, and refuses them."""

import ast
import sys
from pathlib import Path

import pytest

from standalone import install

SOURCE = Path(install.__file__)
NEEDED = (
    "console.py",
    "machine/checkout.py",
    "wheels/checks.py",
    "wheels/environments.py",
    "wheels/pip_advice.py",
    "wheels/triton.py",
)


@pytest.mark.parametrize("version", [(3, 10), (3, 11), (3, 12), (3, 13)])
def test_a_good_python_passes(version: tuple[int, int]) -> None:
    assert install.wrong_python(version) is None


@pytest.mark.parametrize("version", [(2, 7), (3, 6), (3, 9), (3, 14), (4, 0)])
def test_another_python_is_named_with_what_to_do(version: tuple[int, int]) -> None:
    problem = install.wrong_python(version)
    assert problem is not None
    assert f"this is Python {version[0]}.{version[1]}" in problem
    assert "make up PYTHON=python3.12" in problem
    assert "docker compose up" in problem


def test_it_ends_with_a_message_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 8, 10))
    assert install.main() == 1
    assert capsys.readouterr().err.startswith("Cannot go on: Python 3.10 to 3.13 is needed")


@pytest.mark.parametrize("source", [SOURCE, SOURCE.with_name("__init__.py")])
def test_an_old_python_can_read_it(source: Path) -> None:
    tree = ast.parse(source.read_text(), feature_version=(3, 7))
    newer = (ast.JoinedStr, ast.AnnAssign, ast.AsyncFunctionDef, ast.NamedExpr)
    assert not [node for node in ast.walk(tree) if isinstance(node, newer)]
    annotations = [
        annotation
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for annotation in [node.returns, *(each.annotation for each in node.args.args)]
    ]
    plain = (ast.Constant, ast.Name)  # evaluated by an old Python: none may be `X | Y`
    assert all(isinstance(annotation, plain) for annotation in annotations)


def test_it_needs_the_standard_library_only() -> None:
    """Until the environments exist, nothing else is there."""
    for name in NEEDED:
        tree = ast.parse((SOURCE.parent / name).read_text())
        roots = {module.split(".")[0] for node in ast.walk(tree) for module in _imported(node)}
        assert roots <= set(sys.stdlib_module_names) | {"standalone"}, name


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
