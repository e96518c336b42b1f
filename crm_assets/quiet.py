"""What processes of commands keep to themselves.

Belongs here: warnings of libraries and telemetry. Not here: what commands print (`cli.py`).
"""

import logging
import os


def quiet() -> None:
    """Print no warnings of libraries, which are meant for developers, and send nothing anywhere."""
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").propagate = False
    logging.getLogger("py.warnings").addHandler(logging.NullHandler())
