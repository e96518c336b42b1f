"""The JSON Schema of mappings, for editors: `python -m crm_assets.sources.schema [path]`.

Belongs here: the schema as made from the model and the contracts. Not here: the model (`mapping.py`).
"""

import json
import sys
from pathlib import Path
from typing import Any

from crm_assets.contracts.canonical import CANONICAL
from crm_assets.sources.mapping import Source

FILE = Path("docs/mapping.schema.json")


def mapping_schema() -> dict[str, Any]:
    """The schema, with the tables and columns of the contracts."""
    schema = Source.model_json_schema()
    definitions = schema["$defs"]
    part = definitions["TableMapping"]
    origin = definitions["ColumnMapping"]
    # In a mapping a name or a list of names stands for `column`, which itself may be one name.
    names = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
    origin["properties"]["column"] = {**names, "description": origin["properties"]["column"]["description"]}
    for holder in (part, definitions["Lookup"]):
        holder["properties"]["files"] = {**names, "description": holder["properties"]["files"]["description"]}
    definitions["Origin"] = {"anyOf": [*names["anyOf"], {"$ref": "#/$defs/ColumnMapping"}]}
    tables = {}
    for name, table in CANONICAL.items():
        columns = {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                column.name: {"description": column.description, "$ref": "#/$defs/Origin"} for column in table.columns
            },
            "required": [column.name for column in table.columns if column.required],
        }
        definitions[f"{name}_part"] = {**part, "properties": {**part["properties"], "columns": columns}}
        one = {"$ref": f"#/$defs/{name}_part"}
        tables[name] = {
            "description": table.description,
            "anyOf": [one, {"type": "array", "items": one, "minItems": 1}],
        }
    del definitions["TableMapping"]
    schema["properties"]["tables"] = {
        "type": "object",
        "description": schema["properties"]["tables"].get("description", "The canonical tables it delivers."),
        "additionalProperties": False,
        "properties": tables,
    }
    schema["properties"]["extends"] = {
        "type": "string",
        "description": "A bundled source; what is not said here is as there, and tables replace its tables.",
    }
    schema["required"] = ["source"]
    schema["anyOf"] = [{"required": ["tables"]}, {"required": ["extends"]}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Mapping of a source"}


def schema_text() -> str:
    """The schema as it is written."""
    return json.dumps(mapping_schema(), indent=2, ensure_ascii=False) + "\n"


def main(path: Path) -> None:
    """Write the schema."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(schema_text(), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE)
