"""A headless Chromium, spoken to in the WebDriver protocol; for tests that skip where none is installed."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

INSTALLED = shutil.which("chromedriver") is not None and shutil.which("chromium") is not None
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """One window."""

    def __init__(self, address: str) -> None:
        self.address = address

    def call(self, method: str, path: str, **body: Any) -> Any:
        """What the browser answers."""
        data = json.dumps(body).encode() if method == "POST" else None
        request = urllib.request.Request(
            f"{self.address}{path}", data, {"Content-Type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())["value"]

    def run(self, script: str, *arguments: Any) -> Any:
        """What ``script`` returns, run in the page."""
        return self.call("POST", "/execute/sync", script=script, args=list(arguments))

    def click(self, selector: str) -> None:
        """Clicks, as a person would, on the first element of that kind."""
        found = self.call("POST", "/element", using="css selector", value=selector)
        self.call("POST", f"/element/{found[ELEMENT]}/click")

    def wait(self, script: str, seconds: float = 30.0) -> Any:
        """What ``script`` returns once that is true."""
        deadline = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < deadline, script
            time.sleep(0.05)
        return value


@contextmanager
def browser(profile: Path, size: str = "1300,1000") -> Iterator[Browser]:
    """A window of that size; ``profile``: an empty folder for what the browser keeps."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    window = Browser(f"http://127.0.0.1:{port}")
    try:
        for _ in range(200):
            with suppress(OSError, urllib.error.URLError):
                window.call("GET", "/status")
                break
            time.sleep(0.05)
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
        flags += ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
        flags += ["--disable-sync", f"--user-data-dir={profile}", f"--window-size={size}"]
        options = {"args": flags, "binary": shutil.which("chromium")}
        wanted = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}
        session = window.call("POST", "/session", capabilities=wanted)
        window.address += f"/session/{session['sessionId']}"
        yield window
        window.call("DELETE", "")
    finally:
        driver.terminate()
        driver.wait()
