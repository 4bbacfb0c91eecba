"""What mkdocs calls while it builds the site (`hooks` in mkdocs.yml)."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from links import FILES, in_repository, linked_files, relinked
from mkdocs.structure.files import File, Files
from notebooks import ShownNotebook, run_notebook, shown
from pages import API, MOVED, ROOT, api_page, commands_page, decisions_page

_NOTEBOOKS = ROOT / "docs" / "notebooks"


def on_files(files: Files, config: Any, **_: object) -> Files:
    """Adds the pages that no file under docs/ holds, and the files that pages link to."""
    for repository, site in MOVED.items():
        files.append(File.generated(config, site, content=(ROOT / repository).read_text(encoding="utf-8")))
    for name in API:
        files.append(File.generated(config, f"api/{name}.md", content=api_page(name)))
    files.append(File.generated(config, "decisions/index.md", content=decisions_page()))
    files.append(File.generated(config, "commands.md", content=commands_page()))
    sources = {page.src_uri: page.content_string for page in files.documentation_pages()}
    for path in sorted(set[str]().union(*(linked_files(text, source) for source, text in sources.items()))):
        files.append(File.generated(config, f"{FILES}/{path}", abs_src_path=str(ROOT / path)))
    for name, notebook in _run(sorted(_NOTEBOOKS.glob("*.ipynb"))).items():
        files.append(File.generated(config, f"notebooks/{name}.md", content=notebook.markdown))
        for file, content in notebook.pictures.items():
            files.append(File.generated(config, f"notebooks/{file}", content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: object) -> str:
    """Links lead where the page lies in the site."""
    source = page.file.src_uri
    lies = source in MOVED.values() or (ROOT / in_repository(source)).is_file() or source.startswith("notebooks/")
    return relinked(markdown, source) if lies else markdown


def _run(paths: list[Path]) -> dict[str, ShownNotebook]:
    """The notebooks, two at a time; without their outputs where HDM_DOCS_NOTEBOOKS=0."""
    import nbformat

    def one(path: Path) -> ShownNotebook:
        runs = os.environ.get("HDM_DOCS_NOTEBOOKS", "1") != "0"
        return shown(run_notebook(path) if runs else nbformat.read(path, as_version=4), path.stem)

    with ThreadPoolExecutor(max_workers=2) as pool:
        return dict(zip([path.stem for path in paths], pool.map(one, paths), strict=True))
