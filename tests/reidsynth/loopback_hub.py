"""A hub on loopback: as much of the Hub's HTTP interface as its unmodified Python clients use."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Repo:
    """One data set repository; `files` is its main branch, `commits` what each commit named, `refs` tags, branches."""

    private: bool
    gated: str | bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)
    commits: list[dict[str, list[str]]] = field(default_factory=list)
    refs: dict[str, list[str]] = field(default_factory=dict)

    @property
    def sha(self) -> str:
        return hashlib.sha1(str(len(self.commits)).encode()).hexdigest()


@dataclass
class Failure:
    """Answer `times` requests whose "METHOD path" matches with a status, from the `after`-th match on."""

    pattern: str
    status: int
    times: int = 1
    after: int = 0
    headers: dict[str, str] = field(default_factory=dict)


class Hub:
    """State of the hub: repositories, uploaded objects, a log of requests, failures to come."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.log: list[str] = []
        self.failures: list[Failure] = []
        self.created_public = False  # a hub that ignores `private`, as the real one does for existing repositories
        self.lock = threading.Lock()
        self.url = ""

    def uploads(self) -> list[str]:
        """Objects that were sent, in order."""
        return [line.rpartition("/")[2] for line in self.log if line.startswith("PUT /lfs/")]

    def failing(self, line: str) -> Failure | None:
        with self.lock:
            self.log.append(line)
            for failure in self.failures:
                if re.search(failure.pattern, line):
                    if failure.after:
                        failure.after -= 1
                    elif failure.times:
                        failure.times -= 1
                        return failure
        return None


