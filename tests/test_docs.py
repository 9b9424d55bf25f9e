"""Documents that say what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_pages_of_settings_and_recipes_are_what_the_code_has() -> None:
    done = subprocess.run([sys.executable, ROOT / "scripts" / "document", "--check"], check=False)
    assert done.returncode == 0, "run .venv/bin/python scripts/document"


def test_links_between_documents_lead_somewhere() -> None:
    documents = [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("demo/*.md"),
        ROOT / "services/explorer/README.md",
    ]
    broken = [
        f"{document.relative_to(ROOT)}: {target}"
        for document in documents
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text(encoding="utf-8"))
        if not (document.parent / target).exists()
    ]
    assert not broken


def test_the_commands_of_the_readme_exist() -> None:
    from typer.main import get_command

    from stacyard.local.cli import app

    known = set(get_command(app).commands)  # type: ignore[attr-defined]
    used = set(re.findall(r"^\./stacyard ([a-z]+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert used
    assert used <= known
