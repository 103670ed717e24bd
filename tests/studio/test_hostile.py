"""What comes from somebody who means harm is refused in a sentence, and the page lives on."""

import functools
import json
import os
import shutil
import socket
import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import Studio

from ganvas.cli import main
from ganvas.errors import UserError
from ganvas.studio.guard import MOST_BYTES
from ganvas.studio.places import Places


@pytest.fixture
def places(studio: Studio, tmp_path: Path) -> Places:
    return Places(studio.runs.resolve(), (studio.root / "data").resolve(), tmp_path)


def call(studio: Studio, part: str, *data: Any, session: str = "hostile", event: str = "click") -> str:
    """Use a part of the page as a program would, with whatever data; returns the error that is told."""
    config = laid_out(studio.url)
    numbers = [p["id"] for p in config["components"] if part in (p["props"].get("value"), p["props"].get("label"))]
    [(number, index)] = [
        (number, one["id"]) for one in config["dependencies"] for number in numbers if [number, event] in one["targets"]
    ]
    wanted = {"data": data, "fn_index": index, "session_hash": session, "trigger_id": number}
    answer = httpx.post(f"{studio.url}/gradio_api/queue/join", json=wanted, timeout=60)
    if answer.status_code != 200:
        return answer.text
    with httpx.stream("GET", f"{studio.url}/gradio_api/queue/data?session_hash={session}", timeout=60) as lines:
        for line in lines.iter_lines():
            said = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
            if said.get("msg") == "process_completed":
                return str(said["output"].get("error")) if not said["success"] else ""
    raise AssertionError("no answer")


@functools.cache
def laid_out(url: str) -> Any:
    """Return of what parts a page consists."""
    return httpx.get(f"{url}/config", timeout=60).json()


def open_tabs(studio: Studio, session: str = "hostile") -> None:
    """See the lists of models, from which alone one may choose."""
    for tab in ("Explore", "Translate", "Augment"):
        assert call(studio, tab, None, session=session, event="select") == ""


def upload(studio: Studio, name: str, content: Any) -> httpx.Response:
    return httpx.post(f"{studio.url}/gradio_api/upload", files={"files": (name, content)}, timeout=60)


