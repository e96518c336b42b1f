"""The documentation says what the code does: generated pages are current, settings and commands are all named."""

import re
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from crm_assets.cli import app
from crm_assets.contracts.docs import main, tables_page
from crm_assets.contracts.model import Column, Table
from crm_assets.contracts.registry import LAYERS, lake_tables
from crm_assets.settings import Settings
from crm_assets.sources.mapping import Source

PROJECT = Path(__file__).parents[2]
COMMANDS = [name for name, command in get_command(app).commands.items() if not command.hidden]


def page(name: str) -> str:
    return (PROJECT / name).read_text("utf-8")


def test_the_page_of_tables_is_current() -> None:
    assert page("docs/tables.md") == tables_page(), "docs/tables.md is not what the contracts say: run `make docs`"


def test_every_table_has_its_section_and_every_layer() -> None:
    headings = [line for line in tables_page().splitlines() if line.startswith("#")]
    assert set(headings) >= {f"## {layer}" for layer in LAYERS}
    assert set(headings) >= {f"### {layer}.{name}" for layer, name in lake_tables()}


def test_a_column_shows_its_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    column = Column("kind", "string", "a|b.", True, allowed=("a", "b"), references="other.kind", personal=True)
    table = Table("things", "Some things.", (column, Column("share", "float64", "A share.", minimum=0)), ("kind",))
    monkeypatch.setattr("crm_assets.contracts.docs.lake_tables", lambda: {("marts", "things"): table})
    written = tables_page()
    assert "| `kind` | string | yes | a\\|b. One of: `a`, `b`. Refers to `other.kind`. Personal data. |" in written
    assert "| `share` | float64 |  | A share. At least 0. |" in written


def test_the_page_is_written_where_asked(tmp_path: Path) -> None:
    main(tmp_path / "docs" / "tables.md")
    assert (tmp_path / "docs" / "tables.md").read_text("utf-8") == tables_page()


@pytest.mark.parametrize("field", Settings.model_fields)
def test_every_setting_is_in_the_page_on_operations(field: str) -> None:
    assert f"| `{field}` | `CRM_{field.upper()}` |" in page("docs/operations.md")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"| `crm-assets {command}" in page("README.md")


@pytest.mark.parametrize("name", ["README.md", "docs/sources.md"])
def test_the_mappings_shown_are_mappings(name: str) -> None:
    shown = re.findall(r"```yaml\n(.*?)```", page(name), re.DOTALL)
    assert shown
    for text in shown:
        Source.model_validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    "name", ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in PROJECT.glob("docs/*.md"))]
)
def test_links_within_the_project_lead_somewhere(name: str) -> None:
    for link in re.findall(r"\]\((?!http)([^)#]+)", page(name)):
        assert (PROJECT / name).parent.joinpath(link).exists(), link
