"""Every command and every piece of Python in the README is run, with less time and tiny pictures."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganvas import cli
from ganvas.pictures import save_gif

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
LESS = {"10m": "3steps", "20m": "3steps", "2h": "5steps", "64": "6", "8x8": "3x2", "500": "3", "0.9": "0.1"}
NEEDS_ANOTHER_RUN = {"--resume": "there is no unfinished run"}  # for the run above is finished by then


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    """A folder with `photos/` of two classes, `drawings/` of pairs, two pictures, `clips/`, and a clip to stand in."""
    photos = tmp_path / "photos"
    photos.mkdir()
    random = np.random.default_rng(0)
    for name, count in (("daisy", 80), ("rose", 64)):
        (photos / name).mkdir()
        for i in range(count):
            Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(photos / name / f"{i}.png")
    (tmp_path / "drawings").mkdir()
    for i in range(60):
        Image.fromarray(random.integers(0, 256, (8, 16, 3), np.uint8)).save(tmp_path / "drawings" / f"{i}.png")
    Image.fromarray(random.integers(0, 256, (9, 21, 3), np.uint8)).save(tmp_path / "sketch.png")
    Image.fromarray(random.integers(0, 256, (30, 20, 3), np.uint8)).save(tmp_path / "mine.png")
    (tmp_path / "clips").mkdir()
    for i in range(30):
        save_gif(random.integers(0, 256, (8, 8, 8, 3), np.uint8), tmp_path / f"clips/{i}.gif", 10)
    (tmp_path / "clips/29.gif").rename(tmp_path / "jump.gif")
    monkeypatch.setenv("GANVAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("ganvas.projection.STEPS", 3)
    monkeypatch.setattr("ganvas.studio.serve._serve", lambda *_: None)  # which would go on until Ctrl-C
    monkeypatch.chdir(tmp_path)


def ganvas(words, capsys):
    """Run a `ganvas` command of the README with less to do, in this process: torch is slow to import."""
    words = [LESS.get(word, word) for word in words]
    if words[0] == "train":
        words += ["--precision", "fp32", "--batch", "4"]
    if words[0] == "studio":
        words += ["--no-browser"]
    if "--prove" in words:
        words += ["--updates", "10"]
    try:
        code = cli.main(words)
    except SystemExit as end:  # of --help and of what is misspelt
        code = end.code
    said = capsys.readouterr().err
    refusal = next((text for option, text in NEEDS_ANOTHER_RUN.items() if option in words), None)
    if refusal:
        assert (code, refusal in said) == (2, True), said
    else:
        assert code == 0, f"ganvas {shlex.join(words)}\n{said}"


def run(*command):
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode


def shell(line, capsys):
    """Run a line of the README's shell blocks, or as much of it as a test can."""
    program, *words = shlex.split(line)
    if program == "ganvas":
        ganvas(words, capsys)
    elif program == "make":
        assert run("make", "-C", str(ROOT), "-n", *words) == 0, line
    elif program == ".ci/run":
        assert os.access(ROOT / program, os.X_OK)
        assert run("bash", "-n", str(ROOT / program)) == 0
    else:
        assert line == ". .venv/bin/activate", f"no test knows how to run this line of the README: {line}"


def test_every_block(tmp_path, capsys):
    assert {kind for kind, _ in BLOCKS} == {"sh", "python"}
    for kind, text in BLOCKS:
        if kind == "sh":
            for line in text.splitlines():
                shell(line, capsys)
        else:
            exec(text.replace('budget="10m"', 'budget="3steps", precision="fp32", batch=4'), {})
    for name in ("walk.gif", "moves.gif", "continued.gif", "projected.png", "from-mine.gif", "directions.png"):
        assert (tmp_path / name).is_file()
    assert (tmp_path / "contact-sheet.png").is_file()
    assert (tmp_path / "coloured/sketch.png").is_file()
    assert len(list((tmp_path / "runs/00000-photos-auto/generated").glob("*.png"))) >= 6
    evaluations = (tmp_path / "runs/00000-photos-auto/metrics.jsonl").read_text(encoding="utf-8")
    assert evaluations.count('"purpose": "report"') == 2  # of the command and of Python; a folder has none


def test_what_it_links_to_is_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for place in re.findall(r"\]\(([^)]+)\)", text):
        assert (ROOT / place).is_file(), place


def test_the_table_names_a_runs_files():
    import ganvas.run

    documented = re.findall(r"^\| `([^`]+)` \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(documented) == 10
    for name in documented:
        assert name in (ganvas.run.__doc__ or ""), name
