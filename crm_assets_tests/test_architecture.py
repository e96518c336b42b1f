"""The rules of the house, held by reading every module: imports run one way, and no logic looks at the clock."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import crm_assets

PACKAGE = Path(crm_assets.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# What each part may import of the package, besides itself; parts named later stand on those named earlier.
MAY_IMPORT = {
    "contracts": set(),
    "garbage": set(),
    "quiet": set(),
    "settings": set(),
    "partitions": {"settings"},
    "mining": {"contracts"},
    "lake": {"contracts"},
    "sources": {"contracts", "lake"},
    "demo": {"lake", "sources"},
    "assets": {"contracts", "lake", "sources", "mining", "partitions", "settings"},
    "checks": {"contracts", "lake", "sources", "mining", "partitions", "settings", "assets"},
    "automation": {"contracts", "lake", "sources", "mining", "partitions", "settings", "assets", "checks"},
}
MAY_IMPORT["definitions"] = {*MAY_IMPORT, "definitions"} - {"demo"}
MAY_IMPORT["app"] = {"definitions", "garbage"}
MAY_IMPORT["runs"] = {*MAY_IMPORT} - {"app", "demo"}
MAY_IMPORT["status"] = {*MAY_IMPORT} - {"app", "demo"}
MAY_IMPORT["cli"] = {*MAY_IMPORT} - {"app"}

HEAVY = ("great_expectations", "lightgbm", "sklearn", "mlxtend", "altair", "scipy", "pandas", "numpy", "pyarrow")
CLOCKS = {
    "now",
    "today",
    "utcnow",
    "time.time",
    "time_ns",
    "monotonic",
    "perf_counter",
    "current_date",
    "current_timestamp",
    "localtime",
    "gmtime",
}


def name_of(path):
    return path.relative_to(PACKAGE).as_posix()


def part_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def tree_of(path):
    return ast.parse(path.read_text("utf-8"))


def imports_of(path):
    """Every module a file imports, inside functions too."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} imports relatively"
            yield node.module
            if node.module == "crm_assets":
                yield from (f"crm_assets.{alias.name}" for alias in node.names)


def in_part(*parts):
    return [path for path in MODULES if part_of(path) in parts]


def dotted(node):
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_run_one_way(path):
    part = part_of(path)
    if part == "__init__":
        return
    allowed = {part} | MAY_IMPORT[part]
    parts = {name.split(".")[1] for name in imports_of(path) if name.startswith("crm_assets.")} - {"__version__"}
    assert parts <= allowed, f"{name_of(path)} imports {sorted(parts - allowed)}"


@pytest.mark.parametrize("path", in_part("contracts", "mining", "sources"), ids=name_of)
def test_contracts_mining_and_sources_know_nothing_of_dagster(path):
    assert not [name for name in imports_of(path) if name.split(".")[0].startswith("dagster")]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_pickled(path):
    found = {name.split(".")[0] for name in imports_of(path)} & {"pickle", "cPickle", "joblib", "dill", "cloudpickle"}
    assert not found
    assert not re.search(r"\b(to_pickle|read_pickle)\b", path.read_text("utf-8"))


@pytest.mark.parametrize("path", in_part("mining", "assets"), ids=name_of)
def test_logic_does_not_look_at_the_clock(path):
    calls = [dotted(node.func) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)]
    clocks = [call for call in calls if call in CLOCKS or call.rsplit(".", 1)[-1] in CLOCKS]
    # What reads the modification time of a file, as landing does, is no clock; sql text in strings is one.
    texts = [
        node.value
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.search(r"\b(current_date|now\(\))", node.value)
    ]
    assert not clocks + texts


@pytest.mark.parametrize(
    "path", [path for path in MODULES if part_of(path) not in ("lake", "cli", "status")], ids=name_of
)
def test_statements_of_the_engine_stand_only_in_the_lake(path):
    text = path.read_text("utf-8")
    assert not re.search(r"\.con\.execute\(|\.raw_sql\(|duckdb\.connect|read_only=True", text)


def test_only_expressions_of_mappings_are_sql_outside_the_lake():
    found = {name_of(path) for path in MODULES if part_of(path) != "lake" and ".sql(" in path.read_text("utf-8")}
    assert found <= {"sources/expressions.py", "cli.py", "status.py"}


@pytest.mark.parametrize("path", [path for path in MODULES if path.stat().st_size], ids=name_of)
def test_modules_say_what_they_are_and_stay_short(path):
    assert ast.get_docstring(tree_of(path))
    assert len(path.read_text("utf-8").splitlines()) <= 400


def test_the_code_location_loads_without_heavy_libraries(tmp_path):
    code = f"import sys, crm_assets.definitions; print([name for name in {HEAVY} if name in sys.modules])"
    environment = {"CRM_HOME": str(tmp_path), "PATH": "", "PYTHONPATH": str(PACKAGE.parent), "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[]"
