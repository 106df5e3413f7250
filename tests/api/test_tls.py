"""HTTPS with --ssl-*: curl, openai's client, and what a client may do wrong."""

import shutil
import socket
import ssl
import subprocess
import time

import httpx
import pytest
from conftest import BINARY, serve
from openai import OpenAI

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")
BODY = {"prompt": "San Francisco is a", "max_tokens": 30, "temperature": 0, "ignore_eos": True}


def openssl(*arguments, folder):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


def make_certificate(folder, name, issuer=None, common_name="localhost"):
    """NAME.pem and NAME.key, signed by ISSUER or by itself."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key"]
    names = ["-subj", f"/CN={common_name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    signer = ["-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key"] if issuer else []
    openssl("req", "-x509", *key, *names, *signer, "-days", "2", "-out", f"{name}.pem", folder=folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("tls")
    make_certificate(made, "server")
    make_certificate(made, "other")
    make_certificate(made, "client", common_name="client")
    return made


@pytest.fixture(scope="module")
def secure(folder):
    with serve(folder / "log", "--served-model-name", "scout", "--ssl-certfile", str(folder / "server.pem"),
               "--ssl-keyfile", str(folder / "server.key"), "--request-timeout", "2") as running:
        assert "https://127.0.0.1" in running.log.read_text()
        yield running
        assert running.process.poll() is None


def client_of(folder, **settings):
    return httpx.Client(verify=ssl.create_default_context(cafile=str(folder / "server.pem")), timeout=60, **settings)


def post(client, server, body=None):
    return client.post(f"https://127.0.0.1:{server.port}/v1/completions", json=body or BODY)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
@pytest.mark.parametrize("extra", [[], ["--http1.0"], ["-H", "Connection: close"], ["--tlsv1.2", "--tls-max", "1.2"]], ids=str)
def test_curl_is_served_over_https(secure, folder, extra):
    done = subprocess.run(["curl", "-sS", *extra, "--cacert", str(folder / "server.pem"),
                           f"https://localhost:{secure.port}/v1/models"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert '"id":"scout"' in done.stdout


@pytest.mark.parametrize("stream", [False, True])
def test_openais_client_is_served_over_https(secure, folder, stream):
    with client_of(folder) as http:
        client = OpenAI(base_url=f"https://127.0.0.1:{secure.port}/v1", api_key="EMPTY", http_client=http)
        settings = {"model": "scout", "prompt": BODY["prompt"], "max_tokens": 30, "temperature": 0}
        whole = client.completions.create(**settings).choices[0].text
        if stream:
            assert "".join(c.choices[0].text for c in client.completions.create(**settings, stream=True)) == whole


def test_bodies_of_many_records_go_both_ways(secure, folder):
    with client_of(folder) as client:
        big = {"prompt": "a " * 700, "user": "x" * 3_000_000, "max_tokens": 1, "echo": True, "logprobs": 5}
        reply = post(client, secure, big)
        assert reply.status_code == 200 and len(reply.content) > 100_000


def test_plain_http_to_the_tls_port_harms_nobody(secure, folder):
    for noise in (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\x00" * 400, b"\x00"):
        with socket.create_connection(("127.0.0.1", secure.port), timeout=20) as plain:
            plain.sendall(noise)
            while plain.recv(4096):
                pass  # an alert, then the end
    with client_of(folder) as client:
        assert post(client, secure).status_code == 200


def test_a_silent_client_is_cut_off_in_the_handshake(secure):
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", secure.port), timeout=20) as silent:
        assert silent.recv(1) == b""
    assert 1 < time.monotonic() - start < 15


def test_old_tls_is_refused(secure):
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{secure.port}", "-tls1_1", "-cipher",
                           "DEFAULT@SECLEVEL=0"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "alert protocol version" in done.stderr, done.stderr


def test_a_disconnect_frees_the_engine(secure, folder):
    def wait_for_running(count):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            lines = observer.get(f"https://127.0.0.1:{secure.port}/metrics").text.splitlines()
            if sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("vllm:num_requests_running{")) == count:
                return
            time.sleep(0.02)
        raise AssertionError(f"not {count} running")

    with client_of(folder) as observer, client_of(folder) as client:
        body = {**BODY, "max_tokens": 15000, "stream": True}
        with client.stream("POST", f"https://127.0.0.1:{secure.port}/v1/completions", json=body) as reply:
            events = reply.iter_lines()  # dropped, it would end the reply
            next(events)
            wait_for_running(1)
        wait_for_running(0)


def test_client_certificates_are_required_where_asked_for(folder):
    with serve(folder / "log2", "--ssl-certfile", str(folder / "server.pem"), "--ssl-keyfile", str(folder / "server.key"),
               "--ssl-ca-certs", str(folder / "client.pem"), "--ssl-cert-reqs", "2") as strict:
        with client_of(folder) as client, pytest.raises(httpx.TransportError):
            post(client, strict)
        context = ssl.create_default_context(cafile=str(folder / "server.pem"))
        context.load_cert_chain(folder / "client.pem", folder / "client.key")
        with httpx.Client(verify=context, timeout=60) as client:
            assert post(client, strict).status_code == 200
        context.load_cert_chain(folder / "other.pem", folder / "other.key")
        with httpx.Client(verify=context, timeout=60) as client, pytest.raises(httpx.TransportError):
            post(client, strict)


def test_a_changed_certificate_is_taken_up(folder, tmp_path):
    for kind in ("pem", "key"):
        shutil.copy(folder / f"server.{kind}", tmp_path / f"live.{kind}")
    with serve(tmp_path / "log", "--ssl-certfile", str(tmp_path / "live.pem"), "--ssl-keyfile",
               str(tmp_path / "live.key"), "--enable-ssl-refresh") as running:
        with client_of(folder) as client:
            assert post(client, running).status_code == 200
        (tmp_path / "live.pem").write_text("broken")
        time.sleep(1.5)
        with client_of(folder) as client:  # the old one stays in use
            assert post(client, running).status_code == 200
        for kind in ("key", "pem"):
            shutil.copy(folder / f"other.{kind}", tmp_path / f"live.{kind}")
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            shown = ssl.get_server_certificate(("127.0.0.1", running.port))
            if shown.split() == (folder / "other.pem").read_text().split():
                break
            time.sleep(0.2)
        assert shown.split() == (folder / "other.pem").read_text().split()


@pytest.mark.parametrize("flags, message", [
    (["--ssl-certfile", "no-such.pem"], "--ssl-certfile"),
    (["--ssl-keyfile", "KEY"], "--ssl-certfile"),
    (["--ssl-certfile", "CERT"], "--ssl-keyfile"),
    (["--ssl-certfile", "CERT", "--ssl-keyfile", "OTHER"], "--ssl-keyfile"),
    (["--ssl-certfile", "CERT", "--ssl-keyfile", "KEY", "--ssl-cert-reqs", "2"], "--ssl-ca-certs"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else value)
def test_wrong_files_end_the_start_with_one_line(folder, flags, message):
    files = {"CERT": "server.pem", "KEY": "server.key", "OTHER": "other.key"}
    done = subprocess.run([BINARY, "serve", "--port", "0", *(str(folder / files[f]) if f in files else f for f in flags)],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode in (1, 2)
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
