"""The part of the Hub's HTTP API that pushing and loading a model needs, for tests.

Repositories lie in memory: a list of commits, each a map from paths to bytes. Every file is
uploaded as a ``regular`` one, in the commit itself.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"
REST = r"(?P<rev>[^/?]+)/(?P<path>.+)"


def blob_id(data: bytes) -> str:
    """Git's name for a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Hub:
    """The repositories, and every request that came in."""

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, list[tuple[str, dict[str, bytes]]]]] = {}
        self.requests: list[tuple[str, str]] = []
        self.messages: list[str] = []

    def create(self, repo: str) -> bool:
        """Make a repository with an empty first commit; whether it is new."""
        if repo in self.repos:
            return False
        self.repos[repo] = {"main": [(hashlib.sha1(repo.encode()).hexdigest(), {})]}
        return True

    def commit(self, repo: str, branch: str, summary: str, files: dict[str, bytes]) -> str:
        """Add files to the newest commit of a branch; its name."""
        commits = self.repos[repo][branch]
        oid = hashlib.sha1(f"{repo} {branch} {len(commits)}".encode()).hexdigest()
        commits.append((oid, {**commits[-1][1], **files}))
        self.messages.append(summary)
        return oid

    def at(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Name and files of a commit, by branch or by name."""
        branches = self.repos[repo]
        if revision in branches:
            return branches[revision][-1]
        every = [commit for commits in branches.values() for commit in commits]
        return next((commit for commit in every if commit[0] == revision), None)

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        """The files of a commit."""
        found = self.at(repo, revision)
        assert found is not None
        return found[1]


class Refused(Exception):
    """An answer with an error status, and the Hub's code for it."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        """Be quiet."""

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_GET

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            for method, pattern, action in ROUTES:
                found = re.fullmatch(pattern, path)
                if found and self.command in method:
                    action(self, body=body, **found.groupdict())
                    return
            raise Refused(404, "NoSuchRoute")
        except Refused as error:
            self._send(error.status, {"error": error.code}, {"X-Error-Code": error.code})

    def _send(self, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _commit(self, repo: str, rev: str) -> tuple[str, dict[str, bytes]]:
        if repo not in self.hub.repos:
            raise Refused(404, "RepoNotFound")
        found = self.hub.at(repo, rev)
        if found is None:
            raise Refused(404, "RevisionNotFound")
        return found

    def whoami(self, body: bytes) -> None:
        self._send(200, {"name": "someone", "type": "user", "orgs": []})

    def create(self, body: bytes) -> None:
        wanted = json.loads(body)
        if "Authorization" not in self.headers:
            raise Refused(401, "Unauthorized")
        repo = f"{wanted.get('organization') or 'someone'}/{wanted['name']}"
        host = f"http://{self.headers['Host']}"
        status = 200 if self.hub.create(repo) else 409
        self._send(status, {"url": f"{host}/{repo}", "name": repo})

    def validate(self, body: bytes) -> None:
        assert json.loads(body)["content"].startswith("---\n")
        self._send(200, {"errors": [], "warnings": []})

    def branch(self, repo: str, rev: str, body: bytes) -> None:
        self.hub.repos[repo].setdefault(rev, list(self.hub.repos[repo]["main"]))
        self._send(200, {})

    def preupload(self, repo: str, rev: str, body: bytes) -> None:
        _, files = self._commit(repo, rev)
        answers = [
            {
                "path": file["path"],
                "uploadMode": "regular",
                "shouldIgnore": False,
                "oid": blob_id(files[file["path"]]) if file["path"] in files else None,
            }
            for file in json.loads(body)["files"]
        ]
        self._send(200, {"files": answers})

    def commit(self, repo: str, rev: str, body: bytes) -> None:
        self._commit(repo, rev)
        lines = [json.loads(line) for line in body.splitlines()]
        head = next(line["value"] for line in lines if line["key"] == "header")
        files = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"])
            for line in lines
            if line["key"] == "file"
        }
        oid = self.hub.commit(repo, rev, head["summary"], files)
        url = f"http://{self.headers['Host']}/{repo}/commit/{oid}"
        self._send(200, {"success": True, "commitOid": oid, "commitUrl": url})

    def info(self, repo: str, body: bytes, rev: str | None = None) -> None:
        oid, files = self._commit(repo, rev or "main")
        siblings = [{"rfilename": name} for name in sorted(files)]
        about = {"id": repo, "modelId": repo, "sha": oid, "private": False, "tags": []}
        self._send(200, {**about, "siblings": siblings})

    def tree(self, repo: str, rev: str, body: bytes, path: str | None) -> None:
        oid, files = self._commit(repo, rev)
        under = (path or "").strip("/")
        inside = [name for name in sorted(files) if name.startswith(under)]
        if under and not inside:
            raise Refused(404, "EntryNotFound")
        rows = [
            {
                "type": "file",
                "path": name,
                "size": len(files[name]),
                "oid": blob_id(files[name]),
            }
            for name in inside
        ]
        self._send(200, rows, {"X-Repo-Commit": oid})

    def resolve(self, repo: str, rev: str, path: str, body: bytes) -> None:
        oid, files = self._commit(repo, rev)
        if path not in files:
            raise Refused(404, "EntryNotFound")
        headers = {"ETag": f'"{blob_id(files[path])}"', "X-Repo-Commit": oid}
        self._send(200, files[path], headers)


API = f"/api/models/{REPO}"
ROUTES = [
    ("GET", "/api/whoami-v2", Handler.whoami),
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.validate),
    ("POST", f"{API}/branch/(?P<rev>[^/]+)", Handler.branch),
    ("POST", f"{API}/preupload/(?P<rev>[^/]+)", Handler.preupload),
    ("POST", f"{API}/commit/(?P<rev>[^/]+)", Handler.commit),
    ("GET", API, Handler.info),
    ("GET", f"{API}/revision/(?P<rev>[^/]+)", Handler.info),
    ("GET", f"{API}/tree/(?P<rev>[^/]+)(?P<path>/.*)?", Handler.tree),
    ("GET HEAD", f"/{REPO}/resolve/{REST}", Handler.resolve),
]


@contextmanager
def serve():
    """Run a Hub on a free port; yields its address and the :class:`Hub`."""
    hub = Hub()
    handler = type("BoundHandler", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
