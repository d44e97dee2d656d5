"""Servers for tests: a small one that speaks MLflow's API, and a proxy before a real one. Both can misbehave."""

from __future__ import annotations

import base64
import json
import re
import select
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

# Ways to fail: no answer, a connection that is cut, errors, and an answer that is none.
WAYS = ("silent", "cut", "500", "401", "garbage")


class Tracker(ThreadingHTTPServer):
    """A tracking server in memory. ``way``: how it fails, empty where it works; its health is always good.

    ``login``: user and password that it asks for. ``runs``: what it has recorded, by id. ``seen``: all that came.
    """

    daemon_threads = True

    def __init__(self, login: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.way, self.login, self.asked = "", login, 0
        self.experiments: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.artifacts: dict[str, bytes] = {}
        self.seen: list[bytes] = []
        self.ended = threading.Event()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def keys(self) -> list[str]:
        """Return the keys of the runs that have ended well, one for each run."""
        ended = [run for run in self.runs.values() if run["info"]["status"] == "FINISHED"]
        return sorted(tags["trial_key"] for run in ended if "trial_key" in (tags := _tags(run)))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that give up are what is tested."""


@contextmanager
def tracker(login: str = "") -> Iterator[Tracker]:
    """Yield a server at work."""
    server = Tracker(login)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()


def _tags(run: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in run["data"]["tags"]}


class _Handler(BaseHTTPRequestHandler):
    server: Tracker
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        server = self.server
        server.seen += [self.requestline.encode(), bytes(self.headers), body]
        place = urlsplit(self.path)
        if place.path == "/health":
            return self._send(200, b"OK")
        server.asked += 1
        if server.way == "silent":
            server.ended.wait(60)
            return None
        if server.way == "cut":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return None
        if server.way == "garbage":
            return self._send(200, b"<html>\x00 what?")
        if server.way in ("500", "401"):
            return self._send(int(server.way), b'{"error_code": "INTERNAL_ERROR", "message": "no"}')
        if server.login and self.headers.get("Authorization") != _basic(server.login):
            return self._send(401, b"You are not authenticated.")
        if "/mlflow-artifacts/artifacts" in place.path:
            return self._artifact(place.path.partition("/artifacts/")[2], body)
        query = {name: values[0] for name, values in parse_qs(place.query).items()}
        request = {**query, **(json.loads(body) if body else {})}
        call = re.sub(r"\W", "_", place.path.rpartition("/mlflow/")[2])
        try:
            answer = getattr(self, call)(request)
        except LookupError:
            message = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "there is none"}
            return self._send(404, json.dumps(message).encode())
        return self._send(200, json.dumps(answer or {}).encode())

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _artifact(self, path: str, body: bytes) -> None:
        if self.command == "PUT":
            self.server.artifacts[path] = body
            return self._send(200, b"{}")
        return self._send(200, self.server.artifacts[path])

    # The calls that the lab makes

    def experiments_get_by_name(self, request: dict[str, Any]) -> Any:
        return {"experiment": self.server.experiments[request["experiment_name"]]}

    def experiments_create(self, request: dict[str, Any]) -> Any:
        number = str(len(self.server.experiments) + 1)
        about = {"artifact_location": f"mlflow-artifacts:/{number}", "lifecycle_stage": "active"}
        self.server.experiments[request["name"]] = {"experiment_id": number, "name": request["name"], **about}
        return {"experiment_id": number}

    def runs_create(self, request: dict[str, Any]) -> Any:
        number = uuid.uuid4().hex
        info = {name: request[name] for name in ("experiment_id", "run_name", "start_time")}
        info |= {"run_id": number, "run_uuid": number, "status": "RUNNING", "lifecycle_stage": "active"}
        info["artifact_uri"] = f"mlflow-artifacts:/{request['experiment_id']}/{number}/artifacts"
        self.server.runs[number] = {"info": info, "data": {"tags": list(request.get("tags", ()))}}
        return {"run": self.server.runs[number]}

    def runs_get(self, request: dict[str, Any]) -> Any:
        return {"run": self.server.runs[request["run_id"]]}

    def runs_update(self, request: dict[str, Any]) -> Any:
        run = self.server.runs[request["run_id"]]
        run["info"] |= {name: request[name] for name in ("status", "end_time") if name in request}
        return {"run_info": run["info"]}

    def runs_delete(self, request: dict[str, Any]) -> Any:
        self.server.runs[request["run_id"]]["info"]["lifecycle_stage"] = "deleted"

    def runs_set_tag(self, request: dict[str, Any]) -> Any:
        self.server.runs[request["run_id"]]["data"]["tags"].append({name: request[name] for name in ("key", "value")})

    def runs_log_batch(self, request: dict[str, Any]) -> Any:
        self.server.runs[request["run_id"]]["data"]["metrics"] = request.get("metrics", [])

    def runs_log_inputs(self, request: dict[str, Any]) -> Any:
        self.server.runs[request["run_id"]]["inputs"] = {"dataset_inputs": request["datasets"]}

    def runs_search(self, request: dict[str, Any]) -> Any:
        found = re.match(r"tags\.(\w+) (!?=) '(.*)'$", request.get("filter", ""))
        runs = list(self.server.runs.values())
        if found and found[2] == "=":
            runs = [run for run in runs if _tags(run).get(found[1]) == found[3]]
        return {"runs": runs}


def _basic(login: str) -> str:
    return f"Basic {base64.b64encode(login.encode()).decode()}"


class Proxy:
    """A proxy before a real server; ``way``: how it fails, empty where it passes everything on."""

    def __init__(self, port: int) -> None:
        self.way, self.target = "", port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def fail(self, way: str) -> None:
        """Fail from now on, on connections that are open too."""
        self.way = way
        if way == "cut":
            self._close()

    def close(self) -> None:
        self.listener.close()
        self._close()

    def _close(self) -> None:
        for connection in self.open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", self.target)) as server:
            self.open += [client, server]
            while True:
                for source in select.select([client, server], [], [])[0]:
                    data = source.recv(1 << 16)
                    if not data:
                        return
                    if source is client and self.way and b"GET /health" not in data[:20]:
                        if not self._misbehave(client):
                            return
                    else:
                        (server if source is client else client).sendall(data)

    def _misbehave(self, client: socket.socket) -> bool:
        """Answer a request by failing; return whether the connection stays."""
        if self.way == "silent":
            while self.way == "silent":
                time.sleep(0.05)
            return False
        if self.way in ("500", "401"):
            client.sendall(f"HTTP/1.1 {self.way} No\r\nContent-Length: 2\r\n\r\nno".encode())
        elif self.way == "garbage":
            client.sendall(b"\x00\xff what?\r\n\r\n")
        return False
