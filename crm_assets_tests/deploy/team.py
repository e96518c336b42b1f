"""A team's deployment on this machine: a PostgreSQL server of the test's own, and the processes of `deploy/`.

Commands, variables and instance are read from the files of `deploy/`; only hosts, ports and folders are others.
"""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text("utf-8"))
BINARIES = Path(sys.executable).parent


def postgres_binaries() -> Path:
    """The folder of PostgreSQL's own programs; skips the test where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("initdb")
    if not found and not on_path:
        pytest.skip("PostgreSQL is not installed: no initdb under /usr/lib/postgresql or on the path")
    return found[-1].parent if found else Path(str(on_path)).parent


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@dataclass
class Postgres:
    """A server that only this machine reaches, with a password."""

    binaries: Path
    port: int
    password: str

    def variables(self, database: str) -> dict[str, str]:
        """Those of PostgreSQL's clients."""
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": "dagster",
            "PGPASSWORD": self.password,
            "PGDATABASE": database,
        }

    def new_database(self) -> str:
        name = f"crm_{secrets.token_hex(4)}"
        self.sql("postgres", f"CREATE DATABASE {name}")
        return name

    def sql(self, database: str, query: str) -> str:
        command = [self.binaries / "psql", "--no-psqlrc", "--tuples-only", "--no-align", "--command", query]
        environment = os.environ | self.variables(database)
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """A server in a folder of its own, as a user without rights, for as long as the block runs."""
    binaries = postgres_binaries()
    # The folders of pytest are closed to other users, and too deep for a socket.
    folder = Path(tempfile.mkdtemp(prefix="crm-postgres-"))
    server = Postgres(binaries, free_port(), secrets.token_hex(12))
    (folder / "password").write_text(server.password, "utf-8")
    user = None
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root.
        names = {entry.pw_name for entry in pwd.getpwall()}
        user = "postgres" if "postgres" in names else "nobody"
        for path in (folder, folder / "password"):
            shutil.chown(path, user)

    def run(*command: object) -> None:
        subprocess.run(
            list(map(str, command)), user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=120
        )

    data, settings = folder / "data", f"-p {server.port} -c listen_addresses=127.0.0.1 -c fsync=off -k {folder}"
    try:
        run(binaries / "initdb", "-D", data, "-U", "dagster", "-A", "scram-sha-256", "--pwfile", folder / "password",
            "--encoding", "UTF8", "--no-sync")  # fmt: skip
        run(binaries / "pg_ctl", "-D", data, "-l", folder / "log", "-o", settings, "-w", "start")
        try:
            yield server
        finally:
            run(binaries / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)


@dataclass
class Team:
    """The processes of a deployment, over one workspace and one database."""

    home: Path
    folder: Path
    environment: dict[str, str]
    ports: dict[str, int]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, service: str) -> subprocess.Popen[bytes]:
        """Run the command of a service of the compose file, on this machine."""
        command = [self._here(service, part) for part in COMPOSE["services"][service]["command"]]
        with (self.folder / f"{service}.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        self.processes.append(process)
        return process

    def _here(self, service: str, part: str) -> str:
        for port, name in (("3000", service), ("4000", "code")):
            part = part.replace(port, str(self.ports[name])) if name in self.ports else part
        return part.replace("0.0.0.0", "127.0.0.1").replace("orphans code", "orphans 127.0.0.1")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the environment of the services."""
        return subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)

    def log(self, service: str) -> str:
        return (self.folder / f"{service}.log").read_text("utf-8")

    def stop(self) -> None:
        for process in self.processes:
            kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started with a signal nobody can catch."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def team(postgres: Postgres, database: str, home: Path, folder: Path) -> Iterator[Team]:
    """A deployment whose services are not started yet, with `DAGSTER_HOME` in `folder`."""
    ports = {name: free_port() for name in ("code", "webserver", "webserver-read-only")}
    instance = folder / "dagster_home"
    instance.mkdir(parents=True)
    shutil.copy(DEPLOY / "dagster.yaml", instance)
    workspace = yaml.safe_load((DEPLOY / "workspace.yaml").read_text("utf-8"))
    workspace["load_from"][0]["grpc_server"] |= {"host": "127.0.0.1", "port": ports["code"]}
    (folder / "workspace.yaml").write_text(yaml.safe_dump(workspace), "utf-8")
    variables = {
        "DAGSTER_HOME": str(instance),
        "DAGSTER_SHARED_STORAGE": str(folder / "storage"),
        "DAGSTER_PG_HOST": "127.0.0.1",
        "DAGSTER_PG_PORT": str(postgres.port),
        "DAGSTER_PG_PASSWORD": postgres.password,
        "DAGSTER_PG_DB": database,
        "CRM_HOME": str(home),
        "CRM_MEMORY_LIMIT": "500MB",
        "CRM_THREADS": "2",
    }
    given: dict[str, Any] = COMPOSE["services"]["code"]["environment"]
    plain = {name: value for name, value in given.items() if "$" not in value}
    environment = os.environ | plain | variables
    environment["PATH"] = f"{BINARIES}{os.pathsep}{environment['PATH']}"
    found = Team(home, folder, environment, ports)
    try:
        yield found
    finally:
        found.stop()


@contextmanager
def instance_of(found: Team) -> Iterator[dg.DagsterInstance]:
    """The team's instance, in this process."""
    from crm_assets.automation.instance import open_instance

    with pytest.MonkeyPatch.context() as patch:
        for name, value in found.environment.items():
            if name.startswith("DAGSTER_"):
                patch.setenv(name, value)
        with open_instance(found.home) as instance:
            yield instance


def wait_for(condition: Callable[[], object], what: str, seconds: int = 240) -> Any:
    """What a condition gives once it is true; fails when that takes too long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.3)
    pytest.fail(f"not within {seconds} s: {what}")
