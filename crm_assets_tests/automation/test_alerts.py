"""Messages of failed runs, posted to a real server on this machine."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import dagster as dg
import pytest

from crm_assets.automation import alerts
from crm_assets.automation.alerts import UI_URL, WEBHOOK, run_failed
from crm_assets.partitions import range_tags

SECRET = "s3cret-token"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch):
    """A server that keeps what it gets and answers as `answers` says, the last one for ever."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            httpd.got.append((self.path, json.loads(body)))
            self.send_response(httpd.answers.pop(0) if len(httpd.answers) > 1 else httpd.answers[0])
            self.send_header("Location", f"http://127.0.0.1:{httpd.server_port}/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing on the console."""

    httpd = HTTPServer(("127.0.0.1", 0), Handler)
    httpd.got, httpd.answers = [], [200]
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    monkeypatch.setenv(WEBHOOK, f"http://127.0.0.1:{httpd.server_port}/{SECRET}")
    monkeypatch.setattr(alerts, "PAUSES_SECONDS", (0, 0))
    yield httpd
    httpd.shutdown()
    httpd.server_close()


@dg.op
def break_down() -> None:
    """Fail with a cause, a message of many lines."""
    try:
        raise ValueError("\n".join(f"line {number}" for number in range(9)))
    except ValueError as error:
        raise RuntimeError("the step failed") from error


@dg.job
def nightly() -> None:
    """A job that fails."""
    break_down()


def fail(instance: dg.DagsterInstance) -> dg.RunFailureSensorContext:
    """The context of a failed run of two deliveries."""
    result = nightly.execute_in_process(instance=instance, raise_on_error=False, tags=range_tags("a--1", "a--2"))
    return dg.build_run_status_sensor_context(
        "run_failed", result.get_run_failure_event(), instance, result.dagster_run
    ).for_run_failure()


def test_a_failed_run_is_posted_with_step_error_partition_and_link(server, monkeypatch) -> None:
    monkeypatch.setenv(UI_URL, "https://dagster.example/")
    with dg.instance_for_test() as instance:
        context = fail(instance)
        run_failed(context)
    ((path, message),) = server.got
    run = context.dagster_run.run_id
    assert path == f"/{SECRET}"
    assert message == {
        "text": f"run {run} of job nightly failed at break_down for a--1 to a--2: ValueError: line 0",
        "job": "nightly",
        "run_id": run,
        "step": "break_down",
        "error": "ValueError: line 0\nline 1\nline 2\nline 3\nline 4",
        "partition": "a--1 to a--2",
        "url": f"https://dagster.example/runs/{run}",
    }


def test_without_the_variable_nothing_is_posted_and_the_tick_says_so(server, monkeypatch) -> None:
    monkeypatch.delenv(WEBHOOK)
    with dg.instance_for_test() as instance:
        assert WEBHOOK in run_failed(fail(instance)).skip_message
    assert server.got == []


def test_a_server_in_trouble_is_tried_again(server) -> None:
    server.answers = [503, 429, 200]
    with dg.instance_for_test() as instance:
        run_failed(fail(instance))
    assert len(server.got) == 3


@pytest.mark.parametrize(("answer", "tries"), [(404, 1), (302, 1), (500, 3)])
def test_a_refused_message_is_logged_without_the_address_and_fails_nothing(
    server, caplog, capfd, answer, tries
) -> None:
    server.answers = [answer]
    with dg.instance_for_test() as instance:
        run_failed(fail(instance))
    assert len(server.got) == tries
    logged = caplog.text + "".join(capfd.readouterr())
    assert f"was not posted: the webhook answered {answer}" in logged
    assert SECRET not in logged


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/{}", "no-address-{}", "http://[bad/{}"])
def test_an_address_that_cannot_be_reached_is_logged_without_it(monkeypatch, caplog, capfd, address) -> None:
    monkeypatch.setenv(WEBHOOK, address.format(SECRET))
    monkeypatch.setattr(alerts, "PAUSES_SECONDS", ())
    with dg.instance_for_test() as instance:
        run_failed(fail(instance))
    logged = caplog.text + "".join(capfd.readouterr())
    assert "was not posted" in logged
    assert SECRET not in logged
