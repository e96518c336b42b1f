"""The page on bundled sources names every header that their mappings read."""

from pathlib import Path

import pytest

from crm_assets.sources.expressions import absent_columns
from crm_assets.sources.mapping import read_sources

PAGE = Path(__file__).parents[2] / "docs" / "bundled_sources.md"
SOURCES = {name: source for name, source in read_sources(Path("none")).items() if name != "complete_journey"}


@pytest.mark.parametrize("name", SOURCES)
def test_every_header_of_a_bundled_mapping_is_on_its_page(name):
    page = PAGE.read_text("utf-8")
    assert f"[`{name}`]" in page
    if name == "canonical":
        return
    missing = []
    for parts in SOURCES[name].tables.values():
        for part in parts:
            headers = [header for column in part.columns.values() for header in column.column or ()]
            headers += [header for column in part.columns.values() for header in absent_columns(column.sql, [])]
            headers += [*absent_columns(part.where, []), *(part.fill_down.columns if part.fill_down else ())]
            missing += [header for header in headers if f"`{header}`" not in page]
            missing += [glob for glob in part.files if f"`{glob}`" not in page]
    assert not missing


def test_the_worked_example_on_the_page_of_sources_is_the_file():
    example = PAGE.parent / "examples" / "online_retail.yaml"
    assert example.read_text("utf-8") in (PAGE.parent / "sources.md").read_text("utf-8")
