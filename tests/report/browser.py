"""Chromium without a window, driven through its DevTools protocol over a pipe: no driver, no port, no package."""

import contextlib
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
WAIT_S = 60.0
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1280,1000"),
    "--remote-debugging-pipe",
)


def program() -> str | None:
    """Path of an installed Chromium."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """One page: `open` it, `evaluate` JavaScript in it, click and type as a user does."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read = write, read
        self._buffer = b""
        self._ids = itertools.count(1)
        self._events: list[dict[str, Any]] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def open(self, path: Path) -> None:
        """Load a file, by a file:// address, and wait until it and its figures are there."""
        self._events.clear()
        self._call("Page.navigate", url=path.resolve().as_uri())
        self._until("Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; an exception in it fails the test."""
        found = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def click(self, selector: str) -> None:
        """Press and release the left button in the middle of an element, where nothing may lie above it."""
        element = f"document.querySelector({json.dumps(selector)})"
        x, y = self.evaluate(
            f"(() => {{ const e = {element}; e.scrollIntoView({{block: 'center'}});"
            " const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        assert self.evaluate(f"{element}.contains(document.elementFromPoint({x}, {y}))"), f"{selector} is covered"
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.settle()

    def settle(self) -> None:
        """Wait until events that are under way have been handled."""
        self.evaluate("new Promise((done) => setTimeout(done, 50))")

    def resize(self, width: int, height: int) -> None:
        """Give the page another size, in CSS pixels."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def type(self, selector: str, text: str) -> None:
        """Click into a field, and type into it."""
        self.click(selector)
        self._call("Input.insertText", text=text)

    def problems(self) -> list[str]:
        """Errors and warnings that the page has caused so far: uncaught exceptions, the console, the browser's log."""
        self.settle()
        found = []
        for event in self._events:
            content = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(content["exceptionDetails"]))
            elif event["method"] == "Runtime.consoleAPICalled" and content["type"] in ("error", "warning", "assert"):
                found.append(json.dumps(content["args"]))
            elif event["method"] == "Log.entryAdded" and content["entry"]["level"] in ("error", "warning"):
                found.append(json.dumps(content["entry"]))
        return found

    def requests(self) -> list[str]:
        """Addresses that the page has asked for, without data URIs."""
        sent = [event for event in self._events if event["method"] == "Network.requestWillBeSent"]
        return [url for event in sent if not (url := event["params"]["request"]["url"]).startswith("data:")]

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        own = next(self._ids)
        message: dict[str, Any] = {"id": own, "method": method, "params": params}
        if hasattr(self, "_session"):
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == own:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self._events.append(answer)

    def _until(self, method: str) -> None:
        while all(event.get("method") != method for event in self._events):
            self._events.append(self._receive())

    def _receive(self) -> dict[str, Any]:
        end = time.monotonic() + WAIT_S
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"the browser gave no answer within {WAIT_S:g} s"
            part = os.read(self._read, 1 << 20)
            assert part, "the browser has ended"
            self._buffer += part
        message, self._buffer = self._buffer.split(b"\0", 1)
        content: dict[str, Any] = json.loads(message)
        return content


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """An empty page of a fresh Chromium, whose profile is a new folder."""
    name = program()
    assert name is not None
    commands, answers = os.pipe(), os.pipe()
    # Chromium reads commands from file 3 and answers on file 4. High numbers first: ours may be 3 or 4.
    theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (commands[0], answers[1])]

    def connect() -> None:
        os.dup2(theirs[0], 3)
        os.dup2(theirs[1], 4)

    log = (profile.parent / f"{profile.name}.log").open("wb")
    process = subprocess.Popen(
        [name, *_FLAGS, f"--user-data-dir={profile}"], stdout=log, stderr=log, preexec_fn=connect, pass_fds=(3, 4)
    )
    for end in (commands[0], answers[1], *theirs):
        os.close(end)
    try:
        yield Page(commands[1], answers[0])
    finally:
        os.close(commands[1])
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(answers[0])
        log.close()
