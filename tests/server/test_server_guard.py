import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from served import served, until
from toys import toy


@pytest.fixture(scope="module")
def small():
    with served(toy(), queue=3, max_mb=0.01, timeout=1.0) as server:
        yield server


@pytest.fixture(scope="module")
def locked():
    with served(toy(), token="sésame") as server:
        yield server


@pytest.mark.parametrize("given", [None, "", "sésame", "Bearer", "Bearer sesame", "Basic sésame", "Bearer sésame2"])
def test_without_the_token_nothing_is_drawn_or_told(locked, given):
    headers = {} if given is None else {"authorization": given.encode()}
    for answer in (locked.client.post("/generate", json={}, headers=headers), locked.client.get("/metrics")):
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert "Authorization: Bearer" in answer.json()["detail"]


def test_with_the_token_whatever_name_leads_here(locked):
    headers = {"authorization": "bearer sésame".encode(), "host": "pictures.example", "origin": "http://any.example"}
    assert locked.client.post("/generate", json={}, headers=headers).status_code == 200
    for path in ("/healthz", "/docs", "/openapi.json"):
        assert locked.client.get(path).status_code == 200
    assert "securitySchemes" in locked.client.get("/openapi.json").json()["components"]


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "http://evil.example"}, {"origin": "null"}])
def test_without_a_token_no_other_page_may_ask(small, headers):
    assert small.client.post("/generate", json={}, headers=headers).status_code == 403


def test_large_bodies_are_refused_told_or_not(small):
    told = small.client.post("/generate", content=b" " * 10_001, headers={"content-type": "application/json"})
    untold = small.client.post(
        "/generate", content=iter([b" " * 5000] * 3), headers={"content-type": "application/json"}
    )
    for answer in (told, untold):
        assert (answer.status_code, answer.json()["detail"]) == (413, "the body is above 0.01 MB")
    assert small.generate(n=1).status_code == 200


def test_beyond_the_queue_one_is_told_to_ask_again(small):
    with ThreadPoolExecutor(3) as pool, small.held():
        under_way = [pool.submit(small.generate, n=1) for _ in range(3)]
        until(lambda: small.figure("ganvas_queue_requests") == 3)
        refused = small.generate(n=1)
        assert small.client.get("/healthz").status_code == 200
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert [one.result().status_code for one in under_way] == [200] * 3
    assert small.generate(n=1).status_code == 200


def test_what_takes_too_long_ends_and_is_not_drawn(small):
    with small.held():
        begin = time.monotonic()
        slow = small.generate(n=5)
        assert 0.9 < time.monotonic() - begin < 5
    assert (slow.status_code, slow.json()["detail"][:18]) == (504, "not done after 1 s")
    until(lambda: small.figure("ganvas_queue_pictures") == 0)
    before = small.figure("ganvas_pictures_total")
    assert small.generate(n=1).status_code == 200
    assert small.figure("ganvas_pictures_total") == before + 1


def raw(server, text: bytes) -> socket.socket:
    url = httpx.URL(server.client.base_url)
    connection = socket.create_connection((url.host, url.port), 10)
    connection.sendall(text.replace(b"HOST", f"{url.host}:{url.port}".encode()))
    return connection


HEAD = b"POST /generate HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\nContent-Length: "


def test_a_request_that_never_ends_does(small):
    with raw(small, HEAD + b"20\r\n\r\n{") as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")
    until(lambda: small.figure("ganvas_queue_requests") == 0)


def test_for_who_went_away_nothing_is_drawn(small):
    before = small.figure("ganvas_pictures_total")
    with small.held():
        with raw(small, HEAD + b'8\r\n\r\n{"n": 9}'):
            until(lambda: small.figure("ganvas_queue_pictures") == 9)
        until(lambda: small.figure("ganvas_queue_requests") == 0)
        assert small.figure('ganvas_requests_total{route="/generate",status="499"}') == 1
    until(lambda: small.figure("ganvas_queue_pictures") == 0)
    assert small.figure("ganvas_pictures_total") == before


def test_garbage_is_refused_and_others_are_served(small):
    for text in (b"\0" * 100, b"GET / HTTP/9\r\n\r\n", b"POST /generate HTTP/1.1\r\nContent-Length: -5\r\n\r\n"):
        with raw(small, text) as connection:
            assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")
    with raw(small, b"GET /" + b"x" * 100_000):
        assert small.generate(n=1).status_code == 200


def test_many_at_once_are_all_answered(small):
    statuses = list[int]()

    def ask() -> None:
        with httpx.Client(base_url=small.client.base_url, timeout=30) as client:
            while (status := client.post("/generate", json={"n": 3}).status_code) == 503:
                time.sleep(0.05)
            statuses.append(status)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 16
