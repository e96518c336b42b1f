"""The proxy of `deploy/`, by a real nginx, in front of two servers that say what reaches them."""

import base64
import json
import shutil
import ssl
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from crm_assets_tests.deploy.team import DEPLOY, free_port, kill, wait_for


class Told(BaseHTTPRequestHandler):
    """Answers with its own name and what it was sent."""

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        said = json.dumps({"name": self.server.name, "path": self.path, "headers": headers})  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(said.encode())

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


def server(name: str) -> ThreadingHTTPServer:
    found = ThreadingHTTPServer(("127.0.0.1", 0), Told)
    found.name = name  # type: ignore[attr-defined]
    threading.Thread(target=found.serve_forever, daemon=True).start()
    return found


@pytest.fixture(scope="module")
def proxy() -> Iterator[str]:
    """The address of the proxy."""
    nginx, openssl = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin"), shutil.which("openssl")
    if not nginx or not openssl:
        pytest.skip("nginx or openssl is not installed")
    # Workers of nginx are another user, to whom the folders of pytest are closed.
    folder = Path(tempfile.mkdtemp(prefix="crm-proxy-"))
    folder.chmod(0o755)
    (folder / "users").mkdir()
    (folder / "tls").mkdir()
    for people, name in (("operators", "olga"), ("viewers", "viktor")):
        word = subprocess.check_output([openssl, "passwd", "-apr1", f"{name}s word"], text=True)
        with (folder / "users" / people).open("a") as file:
            file.write(f"{name}:{word}")
    with (folder / "users" / "viewers").open("a") as file:
        file.write((folder / "users" / "operators").read_text("utf-8"))
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2",
         "-keyout", folder / "tls" / "tls.key", "-out", folder / "tls" / "tls.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    servers, port = {name: server(name) for name in ("webserver", "webserver-read-only")}, free_port()
    text = (DEPLOY / "nginx.conf").read_text("utf-8")
    for name, found in servers.items():
        assert f"server {name}:3000;" in text
        text = text.replace(f"server {name}:3000;", f"server 127.0.0.1:{found.server_address[1]};")
    text = text.replace("listen 8443", f"listen 127.0.0.1:{port}").replace("/etc/nginx", str(folder))
    text = text.replace("/tmp/nginx.pid", str(folder / "pid")).replace("/dev/std", f"{folder}/std")
    (folder / "nginx.conf").write_text(text, "utf-8")
    command = [nginx, "-p", str(folder), "-e", str(folder / "stderr"), "-c", str(folder / "nginx.conf")]
    tested = subprocess.run([*command, "-t"], capture_output=True, text=True)
    assert tested.returncode == 0, tested.stderr
    process = subprocess.Popen([*command, "-g", "daemon off;"], start_new_session=True)
    try:
        address = f"https://127.0.0.1:{port}"
        wait_for(lambda: answers(address), "nginx answers", 30)
        yield address
    finally:
        kill(process)
        for found in servers.values():
            found.shutdown()
        shutil.rmtree(folder)


def answers(address: str) -> bool:
    try:
        return ask(address)[0] == 401
    except urllib.error.URLError:
        return False


def ask(address: str, person: str | None = None, word: str | None = None, **headers: str) -> tuple[int, dict]:
    """The status and, if there is one, what the server behind was sent."""
    request = urllib.request.Request(address, headers=headers)
    if person:
        known = base64.b64encode(f"{person}:{word or person + 's word'}".encode()).decode()
        request.add_header("Authorization", f"Basic {known}")
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(request, context=trust, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, {}


@pytest.mark.parametrize("path", ["/", "/graphql", "/view", "/view/", "/view/graphql", "/viewer", "/server_info"])
def test_nothing_is_served_without_a_password(proxy: str, path: str) -> None:
    assert ask(proxy + path)[0] == 401
    assert ask(proxy + path, "olga", "viktors word")[0] == 401
    assert ask(proxy + path, "nobody")[0] == 401


@pytest.mark.parametrize(
    ("person", "path", "expected"),
    [
        ("olga", "/graphql", "webserver"),
        ("olga", "/viewer", "webserver"),
        ("olga", "/view/graphql", "webserver-read-only"),
        ("viktor", "/view/runs?x=1", "webserver-read-only"),
        ("viktor", "/view", "webserver-read-only"),
        ("viktor", "/graphql", None),
        ("viktor", "/view/../graphql", None),
        ("viktor", "/view%2F..%2Fgraphql", None),
        ("viktor", "/viewer", None),
    ],
)
def test_viewers_reach_the_read_only_webserver_and_no_other(
    proxy: str, person: str, path: str, expected: str | None
) -> None:
    status, told = ask(proxy + path, person)
    assert (status, told.get("name")) == ((200, expected) if expected else (401, None))
    if expected:
        assert told["path"] == path


def test_passwords_stay_at_the_proxy_and_websockets_pass(proxy: str) -> None:
    _, told = ask(f"{proxy}/graphql", "olga", Upgrade="websocket")
    assert "authorization" not in told["headers"]
    assert told["headers"]["upgrade"] == "websocket"
    assert told["headers"]["connection"] == "upgrade"
    assert told["headers"]["x-forwarded-proto"] == "https"
