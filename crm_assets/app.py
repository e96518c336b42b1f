"""The code location that `workspace.yaml` names: the workspace at `$CRM_HOME`, by default `./data`.

Belongs here: nothing but the definitions, and what its processes are set to. Not here: how definitions are made
(`definitions.py`).
"""

from crm_assets.garbage import collect_seldom

# Before the libraries, whose objects stay.
collect_seldom()

from crm_assets.definitions import build_defs  # noqa: E402

defs = build_defs()
