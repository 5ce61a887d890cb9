"""Capture of all data that a browser receives while a study is rated, and search for leaks in it."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Page, Response, WebSocket

# Give a verdict by its key, not sooner than a person could; return the milliseconds to the next painted card.
PRESS = """
async (key) => {
  const find = (root) => {
    for (const e of root.querySelectorAll('*')) {
      const found = e.matches('.rating') ? e : e.shadowRoot && find(e.shadowRoot);
      if (found) return found;
    }
  };
  const section = find(document);
  const count = section.querySelector('.count');
  await new Promise((done) => setTimeout(done, 450));
  const shown = () => count.textContent + section.dataset.phase;
  const before = shown();
  const start = performance.now();
  document.body.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, composed: true }));
  for (;;) {
    await new Promise((done) => requestAnimationFrame(done));
    if (shown() !== before) break;
    if (performance.now() - start > 30000) throw new Error('no next card');
  }
  await new Promise((done) => requestAnimationFrame(done));
  return performance.now() - start;
}
"""

STRUCTURED = re.compile(
    rb"\b(?:layer|neuron|side)s?[\"']?\s*[:= ]\s*[\"']?\d"
    rb"|[\"'](?:model|hook|kind|expected|source|document)[\"']\s*:"
)
"""Pattern of structured data that would identify a neuron."""


@dataclass(frozen=True)
class Received:
    """One piece of data that the browser received."""

    kind: str
    """`body`, `headers`, `address`, `frame`, `page` or `title`."""
    where: str
    data: bytes


class Capture:
    """Recorder of what a page receives, from before its first request."""

    def __init__(self, page: Page) -> None:
        self.received: list[Received] = []
        self.exchanges: list[dict[str, Any]] = []
        self._page = page
        self._responses: list[Response] = []
        self._n_frames = self._frame_bytes = 0
        page.on("response", lambda response: self._responses.append(response))
        page.on("websocket", self._listen)
        page.on("console", lambda said: self._keep("console", "console", said.text.encode()))

    def rate_all(self, address: str) -> None:
        """Rate all cards with alternating verdicts, and keep each card with what was received with it."""
        with self._page.expect_response("**/api/rating") as first:
            self._page.goto(address)
        self._page.locator(".go:visible").wait_for()
        self._page.keyboard.press("Enter")
        answer, painted = first.value, 0.0
        while (body := json.loads(answer.body()))["card"] is not None:
            self._exchange(answer, body, painted)
            with self._page.expect_response("**/api/rating") as following:
                painted = self._page.evaluate(PRESS, "in"[len(self.exchanges) % 2])
            answer = following.value
        self._page.get_by_text("All rated, thank you").wait_for()
        self._collect()

    def _exchange(self, answer: Response, body: dict[str, Any], painted: float) -> None:
        answer.finished()
        timing, raw = answer.request.timing, answer.body()
        headers = answer.headers_array()
        self.exchanges.append(
            {
                "number": len(self.exchanges),
                "card": body["card"],
                "status": answer.status,
                "body_bytes": len(raw),
                "head_bytes": raw.index(b'"card"'),
                "header_bytes": sum(len(h["name"]) + len(h["value"]) for h in headers),
                "n_headers": len(headers),
                "ms_to_first_byte": timing["responseStart"] - timing["requestStart"],
                "ms_to_last_byte": timing["responseEnd"] - timing["requestStart"],
                "ms_to_paint": painted,
                "n_frames": self._n_frames,
                "frame_bytes": self._frame_bytes,
                "n_requests": len(self._responses),
            }
        )
        self._n_frames = self._frame_bytes = 0
        self._collect()

    def _collect(self) -> None:
        """Collect all responses since the last call, and the current page."""
        for response in self._responses:
            response.finished()
            headers = "\n".join(f"{h['name']}: {h['value']}" for h in response.headers_array())
            self._keep("address", response.url, response.url.encode())
            self._keep("headers", response.url, headers.encode())
            self._keep("body", response.url, response.body())
        self._responses.clear()
        self._keep("address", "page", self._page.url.encode())
        self._keep("title", "page", self._page.title().encode())
        self._keep("page", "page", self._page.locator("html").evaluate(WHOLE).encode())

    def _listen(self, socket: WebSocket) -> None:
        self._keep("address", "websocket", socket.url.encode())
        socket.on("framereceived", self._frame)

    def _frame(self, payload: str | bytes) -> None:
        data = payload.encode() if isinstance(payload, str) else payload
        self._n_frames += 1
        self._frame_bytes += len(data)
        self._keep("frame", "websocket", data)

    def _keep(self, kind: str, where: str, data: bytes) -> None:
        self.received.append(Received(kind, where, data))


# The page with what is in shadow roots, as text.
WHOLE = """
(root) => {
  const inside = (e) => (e.shadowRoot ? e.shadowRoot.innerHTML + all(e.shadowRoot) : '');
  const all = (node) => [...node.querySelectorAll('*')].map(inside).join('');
  return root.outerHTML + all(root);
}
"""


def leaks(received: Iterable[Received], secrets: Iterable[str]) -> list[str]:
    """Return the places where data was received that identifies a model.

    Structured data is not searched for in the snippets' texts, which may look like it, nor in scripts and
    style sheets, which are the same for every model.

    Args:
        secrets: names, hashes, paths and origins, searched in every byte, ignoring case.
    """
    needles = [s.encode().lower() for s in secrets]
    found = []
    for thing in received:
        data = thing.data.lower()
        found += [f"{thing.kind} of {thing.where}: {n.decode()}" for n in needles if n in data]
        if thing.where.endswith("/api/rating") and thing.kind == "body":
            answer = json.loads(thing.data)
            for snippet in (answer["card"] or {"snippets": []})["snippets"]:
                del snippet["t"]
            data = json.dumps(answer).encode()
        elif thing.kind in ("page", "body") or (thing.kind == "frame" and len(data) > 20_000):
            continue
        found += [f"{thing.kind} of {thing.where}: {m[0]!r}" for m in STRUCTURED.finditer(data)]
    return found
