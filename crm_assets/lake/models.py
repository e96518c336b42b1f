"""Trained models on disk: the model in skops' format or as JSON, and its card as JSON.

Belongs here: storing and reading models. Not here: training or scoring (`mining/`).

A stored model holds numbers, text and lists only, so reading one runs no code of its own.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

MODEL_FILE = "model.skops"
JSON_FILE = "model.json"
CARD_FILE = "card.json"


@dataclass(frozen=True)
class StoredModel:
    """A model of one month.

    Attributes:
        document: The model as plain values; None when there was nothing to learn from.
        card: What a person wants to know of it; says what was missing when there is no model.
    """

    document: Mapping[str, Any] | None
    card: Mapping[str, Any] = field(default_factory=dict)


class ModelIOManager(dg.IOManager):
    """Reads and writes models as a dict by month; an asset of key `[models, name]` is the folder `name/<month>/`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def handle_output(self, context: dg.OutputContext, obj: Mapping[str, StoredModel]) -> None:
        """Store the models of the run's months."""
        name = context.asset_key.path[-1]
        for month, model in obj.items():
            folder = self.root / name / month
            folder.mkdir(parents=True, exist_ok=True)
            _write_model(folder, model)
        newest = obj[max(obj)]
        context.add_output_metadata({"card": dg.MetadataValue.json(dict(newest.card)), "path": str(self.root / name)})

    def load_input(self, context: dg.InputContext) -> dict[str, StoredModel]:
        """The models of the months the run needs; months without one are left out."""
        name = context.asset_key.path[-1]
        folders = {month: self.root / name / month for month in context.asset_partition_keys}
        return {month: read_model(folder) for month, folder in folders.items() if (folder / CARD_FILE).exists()}


class JsonModelIOManager(dg.IOManager):
    """Reads and writes the models of an asset that has no partitions: all of them, by the day from which they hold."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def handle_output(self, context: dg.OutputContext, obj: Mapping[str, StoredModel]) -> None:
        """Store the models; those of other days stay."""
        name = context.asset_key.path[-1]
        for day, model in obj.items():
            folder = self.root / name / day
            folder.mkdir(parents=True, exist_ok=True)
            if model.document is not None:
                _write_json(folder / JSON_FILE, model.document)
            _write_json(folder / CARD_FILE, model.card)
        card = dict(obj[max(obj)].card) if obj else {}
        context.add_output_metadata({"card": dg.MetadataValue.json(card), "path": str(self.root / name)})

    def load_input(self, context: dg.InputContext) -> dict[str, StoredModel]:
        """Every model of the asset."""
        return read_json_models(self.root / context.asset_key.path[-1])


def read_json_models(folder: Path) -> dict[str, StoredModel]:
    """The models in a folder, by the day from which they hold."""
    found = {}
    for path in sorted(folder.glob(f"*/{CARD_FILE}")):
        model = path.with_name(JSON_FILE)
        document = json.loads(model.read_text("utf-8")) if model.exists() else None
        found[path.parent.name] = StoredModel(document, json.loads(path.read_text("utf-8")))
    return found


def read_cards(root: Path, name: str) -> dict[str, dict[str, Any]]:
    """The card of every month, which costs no reading of models."""
    months = sorted(trained_months(root, name))
    return {month: json.loads((root / name / month / CARD_FILE).read_text("utf-8")) for month in months}


def trained_months(root: Path, name: str) -> set[str]:
    """Months for which a model was trained, or was found to lack what it needs."""
    return {path.parent.name for path in (root / name).glob(f"*/{CARD_FILE}")}


def read_model(folder: Path) -> StoredModel:
    """The model in a folder."""
    from skops import io

    card = json.loads((folder / CARD_FILE).read_text("utf-8"))
    path = folder / MODEL_FILE
    # Nothing beyond skops' own trusted types is in a model, so none is named here.
    return StoredModel(io.load(path) if path.exists() else None, card)


def _write_model(folder: Path, model: StoredModel) -> None:
    from skops import io

    if model.document is None:
        (folder / MODEL_FILE).unlink(missing_ok=True)
    else:
        io.dump(dict(model.document), folder / f".{MODEL_FILE}")
        os.replace(folder / f".{MODEL_FILE}", folder / MODEL_FILE)
    _write_json(folder / CARD_FILE, model.card)


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    hidden = path.with_name(f".{path.name}")
    hidden.write_text(json.dumps(values, indent=1, ensure_ascii=False, default=str), "utf-8")
    os.replace(hidden, path)
