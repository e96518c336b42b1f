"""Runs the benchmarks and keeps what they print in docs/benchmarks.md, a section each, with the machine.

Belongs here: which benchmarks there are, with which arguments. Not here: what they measure.

    python benchmarks/report.py [NAME ...]      # all of them, or some; the other sections stay as they are
"""

import argparse
import ast
import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
BENCHMARKS: dict[str, tuple[str, ...]] = {
    "demo_vs_pandas": ("", "--times 5"),
    "code_location": ("",),
    "rules_vs_mlxtend": ("",),
    "scale": ("--lines 1500000 10000000 100000000 --memory-limit 1200MB 2GB 5GB",),
    "offers": ("",),
    "demo_on_spark": ("",),
    "increment": ("--times 1", ""),
    "large_csv": ("",),
    "identity": ("",),
    "kills": ("",),
    "churn": ("",),
    "customer_value": ("",),
    "lifecycle": ("data",),
    "segments": ("data",),
    "recommendations": ("data",),
}
"""Arguments of each, as often as it is run, in the order of the page."""

INTRODUCTION = """# Benchmarks

What the pipeline costs, beside something known: each section is what a script in `benchmarks/` printed, on the machine
it names. `make bench` runs them all, which takes some hours; `python benchmarks/report.py NAME` runs one.
"""


def main() -> int:
    """Run what was asked for and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(BENCHMARKS)}")
    names = parser.parse_args().names or list(BENCHMARKS)
    if unknown := set(names) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join(BENCHMARKS)}")
    failed = []
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        runs = []
        for arguments in BENCHMARKS[name]:
            command = [f"benchmarks/{name}.py", *arguments.split()]
            done = subprocess.run(
                [sys.executable, "-W", "ignore", *command], cwd=HERE.parent, stdout=subprocess.PIPE, text=True
            )
            if done.returncode:
                failed.append(" ".join(command))
            runs.append(printed(command, done.stdout, done.returncode))
        keep(name, "\n\n".join([summary(name), *runs]))
    if failed:
        print(f"missed their target or failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def summary(name: str) -> str:
    """What a benchmark compares, in a line."""
    return (ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text("utf-8"))) or "").splitlines()[0]


def printed(command: list[str], output: str, code: int) -> str:
    """What one run of a benchmark printed, and where."""
    body = output.strip() if output.lstrip().startswith("|") else f"```\n{output.strip()}\n```"
    ended = f" It ended with exit code {code}." if code else ""
    return f"`python {' '.join(command)}` on {machine()}.{ended}\n\n{body}"


def machine() -> str:
    """Processor, memory and versions."""
    cpu = (
        re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) if Path("/proc/cpuinfo").exists() else None
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {version(name)}" for name in ("duckdb", "dagster", "ibis-framework"))
    model = cpu[1] if cpu else platform.processor() or platform.machine()
    return f"{os.cpu_count()} processors ({model}), {memory:.0f} GiB, Python {platform.python_version()}, {versions}"


def keep(name: str, text: str) -> None:
    """Put a section in its place on the page."""
    sections = {}
    if PAGE.exists():
        parts = re.split(r"^## (\w+)\n", PAGE.read_text("utf-8"), flags=re.MULTILINE)[1:]
        sections = {title: body.strip("\n") for title, body in zip(parts[::2], parts[1::2], strict=True)}
    sections[name] = text.strip("\n")
    ordered = [f"## {title}\n\n{sections[title]}\n" for title in BENCHMARKS if title in sections]
    PAGE.write_text("\n".join([INTRODUCTION, *ordered]), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
