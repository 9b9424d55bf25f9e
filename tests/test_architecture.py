"""The arrows of the house: who may import whom, read from the imports themselves."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MEMBERS = {
    "core": ROOT / "services/core/src/stacyard/core",
    "stac": ROOT / "services/stac/src/stacyard/stac",
    "raster": ROOT / "services/raster/src/stacyard/raster",
    "vector": ROOT / "services/vector/src/stacyard/vector",
    "ingestor": ROOT / "ingestor/src/stacyard/ingestor",
    "local": ROOT / "services/local/src/stacyard/local",
}
ARROWS = {
    "core": set(),
    "stac": {"core"},
    "raster": {"core"},
    "vector": {"core"},
    "ingestor": {"core"},
    "local": {"core", "stac", "raster", "vector", "ingestor"},
}
#: Tables and functions of pgSTAC that are not its public API, and the rooms that may know them.
PGSTAC_ROOMS = {"core/pgstac.py", "core/pgstac_", "core/migrate.py", "ingestor/load/", "core/sql/"}


def imported(file: Path) -> set[str]:
    """Modules below `stacyard` that a file imports, as dotted names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("relative")
    return {name for name in found if name.startswith("stacyard.") or name == "relative"}


@pytest.mark.parametrize("member", MEMBERS)
def test_a_member_imports_only_along_its_arrows(member: str) -> None:
    wrong = {
        f"{file.relative_to(ROOT)} imports {name}"
        for file in MEMBERS[member].rglob("*.py")
        for name in imported(file)
        if name == "relative" or name.split(".")[1] not in ARROWS[member] | {member}
    }
    assert not wrong


@pytest.mark.parametrize("member", MEMBERS)
def test_the_files_of_a_member_import_each_other_without_circles(member: str) -> None:
    modules = {
        ".".join(("stacyard", member, *file.relative_to(MEMBERS[member]).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): file
        for file in MEMBERS[member].rglob("*.py")
    }
    edges = {
        name: {other for other in imported(file) if other in modules and other != name}
        for name, file in modules.items()
    }
    while leaves := {name for name, targets in edges.items() if not targets & edges.keys()}:
        edges = {name: targets for name, targets in edges.items() if name not in leaves}
    assert not edges, f"these files import each other in a circle: {sorted(edges)}"


def test_only_two_rooms_know_the_tables_of_pgstac() -> None:
    knowing = {
        f"{member}/{file.relative_to(folder)}"
        for member, folder in MEMBERS.items()
        for file in folder.rglob("*.py")
        if any(
            name in file.read_text(encoding="utf-8")
            for name in ("pgstac.items", "pgstac.collections", "pgstac.searches", "pgstac.base_items", "pypgstac.load")
        )
    }
    assert {path for path in knowing if not any(path.startswith(room) for room in PGSTAC_ROOMS)} == set()


def test_every_member_installs_what_it_imports_of_stacyard() -> None:
    for member, folder in MEMBERS.items():
        declared = (folder.parents[2] / "pyproject.toml").read_text(encoding="utf-8")
        needed = {name.split(".")[1] for file in folder.rglob("*.py") for name in imported(file)} - {member}
        assert {name for name in needed if not re.search(rf'"stacyard-{name}["\[]', declared)} == set(), member


def test_there_is_no_package_file_that_would_close_the_namespace() -> None:
    assert not list(ROOT.glob("*/src/stacyard/__init__.py")) + list(ROOT.glob("*/*/src/stacyard/__init__.py"))
