"""What is said of an address where no usable cluster answers; real servers, none of them Ray."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import ray

from ddp_sweep.cluster.submission import jobs
from ddp_sweep.cluster.submission.jobs import ClusterJobs
from ddp_sweep.errors import AddressError, ClusterRefusedError


@contextmanager
def server(status: int, body: str) -> Iterator[tuple[str, list[str | None]]]:
    """Answers every request alike, and notes the token of each."""
    tokens: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            tokens.append(self.headers.get("Authorization"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}", tokens
        finally:
            listening.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def _no_cluster_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("address", ["ray://head:10001", "auto", "grpc://x", "http://", ""])
def test_addresses_of_another_kind_are_refused_without_asking_anyone(address: str) -> None:
    with pytest.raises(AddressError, match="allowed: http://HOST:8265"):
        ClusterJobs(address)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, json.dumps({"ray_version": "2.40.0"}), r"runs Ray 2\.40\.0, and here is Ray 2\."),
        (404, "not found", "no Ray dashboard answers"),
        (200, "<html>a router</html>", "no Ray dashboard answers"),
        (200, "[]", "no Ray dashboard answers"),
        (401, "", "asks for its token"),
        (403, "", "asks for its token"),
    ],
)
def test_what_is_no_usable_dashboard_is_named(status: int, body: str, words: str) -> None:
    with server(status, body) as (address, _), pytest.raises(ClusterRefusedError) as refused:
        ClusterJobs(address)

    assert refused.match(words)
    assert refused.value.exit_code == 3
    assert address in str(refused.value)


def test_a_port_where_nobody_or_nothing_of_http_answers_is_explained() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(ClusterRefusedError, match="Connection refused") as refused:
            ClusterJobs(address)

    assert "allowed: the address of the dashboard" in str(refused.value)
    assert "port 6379" in str(refused.value)


def test_the_token_is_sent_and_ray_address_does_not_lead_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123abcd")
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    other = json.dumps({"ray_version": "2.40.0"})
    with server(200, other) as (address, tokens), pytest.raises(ClusterRefusedError):
        ClusterJobs(address)

    assert tokens == ["Bearer 0123abcd"]


def test_a_cluster_that_takes_a_request_and_never_answers_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with server(200, json.dumps({"ray_version": ray.__version__})) as (address, _):
        cluster = ClusterJobs(address)
    monkeypatch.setattr(jobs, "_ANSWER_TIMEOUT_S", 0.05)
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        silent.bind(("127.0.0.1", int(address.rpartition(":")[2])))
        silent.listen()
        with pytest.raises(ClusterRefusedError, match="timed out"):
            cluster.get("j")
