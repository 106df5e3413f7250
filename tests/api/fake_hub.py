"""A server with the Hugging Face hub's routes for models, on a loopback port, and a second one that stands for its storage (CDN).
Faults are asked for by the test; everything that was asked is recorded."""

import functools
import hashlib
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

LFS_FROM = 1 << 20  # bytes; smaller files lie in git itself


def git_sha1(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class File:
    content: bytes
    lfs: bool = False

    @functools.cached_property
    def etag(self):
        return hashlib.sha256(self.content).hexdigest() if self.lfs else git_sha1(self.content)


@dataclass
class Faults:
    """Each is used up by count unless it says otherwise."""
    statuses: list = field(default_factory=list)  # (path's pattern, status, headers, times)
    cut_after: list = field(default_factory=list)  # bytes of a body after which the connection is closed
    stall_after: list = field(default_factory=list)  # bytes of a body after which nothing comes
    wrong_bytes: int = 0  # answers with a byte changed
    expired: int = 0  # addresses of the storage that are refused
    ignore_range: bool = False
    bytes_a_second: float = 0  # of all connections together; 0: no limit
    bare_listing: bool = False  # a mirror's: neither sizes nor hashes
    listing: object = None  # a text in place of the listing


class Repo:
    def __init__(self, files, branch="main", gated=False, token=None):
        self.files = {name: File(content, name.endswith(".safetensors") or len(content) >= LFS_FROM)
                      for name, content in files.items()}
        self.commit = hashlib.sha1("".join(f"{n}{f.etag}" for n, f in sorted(self.files.items())).encode()).hexdigest()
        self.revisions = {branch: self.commit, self.commit: self.commit}
        self.gated = gated
        self.token = token  # who may read it; None: everybody

    def listing(self, bare):
        siblings = []
        for name, file in self.files.items():
            entry = {"rfilename": name}
            if not bare:
                entry |= {"blobId": git_sha1(file.content), "size": len(file.content)}
                if file.lfs:
                    entry["lfs"] = {"sha256": file.etag, "size": len(file.content), "pointerSize": 135}
            siblings.append(entry)
        return {"id": "x", "sha": self.commit, "gated": "auto" if self.gated else False, "private": False,
                "siblings": siblings, "tags": [], "downloads": 0}

    def tree(self):
        rows = []
        for name, file in self.files.items():
            row = {"type": "file", "path": name, "size": len(file.content), "oid": git_sha1(file.content)}
            if file.lfs:
                row["lfs"] = {"oid": file.etag, "size": len(file.content), "pointerSize": 135}
            rows.append(row)
        return rows


@dataclass
class Asked:
    method: str
    path: str
    headers: dict
    host: str  # "hub" or "cdn"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer()

    def answer(self):
        hub, role = self.server.hub, self.server.role
        path = self.path
        if path.startswith("http://"):  # as a proxy is asked
            path = "/" + path.split("/", 3)[3]
        with hub.lock:
            hub.asked.append(Asked(self.command, self.path, dict(self.headers), role))
            fault = next((f for f in hub.faults.statuses if f[3] > 0 and re.search(f[0], path)), None)
            if fault:
                hub.faults.statuses[hub.faults.statuses.index(fault)] = (*fault[:3], fault[3] - 1)
        try:
            if fault:
                self.reply(fault[1], fault[2])
            elif role == "cdn":
                self.from_storage(path)
            else:
                self.from_hub(path)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def reply(self, status, headers=None, body=b""):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status, code):
        self.reply(status, {"X-Error-Code": code, "X-Error-Message": f"{code} says the server"}, b'{"error": "no"}')

    def from_hub(self, path):
        hub = self.server.hub
        url = urlsplit(path)
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/([^/]+)", url.path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", url.path)
        if not found and not file:
            return self.refuse(404, "NoRoute")
        name = (found or file).group(1)
        if name in hub.renamed:
            return self.reply(307, {"Location": path.replace(name, hub.renamed[name])})
        repo = hub.repos.get(name)
        sent = self.headers.get("Authorization")
        if sent and sent.removeprefix("Bearer ") not in hub.tokens:
            return self.reply(401, {"X-Error-Message": "Invalid credentials in Authorization header"})
        if repo is None or (repo.token and not repo.gated and not sent):
            return self.refuse(404 if sent else 401, "RepoNotFound")
        revision = unquote((found or file).group(3 if found else 2))
        if revision not in repo.revisions:
            return self.refuse(404, "RevisionNotFound")
        if found and found.group(2) == "tree":
            return self.reply(200, {"Content-Type": "application/json"}, json.dumps(repo.tree()).encode())
        if found:
            text = hub.faults.listing
            if text is None:
                text = json.dumps(repo.listing(hub.faults.bare_listing or "blobs" not in parse_qs(url.query)))
            return self.reply(200, {"Content-Type": "application/json"}, text.encode())
        if repo.gated and (not sent or sent.removeprefix("Bearer ") != repo.token):
            return self.refuse(403 if sent else 401, "GatedRepo")
        return self.resolve(repo, unquote(file.group(3)))

    def resolve(self, repo, name):
        file = repo.files.get(name)
        if file is None:
            return self.refuse(404, "EntryNotFound")
        headers = {"X-Repo-Commit": repo.commit, "Accept-Ranges": "bytes"}
        if not file.lfs:
            return self.send_file(file, headers | {"ETag": f'"{file.etag}"'})
        cdn = self.server.hub.cdn
        headers |= {"X-Linked-Size": str(len(file.content)), "X-Linked-Etag": f'"{file.etag}"',
                    "Location": f"{cdn}/storage/{file.etag}?Signature={'a' * 300}"}
        return self.reply(302, headers)

    def from_storage(self, path):
        hub = self.server.hub
        with hub.lock:
            expired = hub.faults.expired > 0
            hub.faults.expired -= expired
        if expired:
            return self.reply(403, {}, b"<Error>expired</Error>")
        etag = urlsplit(path).path.rsplit("/", 1)[1]
        file = next(f for repo in hub.repos.values() for f in repo.files.values() if f.etag == etag)
        return self.send_file(file, {"ETag": '"opaque"'})

    def send_file(self, file, headers):
        hub = self.server.hub
        size = len(file.content)
        begin, end, status = 0, size, 200
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if span and not hub.faults.ignore_range:
            begin, end = int(span[1]), min(int(span[2] or size - 1) + 1, size)
            if begin >= size:
                return self.reply(416, {"Content-Range": f"bytes */{size}"})
            status = 206
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(end - begin))
        self.end_headers()
        if self.command != "HEAD":
            self.send_body(memoryview(file.content)[begin:end])

    def send_body(self, body):
        hub = self.server.hub
        faults = hub.faults
        with hub.lock:
            cut = faults.cut_after.pop() if faults.cut_after else None
            stall = faults.stall_after.pop() if faults.stall_after else None
            wrong = faults.wrong_bytes > 0
            faults.wrong_bytes -= wrong
        if wrong:
            body = bytearray(body)
            body[len(body) // 2] ^= 1
        limit = min(x for x in (cut, stall, len(body)) if x is not None)
        step = 1 << 16 if faults.bytes_a_second else 1 << 20
        for at in range(0, limit, step):
            piece = body[at:min(at + step, limit)]
            if faults.bytes_a_second:
                time.sleep(len(piece) / faults.bytes_a_second)
            self.wfile.write(piece)
            with hub.lock:
                hub.sent += len(piece)
        if limit == len(body):
            return
        if stall is not None:
            hub.closing.wait(20)
        self.close_connection = True
        self.connection.close()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass


class FakeHub:
    def __init__(self):
        self.repos, self.renamed, self.tokens = {}, {}, {"hf_good"}
        self.lock, self.closing = threading.Lock(), threading.Event()
        self.reset()
        self.servers = []
        for role in ("hub", "cdn"):
            server = Server(("127.0.0.1", 0), Handler)
            server.hub, server.role = self, role
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            self.servers.append(server)
        self.url = f"http://127.0.0.1:{self.servers[0].server_port}"
        self.cdn = f"http://localhost:{self.servers[1].server_port}"

    def reset(self):
        self.faults, self.asked, self.sent = Faults(), [], 0

    def close(self):
        self.closing.set()
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def bodies(self):
        """Requests for bytes of files."""
        return [a for a in self.asked if a.method == "GET" and ("/storage/" in a.path or "/resolve/" in a.path)]
