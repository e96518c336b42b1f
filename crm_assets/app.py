"""The code location that `workspace.yaml` names: the workspace at `$CRM_HOME`, by default `./data`.

Belongs here: nothing but the definitions, and what its processes are set to. Not here: how definitions are made
(`definitions.py`).
"""

from crm_assets.definitions import build_defs
from crm_assets.garbage import collect_seldom

collect_seldom()
defs = build_defs()
