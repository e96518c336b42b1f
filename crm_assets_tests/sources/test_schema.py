"""The schema for editors takes what the model takes, and is written down as it is."""

from pathlib import Path

import pytest
import yaml

from crm_assets.sources.mapping import own_and_bundled
from crm_assets.sources.schema import main, mapping_schema, schema_text

jsonschema = pytest.importorskip("jsonschema")
GOOD = {"source": "shop", "tables": {"customers": {"files": "*.csv", "columns": {"customer_id": ["id", "编号"]}}}}


def errors(document):
    return [error.message for error in jsonschema.Draft202012Validator(mapping_schema()).iter_errors(document)]


def test_the_schema_in_the_documentation_is_current():
    written = (Path(__file__).parents[2] / "docs" / "mapping.schema.json").read_text("utf-8")
    assert written == schema_text(), "docs/mapping.schema.json is not what the model says: run `make docs`"


def test_the_schema_is_written_where_asked(tmp_path):
    main(tmp_path / "docs" / "schema.json")
    assert (tmp_path / "docs" / "schema.json").read_text("utf-8") == schema_text()


def test_the_bundled_mappings_are_of_the_schema(tmp_path):
    for path, _ in own_and_bundled(tmp_path):
        assert errors(yaml.safe_load(path.read_text("utf-8"))) == []


def test_the_short_forms_are_of_the_schema():
    assert errors(GOOD) == []
    parts = [{"files": "a*", "dates": "dmy", "columns": {"customer_id": "id", "city": {"value": "York"}}}]
    assert errors({**GOOD, "tables": {"customers": parts}}) == []


@pytest.mark.parametrize(
    "tables",
    [
        {"customer": GOOD["tables"]["customers"]},
        {"customers": {"files": "*.csv", "columns": {"city": "town"}}},
        {"customers": {"files": "*.csv", "columns": {"customer_id": "id", "citi": "town"}}},
        {"customers": {"files": "*.csv", "columns": {"customer_id": {"colum": "id"}}}},
        {"customers": {"columns": {"customer_id": "id"}}},
    ],
)
def test_what_the_model_refuses_is_not_of_the_schema(tables):
    assert errors({**GOOD, "tables": tables})
