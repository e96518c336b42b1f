"""What the sensor of exports remembers of deliveries, and which of them make a run together.

Belongs here: the cursor, the runs that are going, and grouping deliveries. Not here: finding deliveries (`landing.py`).
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import dagster as dg

from crm_assets.automation.landing import Landed
from crm_assets.lake.processes import is_alive
from crm_assets.partitions import DELIVERIES, PARTITION, RANGE_END, RANGE_START
from crm_assets.settings import Settings

INGESTING_JOBS = ("ingest", "__ASSET_JOB")
"""Jobs that ingest deliveries: the one of that name, and Dagster's own for assets chosen in the UI."""

MOST_TRIES = 3
"""Runs that may succeed without their delivery standing in the lake before it is given up."""

MOST_IN_A_RUN = 400
"""Deliveries of one run: a year of daily exports."""

PROCESS = "crm/process"
"""Run tag with the process that a command runs in, which nobody watches."""

_RUN_KEY = "dagster/run_key"
_WILL_RETRY = "dagster/will_retry"
_RETRIED_BY = "dagster/auto_retry_run_id"

_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dataclass(frozen=True)
class Remembered:
    """What the sensor knows of a waiting delivery.

    Attributes:
        fingerprint: Of its files at the last look.
        since_ns: When this fingerprint was first seen.
        looks: How often in a row it was seen, at most 2.
        run_key: The run it was last asked for in.
        tries: How often it was asked for.
    """

    fingerprint: str
    since_ns: int
    looks: int = 0
    run_key: str | None = None
    tries: int = 0

    def at(self, found: Landed, now_ns: int) -> "Remembered":
        """What is known after one more look."""
        if self.fingerprint != found.fingerprint:
            return Remembered(found.fingerprint, now_ns, 1)
        # A clock that was set back must not make the delivery wait for it.
        return replace(self, since_ns=min(self.since_ns, now_ns), looks=min(self.looks + 1, 2))

    def has_settled(self, found: Landed, now_ns: int, settings: Settings) -> bool:
        """Whether its files are the same as at the last look, and have been for long enough.

        File times count only where they say that a file is old: in a skewed clock's future they would never pass.
        """
        wait = settings.export_settle_seconds * 1_000_000_000
        return self.looks > 1 and max(now_ns - found.newest_ns, now_ns - self.since_ns) >= wait

    def requested(self, run_key: str) -> "Remembered":
        """What is known once a run was asked for."""
        return replace(self, run_key=run_key, tries=self.tries + 1)


def remember(seen: Mapping[str, Remembered], found: Landed, now_ns: int) -> Remembered:
    """What is known of a delivery at this look."""
    return seen.get(found.delivery.key, Remembered("", now_ns)).at(found, now_ns)


def read_cursor(context: dg.SensorEvaluationContext) -> dict[str, Remembered]:
    """What was remembered at the last look; nothing where the cursor cannot be read, which costs one more look."""
    try:
        return {key: Remembered(**known) for key, known in json.loads(context.cursor or "{}").items()}
    except (ValueError, TypeError, AttributeError):
        context.log.warning("the cursor of exports_landed cannot be read, so each delivery is looked at anew")
        return {}


def write_cursor(memory: Mapping[str, Remembered]) -> str:
    """The cursor of the next look."""
    return json.dumps({key: asdict(known) for key, known in memory.items()})


def batches(
    instance: dg.DagsterInstance, settled: Sequence[Landed], memory: Mapping[str, Remembered]
) -> tuple[list[list[Landed]], dict[str, str]]:
    """Deliveries to ingest together, and those that failed, by their keys with the id of the run.

    The deliveries of a run that failed are tried again in halves, down to those that fail alone.
    """
    asked: dict[str | None, list[Landed]] = {}
    for found in settled:
        asked.setdefault(memory[found.delivery.key].run_key, []).append(found)
    fresh: list[Landed] = []
    halves: list[list[Landed]] = []
    failed: dict[str, str] = {}
    for run_key, group in asked.items():
        run = _last_run(instance, run_key) if run_key else None
        if run is None:
            fresh += group
        elif run.status == dg.DagsterRunStatus.SUCCESS:
            given_up = [it for it in group if memory[it.delivery.key].tries >= MOST_TRIES]
            failed |= {it.delivery.key: run.run_id for it in given_up}
            fresh += [it for it in group if it not in given_up]
        elif run.status == dg.DagsterRunStatus.FAILURE and _is_final(run):
            if len(group) > 1:
                halves += [group[: len(group) // 2], group[len(group) // 2 :]]
            else:
                failed[group[0].delivery.key] = run.run_id
        elif run.status == dg.DagsterRunStatus.CANCELED:
            failed |= {it.delivery.key: run.run_id for it in group}
    return ([fresh] if fresh else []) + halves, failed


def neighbours(keys: Iterable[str], order: Sequence[str]) -> list[list[str]]:
    """These keys in groups of neighbours in `order`, each small enough for a run."""
    place = {key: number for number, key in enumerate(order)}
    groups: list[list[str]] = []
    for key in sorted(set(keys), key=place.__getitem__):
        last = groups[-1] if groups else []
        if last and place[last[-1]] + 1 == place[key] and len(last) < MOST_IN_A_RUN:
            last.append(key)
        else:
            groups.append([key])
    return groups


def new_run_key(instance: dg.DagsterInstance, group: Sequence[Landed]) -> str:
    """A key that names exactly these files and that no run has yet."""
    text = "\n".join(f"{found.delivery.key}:{found.fingerprint}" for found in group)
    name = f"{group[0].delivery.key}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    number = 1
    while _last_run(instance, f"{name}:{number}"):
        number += 1
    return f"{name}:{number}"


def unfinished_runs(instance: dg.DagsterInstance, *jobs: str) -> list[dg.DagsterRun]:
    """Runs of jobs that are queued or going; not those whose command was killed, since nothing ends them."""
    found = [
        run for job in jobs for run in instance.get_runs(filters=dg.RunsFilter(job_name=job, statuses=_UNFINISHED))
    ]
    return [run for run in found if is_alive(run.tags.get(PROCESS))]


def deliveries_in_progress(instance: dg.DagsterInstance) -> dict[str, str]:
    """Keys of the deliveries that some run is ingesting or will, with the id of the run."""
    order = list(instance.get_dynamic_partitions(DELIVERIES))
    return {
        key: run.run_id for run in unfinished_runs(instance, *INGESTING_JOBS) for key in delivery_keys(run.tags, order)
    }


def delivery_keys(tags: Mapping[str, str], order: Sequence[str]) -> list[str]:
    """Partition keys of a run of one delivery or of a range of them; none when its partitions are others."""
    first, last = tags.get(RANGE_START, tags.get(PARTITION)), tags.get(RANGE_END, tags.get(PARTITION))
    if first not in order or last not in order:
        return []
    return list(order[order.index(first) : order.index(last) + 1])


def _last_run(instance: dg.DagsterInstance, run_key: str) -> dg.DagsterRun | None:
    """The newest run of a key, or the one that Dagster started instead after its worker was killed."""
    runs = instance.get_runs(filters=dg.RunsFilter(tags={_RUN_KEY: run_key}), limit=1)
    run = runs[0] if runs else None
    while run is not None and (again := run.tags.get(_RETRIED_BY)) and (retry := instance.get_run_by_id(again)):
        run = retry
    return run


def _is_final(run: dg.DagsterRun) -> bool:
    """Whether a failed run will not be started again by Dagster itself."""
    return run.tags.get(_WILL_RETRY) != "true"
