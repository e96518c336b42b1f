"""Telling people that a run failed: a message to the webhook at `CRM_ALERT_WEBHOOK`.

Belongs here: what the message says and how it is sent. Not here: what runs, or when.

The address may hold a secret. So it is read from the environment alone, and neither it nor an error's text, in which
libraries repeat it, is logged.
"""

import os
import time
from typing import Any

import dagster as dg

from crm_assets.partitions import PARTITION, RANGE_END, RANGE_START

WEBHOOK = "CRM_ALERT_WEBHOOK"
UI_URL = "CRM_UI_URL"

TIMEOUT_SECONDS = 10
PAUSES_SECONDS = (1, 4)
"""Between tries; one more try than pauses."""

MESSAGE_LINES = 5
MESSAGE_CHARACTERS = 1_000


@dg.run_failure_sensor(name="run_failed", minimum_interval_seconds=30)
def run_failed(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
    """Post a JSON message of each failed run to the address in `CRM_ALERT_WEBHOOK`."""
    webhook = os.environ.get(WEBHOOK)
    if not webhook:
        return dg.SkipReason(f"{WEBHOOK} is not set in the environment of the code location")
    problem = post(webhook, alert(context))
    if problem:
        context.log.error(f"the failure of run {context.dagster_run.run_id} was not posted: {problem}")
    return None


def alert(context: dg.RunFailureSensorContext) -> dict[str, Any]:
    """The message of a failed run.

    Returns:
        `text`, one line for people, which chat services show; `job`, `run_id`, `step`, `error`, `partition`, `url`,
        null where there is none. Values of rows may stand in an error's text.
    """
    run = context.dagster_run
    failures = context.get_step_failure_events()
    step = failures[0].step_key if failures else None
    error = getattr(failures[0].event_specific_data, "error", None) if failures else None
    while error is not None and error.cause is not None:
        error = error.cause
    message = _first_lines(error.message if error is not None else context.failure_event.message or "")
    partition = run.tags.get(PARTITION, run.tags.get(RANGE_START))
    if partition and (end := run.tags.get(RANGE_END, partition)) != partition:
        partition = f"{partition} to {end}"
    ui = os.environ.get(UI_URL, "").rstrip("/")
    where = " ".join(filter(None, [f"at {step}" if step else "", f"for {partition}" if partition else ""]))
    return {
        "text": f"run {run.run_id} of job {run.job_name} failed {where}".strip() + f": {message.partition(chr(10))[0]}",
        "job": run.job_name,
        "run_id": run.run_id,
        "step": step,
        "error": message,
        "partition": partition,
        "url": f"{ui}/runs/{run.run_id}" if ui else None,
    }


def post(webhook: str, message: dict[str, Any]) -> str | None:
    """Post a message; what went wrong at the last try, without the address, or None."""
    import requests

    problem = None
    for pause in (*PAUSES_SECONDS, None):
        try:
            answer = requests.post(webhook, json=message, timeout=TIMEOUT_SECONDS, allow_redirects=False)
        except (requests.RequestException, ValueError) as error:
            problem = type(error).__name__
        else:
            if answer.status_code < 300:
                return None
            problem = f"the webhook answered {answer.status_code}"
            if answer.status_code < 500 and answer.status_code != 429:
                # It would answer the same again.
                return problem
        if pause is not None:
            time.sleep(pause)
    return problem


def _first_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[:MESSAGE_LINES])[:MESSAGE_CHARACTERS]
