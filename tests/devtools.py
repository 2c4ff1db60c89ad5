"""A browser for tests: headless Chromium, spoken to over a pipe (the DevTools protocol)."""

from __future__ import annotations

import fcntl
import json
import os
import select
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

START = (
    "import os, sys; i, o = map(int, sys.argv[1:3]); os.dup2(i, 3); os.dup2(o, 4); "
    "os.execv(sys.argv[3], sys.argv[3:])"
)  # Chromium reads descriptor 3 and writes 4
TIMEOUT = 120.0


class Chromium:
    """One page of one browser; ended with the ``with`` block."""

    def __init__(self, program: str, profile: Path, flags: tuple[str, ...] = ()) -> None:
        (in_end, self._in), (self._out, out_end) = os.pipe(), os.pipe()
        # above the numbers that they are copied to
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (in_end, out_end)]
        command = [
            program, "--headless=new", "--no-sandbox", "--no-first-run", "--disable-gpu",
            "--disable-dev-shm-usage", "--disable-background-networking", "--disable-sync",
            "--disable-component-update", f"--user-data-dir={profile}",
            "--remote-debugging-pipe", *flags, "about:blank",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, *map(str, ends), *command],
            pass_fds=ends,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (in_end, out_end, *ends):
            os.close(end)
        self._number, self._buffer, self._session = 0, b"", ""
        self.console: list[str] = []
        self._events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Chromium:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._in)  # Chromium ends when its pipe does
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._out)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol and its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._in, data) :]
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return dict(answer["result"])
            self._note(answer)

    def open(self, url: str) -> None:
        """Go to an address and wait until it is loaded."""
        self._events.clear()
        self.call("Page.navigate", url=url)
        while not any(e.get("method") == "Page.loadEventFired" for e in self._events):
            self._note(self._read())

    def evaluate(self, body: str) -> Any:
        """The value that an async function body of JavaScript returns, through JSON."""
        answer = self.call(
            "Runtime.evaluate",
            expression=f"(async () => {{ {body} }})()",
            awaitPromise=True,
            returnByValue=True,
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def choose(self, selector: str, *files: Path) -> None:
        """Choose files in a file input, as a user would."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(f) for f in files], nodeId=node)

    def _note(self, event: dict[str, Any]) -> None:
        self._events.append(event)
        if event.get("method") == "Log.entryAdded":
            self.console.append(event["params"]["entry"]["text"])

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._out], [], [], TIMEOUT)[0]:
                raise TimeoutError(f"Chromium did not answer within {TIMEOUT:.0f} s")
            data = os.read(self._out, 1 << 20)
            if not data:
                raise RuntimeError("Chromium ended by itself")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\0", 1)
        return dict(json.loads(line))
