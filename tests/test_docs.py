"""The documents: links lead somewhere, files stay small, and what README shows runs."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted(path for path in ROOT.rglob("*.md") if not {".venv", ".git", "runs"} & set(path.relative_to(ROOT).parts))


def links(text):
    """Targets of Markdown links and images, without code blocks."""
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.S))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in links(page.read_text(encoding="utf-8")):
        if not link.startswith(("http", "#", "mailto:")):
            assert (page.parent / link.split("#")[0]).exists(), f"{page.name}: {link}"


def test_files_stay_small():
    tracked = subprocess.run(["git", "ls-files", "docs"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    sizes = {name: (ROOT / name).stat().st_size for name in tracked if (ROOT / name).exists()}
    assert {name for name, size in sizes.items() if size > (100_000 if name.endswith(".svg") else 200_000)} == set()


def test_the_quickstart_is_what_readme_shows():
    """`examples/quickstart.py`, which the suite runs, is README's first program, line by line."""
    program = (ROOT / "examples" / "quickstart.py").read_text(encoding="utf-8").split('"""', 2)[-1].strip()
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.S)
    assert program in (block.strip() for block in blocks)