def peak(studio: Studio) -> int:
    """Return the most memory that the server has ever had, in MiB."""
    [line] = [x for x in Path(f"/proc/{studio.process.pid}/status").read_text().splitlines() if x.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


def alive(studio: Studio) -> None:
    assert httpx.get(studio.url, timeout=60).status_code == 200
    assert "choose pictures first" in call(studio, "Look at them", "", None, "Make more pictures like these", "", "")


def given(path: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


# ---------------------------------------------------------------------------------------------------------- places


@pytest.mark.parametrize(
    "name", ["..", ".", "/etc", "../data", "first/../first", "first/", "no\0", "nobody", "uploads"]
)
def test_a_run_is_one_of_the_folder(name: str, places: Places) -> None:
    if name == "uploads":
        shutil.rmtree(places.runs / name, ignore_errors=True)
    with pytest.raises(UserError, match="there is no run"):
        places.run(name)


@pytest.mark.parametrize(
    "text", ["..", "../runs", "/etc", "/", "~", "colours/../../runs", "out", "mixed", "colours\0", "no", ""], ids=repr
)
def test_pictures_are_within_the_root_of_the_data(text: str, places: Places, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "mixed" / "deep").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(b"")
    (data / "out").symlink_to("/etc")
    (data / "mixed" / "deep" / "in.png").symlink_to(tmp_path / "secret.png")
    mine = Places(places.runs, data, tmp_path)
    with pytest.raises(UserError) as caught:
        mine.source(text)
    assert len(str(caught.value).splitlines()) == 1
    assert mine.sources()[-1] == "mixed"


def test_a_run_behind_a_link_is_neither_shown_nor_opened(places: Places, studio: Studio, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(studio.runs / "first", tmp_path / "elsewhere")
    mine = Places(tmp_path / "runs", places.data, tmp_path)
    mine.runs.mkdir()
    (mine.runs / "linked").symlink_to(elsewhere)
    shutil.copytree(elsewhere, mine.runs / "inside")
    (mine.runs / "inside" / "reals.png").unlink()
    (mine.runs / "inside" / "reals.png").symlink_to("/etc/hostname")
    shutil.copytree(elsewhere, mine.runs / "good")
    assert [run.name for run in mine.all_runs()] == ["good"]
    for name in ("linked", "inside"):
        with pytest.raises(UserError, match="there is no run"):
            mine.run(name)


def test_a_run_whose_pictures_are_elsewhere_does_not_go_on(places: Places, studio: Studio, tmp_path: Path) -> None:
    mine = Places(studio.runs, tmp_path, tmp_path)
    with pytest.raises(UserError, match="is not within"):
        mine.origin("first")


# ------------------------------------------------------------------------------------------------------ requests


def test_files_are_not_served(studio: Studio) -> None:
    inside = [studio.runs / "first" / "config.json", studio.root / "data" / "colours" / "red" / "0.png"]
    for path in (*inside, "/etc/passwd", "runs/first/config.json", "../../etc/passwd", "/proc/self/environ"):
        for way in ("/gradio_api/file=", "/static/", "/assets/", "/gradio_api/proxy="):
            assert httpx.get(f"{studio.url}{way}{path}", timeout=60).status_code in (400, 403, 404, 405, 422), (
                way,
                path,
            )
    alive(studio)


def test_only_what_was_uploaded_is_taken(studio: Studio) -> None:
    mine = (studio.root / "data" / "colours" / "red" / "0.png").resolve()
    open_tabs(studio)
    for path in (str(mine), "/etc/hostname", "http://example.com/a.png", f"{studio.url}/config"):
        assert call(studio, "Find it", "first", given(path), "") != ""
    assert "../data" in call(studio, "Make the set", "../data", 4, 0, False, False)
    assert "not within" in call(studio, "Look at them", "/etc", None, "Make more pictures like these", "", "")
    assert call(studio, "Make the set", {"no": "run"}, "many", None, 1, 2) != ""
    assert call(studio, "Make the set") != ""
    alive(studio)


def test_a_bomb_is_told(studio: Studio, tmp_path: Path) -> None:
    side = 30_000  # 0.1 MiB of file, 900 million pixels
    data = zlib.compress(bytes((side // 8 + 1) * side), 1)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    packed = [struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks]
    [path] = upload(studio, "bomb.png", b"\x89PNG\r\n\x1a\n" + b"".join(packed)).json()
    open_tabs(studio)
    before = peak(studio)
    told = call(studio, "Find it", "first", given(path), "")
    assert "pixels" in told
    drawing = {"background": given(path), "layers": [], "composite": given(path)}
    assert "pixels" in call(studio, "Translate", "pairs", drawing, 16, False)
    assert call(studio, "Look at them", "", [given(path)], "Make more pictures like these", "", "") != ""
    assert peak(studio) - before < 150
    alive(studio)


def test_a_large_upload_is_refused_and_takes_no_memory(studio: Studio) -> None:
    before = peak(studio)
    answer = upload(studio, "large.zip", bytes(100 * 2**20))
    assert (answer.status_code, "maximum" in answer.text) == (413, True)
    assert peak(studio) - before < 50
    for head in (f"Content-Length: {MOST_BYTES + 1}", "Content-Length: -1"):
        with socket.create_connection(("127.0.0.1", studio.port)) as raw:
            raw.sendall(f"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}\r\n\r\n".encode())
            assert raw.recv(100).split()[1] in (b"413", b"400")
    alive(studio)


def test_fifty_requests_at_once(studio: Studio) -> None:
    answers: list[str] = []
    ready = threading.Barrier(50)

    def ask(number: int) -> None:
        ready.wait(60)
        look = ("colours", None, "Make more pictures like these", "", "")
        answers.append(call(studio, "Look at them", *look, session=f"many{number}"))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 50
    assert "" in answers
    assert all(not answer or "ueue" in answer for answer in answers), set(answers)
    assert any(answers)
    alive(studio)


def test_a_model_with_a_wrong_header_is_told(studio: Studio) -> None:
    broken = studio.runs / "broken"
    shutil.copytree(studio.runs / "first", broken)
    try:
        for head in (struct.pack("<Q", 2**62), struct.pack("<Q", 10) + b"{not json}", b""):
            (broken / "model.safetensors").write_bytes(head + bytes(100))
            (broken / "best.safetensors").unlink(missing_ok=True)
            open_tabs(studio)
            told = call(studio, "Make the set", "broken", 4, 0, False, False)
            assert "broken" in told
            assert "failed" not in told
    finally:
        shutil.rmtree(broken)
    alive(studio)


def test_other_pages_are_refused(studio: Studio) -> None:
    assert httpx.get(studio.url, headers={"Host": "evil.example"}).status_code == 403
    assert httpx.get(studio.url, headers={"Host": f"localhost:{studio.port}"}).status_code == 200
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        answer = httpx.post(f"{studio.url}/gradio_api/upload", headers={"Origin": origin}, files={"files": b"a"})
        assert answer.status_code == 403


# ------------------------------------------------------------------------------------------------------- command


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "0.0.0.0"], "--auth user:password"),
        (["--host", "::"], "--auth user:password"),
        (["--host", "studio.example"], "--auth user:password"),
        (["--host", "0.0.0.0", "--auth", "me"], "user:password"),
        (["--host", "0.0.0.0", "--auth", ":"], "user:password"),
        (["--port", "0"], "--port 0 is not possible"),
        (["--port", "65536"], "--port 65536 is not possible"),
        (["--data-root", "nowhere"], "is no folder"),
        (["--host", "192.0.2.1", "--auth", "me:secret", "--port", "7860"], "cannot serve at 192.0.2.1:7860"),
    ],
    ids=str,
)
def test_what_cannot_be_served_is_one_sentence(
    words: list[str], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["studio", str(tmp_path / "runs"), "--no-browser", *words]) == 2
    told = capfd.readouterr().err.strip()
    assert said in " ".join(told.split())
    assert told.startswith("ganvas: ")
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs").write_text("")
    assert main(["studio", str(tmp_path / "runs"), "--no-browser"]) == 2
    assert "cannot" in capfd.readouterr().err


def test_a_port_that_is_taken_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["studio", str(tmp_path / "runs"), "--no-browser", f"--port={port}"]) == 2
    assert f"cannot serve at 127.0.0.1:{port} (Address already in use)" in " ".join(capfd.readouterr().err.split())


def test_what_passes_through_does_not_pile_up(places: Places) -> None:
    old, new = (places.passing("walk.gif") for _ in range(2))
    assert old != new
    for path in (old, new):
        path.write_bytes(b"GIF")
    os.utime(old.parent, (0, 0))
    last = places.passing("walk.gif")
    assert not old.parent.exists()
    assert new.exists()
    assert last.parent.is_dir()
