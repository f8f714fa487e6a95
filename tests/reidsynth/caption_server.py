"""An OpenAI-compatible service on loopback: chat, files and batches, with the faults that real ones have.

It answers from the pixels' checksum alone, so that any run that asks everything gets the same table, and notes what it
bills. Run as a program it serves until it is killed: `python caption_server.py STATE_FOLDER`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import threading
import time
from collections import Counter, deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

GARMENTS = ("coat", "shirt", "sweater", "jacket", "hoodie", "blouse")
COLOURS = ("red", "blue", "green", "black", "white", "grey", "yellow", "brown")
PROMPT_TOKENS, ANSWER_TOKENS = 1000, 200


def image_of(body: dict) -> bytes:
    parts = body["messages"][0]["content"]
    url = next(part["image_url"]["url"] for part in parts if part["type"] == "image_url")
    return base64.b64decode(url.partition("base64,")[2])


def answer_for(image: bytes) -> dict:
    """A good answer that depends on the image alone."""
    digest = hashlib.sha256(image).digest()
    upper, lower = COLOURS[digest[0] % 8], COLOURS[digest[1] % 8]
    kind, number = GARMENTS[digest[2] % 6], digest.hex()[:6]
    spelt = " ".join("abcdefghijklmnop"[int(letter, 16)] * 2 for letter in number)
    regions = {
        "person": {"visible": True, "gender": "woman" if digest[3] % 2 else "male", "build": "unknown"},
        "hair": {"visible": bool(digest[4] % 2), "hair_colour": "Black", "hair_length": "short"},
        "headwear": {"visible": True, "headwear": "none", "headwear_colour": None, "glasses": None},
        "upper": {"visible": True, "upper_type": kind, "upper_colour": upper, "upper_pattern": "plain"},
        "lower": {"visible": True, "lower_type": "trousers", "lower_colour": lower},
        "shoes": {"visible": False, "shoes_type": "sneakers", "shoes_colour": "white"},
        "carried": {"visible": True, "bag": "none", "bag_colour": None},
    }
    noun = "woman" if digest[3] % 2 else "man"
    captions = {
        "descriptive": f"A {noun} wears a {upper} {kind} and {lower} trousers. The fabric says {spelt} in small print.",
        "concise": f"A {noun} in a {upper} {kind} with {lower} trousers walks past, label {spelt}.",
    }
    return {"regions": regions, "captions": captions, "short": f"A {noun} in a {upper} {kind} and {lower} trousers."}


def completion(content: str, **changes) -> dict:
    message = {"role": "assistant", "content": content, "refusal": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "test-model-1",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message, "logprobs": None} | changes],
        "usage": {
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": ANSWER_TOKENS,
            "total_tokens": PROMPT_TOKENS + ANSWER_TOKENS,
        },
    }


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address) -> None:
        """Connections that a killed client left break off; that is what is tested."""


class CaptionServer:
    """Serves on a free port of 127.0.0.1.

    Args:
        idempotent: whether a repeated Idempotency-Key gets the answer that it was billed for before.
        delay: seconds before each answer.
    """

    def __init__(self, idempotent: bool = True, delay: float = 0.0) -> None:
        self.idempotent, self.delay = idempotent, delay
        self.faults: deque = deque()
        """What the next requests get instead of an answer: a callable (handler, body) each."""
        self.look_faults: deque = deque()
        """The same for looks at batches."""
        self.billed: Counter[str] = Counter()
        """sha256 of an image -> answers billed for it."""
        self.replayed = 0
        self.bodies: list[dict] = []
        self.times: list[float] = []
        self.at_once = self.most_at_once = 0
        self.answers: dict[str, dict] = {}
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict] = {}
        self.plan = lambda batch, lines: ("completed", lines, [])
        """What becomes of a batch: status, lines answered, lines that failed."""
        self.polls_before_end = 1
        self.lock = threading.Lock()
        self.server = QuietServer(("127.0.0.1", 0), handler_for(self))
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def __enter__(self) -> CaptionServer:
        self.thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def bill(self, image: bytes) -> None:
        self.billed[hashlib.sha256(image).hexdigest()] += 1


def handler_for(state: CaptionServer) -> type[Handler]:
    return type("BoundHandler", (Handler,), {"state": state})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a body waits 40 ms for the receipt of its headers
    state: CaptionServer

    def log_message(self, *arguments) -> None:
        pass

    def send(self, value: dict | bytes, status: int = 200, **headers: str) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(data)

    def fail(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        error = {"message": message, "type": "error", "code": code, "param": None}
        self.send({"error": error}, status, **headers)

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/chat/completions"):
            self.chat(json.loads(data))
        elif self.path.endswith("/files"):
            self.send(self.new_file(data))
        else:
            self.new_batch(json.loads(data))

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].split("/")
        if path[-1] == "batches":
            listed = [public(batch) for batch in reversed(self.state.batches.values())]
            self.send({"object": "list", "data": listed, "has_more": False})
        elif path[-2] == "batches":
            fault = self.state.look_faults.popleft() if self.state.look_faults else None
            if fault is None or fault(self, {}) is False:
                self.send(public(self.look(path[-1])))
        else:
            self.send(self.state.files[path[-2]])

    def chat(self, body: dict) -> None:
        state = self.state
        with state.lock:
            state.bodies.append(body)
            state.times.append(time.monotonic())
            state.at_once += 1
            state.most_at_once = max(state.most_at_once, state.at_once)
            fault = state.faults.popleft() if state.faults else None
        try:
            if fault is not None and fault(self, body) is not False:
                return
            if state.delay:
                time.sleep(state.delay)
            answer = self.answer(body)
        finally:
            state.at_once -= 1
        self.send(answer)

    def answer(self, body: dict) -> dict:
        key = self.headers.get("Idempotency-Key", "")
        with self.state.lock:
            known = self.state.answers.get(key) if self.state.idempotent else None
            if known is not None:
                self.state.replayed += 1
                return known
            image = image_of(body)
            self.state.bill(image)
            return self.state.answers.setdefault(key, completion(json.dumps(answer_for(image))))

    def new_file(self, data: bytes) -> dict:
        border = data.split(b"\r\n", 1)[0]
        part = next(piece for piece in data.split(border) if b"filename=" in piece)
        name = f"file-{len(self.state.files)}"
        self.state.files[name] = part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        about = {"object": "file", "bytes": len(data), "created_at": 1, "filename": "x", "purpose": "batch"}
        return about | {"id": name, "status": "processed"}

    def new_batch(self, body: dict) -> None:
        name = f"batch-{len(self.state.batches)}"
        lines = [json.loads(line) for line in self.state.files[body["input_file_id"]].splitlines()]
        self.state.batches[name] = body | {"id": name, "lines": lines, "polls": 0, "status": "in_progress"}
        fault = self.state.faults.popleft() if self.state.faults else None
        if fault is None or fault(self, body) is False:
            self.send(public(self.state.batches[name]))

    def look(self, name: str) -> dict:
        batch = self.state.batches[name]
        batch["polls"] += 1
        if batch["status"] != "in_progress" or batch["polls"] < self.state.polls_before_end:
            return batch
        batch["status"], answered, failed = self.state.plan(batch, batch["lines"])
        results = []
        for line in answered:
            image = image_of(line["body"])
            self.state.bill(image)
            body = completion(json.dumps(answer_for(image)))
            results.append({"custom_id": line["custom_id"], "response": {"status_code": 200, "body": body}})
        late = {"code": "batch_expired", "message": "This request could not be executed before the batch expired."}
        errors = [{"custom_id": line["custom_id"], "response": None, "error": late} for line in failed]
        for kind, rows in (("output", results), ("error", errors)):
            file = f"{name}-{kind}"
            self.state.files[file] = b"\n".join(json.dumps(row).encode() for row in reversed(rows))
            batch[f"{kind}_file_id"] = file if rows else None
        return batch


def public(batch: dict) -> dict:
    """A batch as the service tells it."""
    kept = ("id", "input_file_id", "status", "metadata", "output_file_id", "error_file_id")
    about = {"object": "batch", "endpoint": "/v1/chat/completions", "completion_window": "24h", "created_at": 1}
    return about | {name: batch.get(name) for name in kept}


def main(folder: Path) -> None:
    """Serve until killed; bills go into files, one for each image and bill, that outlive the program."""
    with CaptionServer(delay=0.02) as server:
        bill = server.bill

        def written(image: bytes) -> None:
            bill(image)
            digest = hashlib.sha256(image).hexdigest()
            (folder / f"{digest}-{server.billed[digest]}").write_bytes(b"")

        server.bill = written
        (folder / "url").write_text(server.url)
        while True:
            time.sleep(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
