"""Runs whose process went down with the code server: nothing else ends them, and they hold their places in the queue.

Belongs here: ending them once a new code server is up. Not here: runs of commands (`requests.py`), or runs in pods of
their own, which Dagster's run monitoring watches.

The container of the code server starts this beside it: `python -m crm_assets.automation.orphans <host> <port>`, by
which the daemon knows the server. Dagster's daemon then starts the failed runs again, as `run_retries` in
`dagster.yaml` says. It tries that once, as soon as it sees the failure, and gives up where it does not reach the code
server; so runs are ended only when the server has been up for a while.
"""

import json
import subprocess
import sys
import time

import dagster as dg

ENDED = "the code server stopped while this run was going"

LOOK_EVERY_SECONDS = 3
SETTLE_SECONDS = 15
"""How long daemon and webservers may take to find the new server."""

_SERVED_BY = ".dagster/grpc_info"


def end_orphans(instance: dg.DagsterInstance, host: str, port: int, before: float) -> list[str]:
    """Mark runs of the code server at `host` and `port` that began before a moment and have not ended as failed.

    Runs that are starting or being canceled are left to the time limits of run monitoring.

    Args:
        instance: Where the runs are.
        host: As in the `workspace.yaml` of the daemon.
        port: The same.
        before: When the present code server started, seconds since 1970; its own runs began later.

    Returns:
        The ids of these runs.
    """
    going = instance.get_run_records(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    orphans = [
        record.dagster_run
        for record in going
        if (record.start_time or before) < before and _is_served_by(record.dagster_run.tags.get(_SERVED_BY), host, port)
    ]
    for run in orphans:
        instance.report_run_failed(run, ENDED)
    return [run.run_id for run in orphans]


def _is_served_by(tag: str | None, host: str, port: int) -> bool:
    served = json.loads(tag) if tag else {}
    return (served.get("host"), served.get("port")) == (host, port)


def _main(host: str, port: str) -> None:
    started = time.time()
    health = [sys.executable, "-m", "dagster", "api", "grpc-health-check", "--host", host, "--port", port]
    while subprocess.run(health, capture_output=True).returncode != 0:
        time.sleep(LOOK_EVERY_SECONDS)
    time.sleep(SETTLE_SECONDS)
    with dg.DagsterInstance.get() as instance:
        for run_id in end_orphans(instance, host, int(port), started):
            print(f"run {run_id} ended: {ENDED}", flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
