import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest
from served import address, command, until
from toys import save

from ganvas import cli
from ganvas.errors import UserError
from ganvas.server.app import serve


@pytest.fixture
def model(tmp_path):
    return save(tmp_path / "model.safetensors", "cat", "dog")


@pytest.fixture(autouse=True)
def no_token(monkeypatch):
    monkeypatch.delenv("GANVAS_TOKEN", raising=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"host": "0.0.0.0"}, "others can reach 0.0.0.0; say --token, too"),
        ({"host": "::"}, "others can reach ::"),
        ({"host": "pictures.example"}, "others can reach"),
        ({"host": "192.0.2.1", "token": "x"}, "cannot serve at 192.0.2.1:8000"),
        ({"token": ""}, "the token is empty"),
        ({"port": 65536}, "--port 65536"),
        ({"port": -1}, "--port -1"),
        ({"queue": 0}, "--queue 0"),
        ({"max_n": 0}, "--max-n 0"),
        ({"max_pixels": 0}, "--max-pixels 0"),
        ({"max_mb": 0.0}, "--max-mb 0"),
        ({"timeout": float("nan")}, "--timeout nan"),
        ({"port": 0, "run": "nowhere"}, "there is no run or model nowhere"),
    ],
    ids=str,
)
def test_what_cannot_be_served_is_refused_in_a_sentence(model, options, words):
    with pytest.raises(UserError) as caught:
        serve(**({"run": str(model)} | options))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_port_that_is_taken_is_told(model):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match="Address already in use"):
            serve(str(model), port=taken.getsockname()[1])


@pytest.mark.parametrize("package", ["fastapi", "uvicorn", "prometheus_client", "python_multipart"])
def test_a_missing_package_is_told(model, package, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, package, None)
    assert cli.main(["serve", str(model), "--port=0"]) == 2
    assert capsys.readouterr().err == f"ganvas: serving needs {package}; pip install 'ganvas[serve]'\n"


def test_help_imports_no_server():
    code = "import sys, ganvas.cli\ntry: ganvas.cli.main(['serve', '--help'])\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert "--max-pixels" in done.stdout
    assert not set(done.stdout.split()) & {"torch", "fastapi", "uvicorn", "prometheus_client"}


def test_what_is_under_way_is_answered_before_the_end(model, monkeypatch):
    monkeypatch.setenv("GANVAS_TOKEN", "secret")
    server = command(model, "--host=127.0.0.1")
    url, statuses = address(server), list[int]()
    headers = {"authorization": "Bearer secret"}

    def ask() -> None:
        with httpx.Client(base_url=url, headers=headers, timeout=30) as client:
            statuses.append(client.post("/generate", json={"n": 64, "answer": "zip"}).status_code)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    # Only those that the server has taken in are under way.
    until(lambda: taken(url, headers) + len(statuses) == 8)
    server.terminate()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 8
    assert server.communicate(timeout=20)[1] == ""
    assert server.returncode == 0


def taken(url: str, headers: dict[str, str]) -> int:
    lines = httpx.get(f"{url}/metrics", headers=headers).text.splitlines()
    return int(float(next(line for line in lines if line.startswith("ganvas_queue_requests ")).split()[1]))


def test_killed_and_begun_again_under_load_all_get_their_pictures(model):
    first = command(model)
    url = address(first)
    got, again = dict[int, bytes](), list[str]()

    def ask(seeds: range) -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            for seed in seeds:
                while seed not in got:
                    try:
                        answer = client.post("/generate", json={"seeds": [seed], "answer": "json"})
                        answer.raise_for_status()
                        got[seed] = answer.content
                    except httpx.HTTPError as error:
                        again.append(type(error).__name__)
                        time.sleep(0.05)

    threads = [threading.Thread(target=ask, args=(range(k, k + 60),)) for k in range(0, 480, 60)]
    for thread in threads:
        thread.start()
    until(lambda: len(got) > 40)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    before = len(got)
    second = command(model, port=httpx.URL(url).port)
    assert address(second) == url
    for thread in threads:
        thread.join()
    assert before < 480
    assert again
    assert [json.loads(got[seed])["pictures"][0]["seed"] for seed in range(480)] == list(range(480))
    second.send_signal(signal.SIGINT)
    assert second.communicate(timeout=20)[1] == ""
    assert second.returncode == 0