@contextmanager
def serving():
    """Run a hub on a free loopback port for the time of the block."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a body waits 40 ms for the receipt of its headers
    hub: Hub

    def log_message(self, *arguments) -> None:
        """Say nothing on stderr."""

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_HEAD = do_GET  # noqa: N815 - the base class looks methods up by these names

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self._chunks()
        split = urlsplit(self.path)
        path = unquote(split.path)
        failure = self.hub.failing(f"{self.command} {path}")
        if failure is not None:
            self._send(failure.status, {"error": "injected"}, failure.headers)
            return
        for pattern, name in ROUTES:
            found = re.fullmatch(pattern, f"{self.command} {path}")
            if found:
                named = {key: value for key, value in found.groupdict().items() if value is not None}
                getattr(self, name)(body, parse_qs(split.query), **named)
                return
        self._send(404, {"error": f"no route {self.command} {path}"})

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline().strip(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, status: int, value: object = None, headers: dict[str, str] | None = None) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for key, text in (headers or {}).items():
            self.send_header(key, text)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _repo(self, repo: str) -> Repo | None:
        found = self.hub.repos.get(repo)
        if found is None or (found.private and not self.headers.get("Authorization")):
            code = {"X-Error-Code": "RepoNotFound"}
            self._send(404 if self.headers.get("Authorization") else 401, {"error": "Repository not found"}, code)
            return None
        return found

    def whoami(self, body: bytes, query: dict) -> None:
        if self.headers.get("Authorization"):
            self._send(200, {"type": "user", "name": "tester", "orgs": [], "auth": {"type": "access_token"}})
        else:
            self._send(401, {"error": "Invalid credentials"})

    def create(self, body: bytes, query: dict) -> None:
        asked = json.loads(body)
        name = f"{asked.get('organization') or 'tester'}/{asked['name']}"
        if not self.headers.get("Authorization"):
            self._send(401, {"error": "Invalid username or password."})
        elif name in self.hub.repos:
            self._send(
                409, {"error": "You already created this dataset repo", "url": f"{self.hub.url}/datasets/{name}"}
            )
        else:
            private = _private(asked, False) and not self.hub.created_public
            self.hub.repos[name] = Repo(private, files={".gitattributes": b"*.parquet filter=lfs\n"})
            self._send(200, {"url": f"{self.hub.url}/datasets/{name}", "name": name, "id": name})

    def settings(self, body: bytes, query: dict, repo: str) -> None:
        found = self._repo(repo)
        if found is not None:
            asked = json.loads(body)
            found.private = _private(asked, found.private)
            found.gated = asked.get("gated", found.gated)
            self._send(200, {"private": found.private, "gated": found.gated})

    def info(self, body: bytes, query: dict, repo: str, revision: str = "main") -> None:
        found = self._repo(repo)
        if found is not None:
            self._send(
                200,
                {
                    "_id": "1",
                    "id": repo,
                    "author": repo.partition("/")[0],
                    "sha": found.sha,
                    "private": found.private,
                    "gated": found.gated,
                    "disabled": False,
                    "downloads": 0,
                    "likes": 0,
                    "tags": [],
                    "lastModified": "2026-01-01T00:00:00.000Z",
                    "siblings": [{"rfilename": name} for name in sorted(found.files)],
                },
            )

    def yaml(self, body: bytes, query: dict) -> None:
        self._send(200, {"errors": [], "warnings": []})

    def preupload(self, body: bytes, query: dict, repo: str, revision: str) -> None:
        found = self._repo(repo)
        if found is not None:
            modes = [
                {
                    "path": entry["path"],
                    "uploadMode": "lfs" if entry["path"].endswith(".parquet") else "regular",
                    "shouldIgnore": False,
                    "oid": _oid(found, entry["path"]) if entry["path"] in found.files else None,
                }
                for entry in json.loads(body)["files"]
            ]
            self._send(200, {"files": modes})

    def batch(self, body: bytes, query: dict, repo: str) -> None:
        answers = []
        for entry in json.loads(body)["objects"]:
            answer = {"oid": entry["oid"], "size": entry["size"], "authenticated": True}
            if entry["oid"] not in self.hub.objects:
                answer["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{entry['oid']}"}}
            answers.append(answer)
        self._send(200, {"transfer": "basic", "objects": answers})

    def upload(self, body: bytes, query: dict, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            self._send(400, {"error": "checksum"})
            return
        self.hub.objects[oid] = body
        self._send(200, {})

    def commit(self, body: bytes, query: dict, repo: str, revision: str) -> None:
        found = self._repo(repo)
        if found is None:
            return
        named: dict[str, list[str]] = {"added": [], "deleted": []}
        for line in body.splitlines():
            operation = json.loads(line)
            key, value = operation["key"], operation["value"]
            if key == "file":
                found.files[value["path"]] = base64.b64decode(value["content"])
                named["added"].append(value["path"])
            elif key == "lfsFile":
                found.files[value["path"]] = self.hub.objects[value["oid"]]
                found.large.add(value["path"])
                named["added"].append(value["path"])
            elif key == "deletedFile":
                del found.files[value["path"]]
                named["deleted"].append(value["path"])
        found.commits.append(named)
        url = f"{self.hub.url}/datasets/{repo}/commit/{found.sha}"
        self._send(200, {"success": True, "commitOid": found.sha, "commitUrl": url, "hookOutput": ""})

    def tree(self, body: bytes, query: dict, repo: str, revision: str, path: str = "") -> None:
        found = self._repo(repo)
        if found is None:
            return
        prefix = path.strip("/") + "/" if path.strip("/") else ""
        recursive = query.get("recursive", ["false"])[0].lower() in ("true", "1")
        entries: dict[str, dict] = {}
        for name in sorted(found.files):
            if not name.startswith(prefix):
                continue
            parts = name[len(prefix) :].split("/")
            for depth in range(1, len(parts)):
                folder = prefix + "/".join(parts[:depth])
                entries[folder] = {"type": "directory", "oid": "0" * 40, "size": 0, "path": folder}
            entries[name] = _entry(found, name)
        shown = [value for name, value in entries.items() if recursive or "/" not in name[len(prefix) :]]
        if prefix and not entries:
            self._send(404, {"error": "no such folder"}, {"X-Error-Code": "EntryNotFound"})
            return
        self._send(200, shown)

    def paths_info(self, body: bytes, query: dict, repo: str, revision: str) -> None:
        found = self._repo(repo)
        if found is None:
            return
        kind = self.headers.get("Content-Type", "")
        asked = json.loads(body)["paths"] if "json" in kind else parse_qs(body.decode())["paths"]
        answers = []
        for path in [asked] if isinstance(asked, str) else asked:
            if path in found.files:
                answers.append(_entry(found, path))
            elif any(name.startswith(path.rstrip("/") + "/") for name in found.files):
                answers.append({"type": "directory", "oid": "0" * 40, "size": 0, "path": path})
        self._send(200, answers)

    def squash(self, body: bytes, query: dict, repo: str, revision: str) -> None:
        found = self._repo(repo)
        if found is not None:
            found.commits = [{"added": sorted(found.files), "deleted": []}]
            self._send(200, {})

    def refs(self, body: bytes, query: dict, repo: str) -> None:
        found = self._repo(repo)
        if found is not None:
            named = {"branches": ["main", *found.refs.get("branches", [])], "tags": found.refs.get("tags", [])}
            refs = {
                kind: [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": found.sha} for name in names]
                for kind, names in named.items()
            }
            self._send(200, refs | {"converts": []})

    def resolve(self, body: bytes, query: dict, repo: str, revision: str, path: str) -> None:
        found = self._repo(repo)
        if found is None:
            return
        if path not in found.files:
            self._send(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": found.sha})
            return
        data = found.files[path]
        headers = {"ETag": f'"{_etag(found, path)}"', "X-Repo-Commit": found.sha, "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if wanted is None:
            self._send(200, data, headers | {"Content-Length": str(len(data))})
            return
        first, last = int(wanted[1]), min(int(wanted[2] or len(data) - 1), len(data) - 1)
        part = data[first : last + 1]
        span = {"Content-Range": f"bytes {first}-{last}/{len(data)}", "Content-Length": str(len(part))}
        self._send(206, part, headers | span)


def _private(asked: dict, otherwise: bool) -> bool:
    """Clients of 2.x say `visibility`, those of 1.x `private`."""
    if "visibility" in asked:
        return asked["visibility"] == "private"
    return bool(asked.get("private", otherwise))


def _oid(repo: Repo, path: str) -> str:
    data = repo.files[path]
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _etag(repo: Repo, path: str) -> str:
    return hashlib.sha256(repo.files[path]).hexdigest() if path in repo.large else _oid(repo, path)


def _entry(repo: Repo, path: str) -> dict:
    data = repo.files[path]
    entry = {"type": "file", "oid": _oid(repo, path), "size": len(data), "path": path}
    if path in repo.large:
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return entry


_REPO = r"(?P<repo>[^/]+/[^/]+)"
ROUTES = (
    (r"GET /api/whoami-v2", "whoami"),
    (r"POST /api/repos/create", "create"),
    (r"POST /api/validate-yaml", "yaml"),
    (rf"PUT /api/datasets/{_REPO}/settings", "settings"),
    (rf"GET /api/datasets/{_REPO}", "info"),
    (rf"GET /api/datasets/{_REPO}/revision/(?P<revision>[^/]+)", "info"),
    (rf"POST /api/datasets/{_REPO}/preupload/(?P<revision>[^/]+)", "preupload"),
    (rf"POST /datasets/{_REPO}\.git/info/lfs/objects/batch", "batch"),
    (r"PUT /lfs/(?P<oid>\w+)", "upload"),
    (rf"POST /api/datasets/{_REPO}/commit/(?P<revision>[^/]+)", "commit"),
    (rf"GET /api/datasets/{_REPO}/tree/(?P<revision>[^/]+)(?P<path>/.*)?", "tree"),
    (rf"POST /api/datasets/{_REPO}/paths-info/(?P<revision>[^/]+)", "paths_info"),
    (rf"POST /api/datasets/{_REPO}/super-squash/(?P<revision>[^/]+)", "squash"),
    (rf"GET /api/datasets/{_REPO}/refs", "refs"),
    (rf"(?:GET|HEAD) /datasets/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
)
