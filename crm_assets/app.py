"""The code location that `workspace.yaml` names: the workspace at `$CRM_HOME`, by default `./data`.

Belongs here: nothing but the definitions. Not here: how they are made (`definitions.py`).
"""

from crm_assets.definitions import build_defs

defs = build_defs()
