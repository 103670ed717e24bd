"""Every command and every piece of Python in the README is run, with less time and tiny pictures."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
LESS = {"10m": "3steps", "2h": "5steps", "64": "6", "8x8": "3x2"}
NEEDS_ANOTHER_RUN = {"--resume": "there is no unfinished run"}  # for the run above is finished by then


@pytest.fixture
def run(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    random = np.random.default_rng(0)
    for i in range(24):
        Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(photos / f"{i}.png")
    here = {"GANVAS_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}

    def run(*command):
        return subprocess.run(
            command, cwd=tmp_path, env=os.environ | here, capture_output=True, text=True, check=False, timeout=120
        )

    return run


def ganvas(run, words):
    """Run a `ganvas` command of the README with less to do."""
    words = [LESS.get(word, word) for word in words]
    if words[0] == "train":
        words += ["--precision", "fp32", "--batch", "4"]
    done = run(sys.executable, "-m", "ganvas", *words)
    refusal = next((text for option, text in NEEDS_ANOTHER_RUN.items() if option in words), None)
    if refusal:
        assert (done.returncode, refusal in done.stderr) == (2, True), done.stderr
    else:
        assert done.returncode == 0, f"ganvas {shlex.join(words)}\n{done.stderr}"


def shell(run, line):
    """Run a line of the README's shell blocks, or as much of it as a test can."""
    program, *words = shlex.split(line)
    if program == "ganvas":
        ganvas(run, words)
    elif program == "make":
        assert run("make", "-C", str(ROOT), "-n", *words).returncode == 0, line
    elif program == ".ci/run":
        assert os.access(ROOT / program, os.X_OK)
        assert run("bash", "-n", str(ROOT / program)).returncode == 0
    else:
        assert line == ". .venv/bin/activate", f"no test knows how to run this line of the README: {line}"


def test_every_block(run, tmp_path):
    assert {kind for kind, _ in BLOCKS} == {"sh", "python"}
    for kind, text in BLOCKS:
        if kind == "sh":
            for line in text.splitlines():
                shell(run, line)
        else:
            code = text.replace('budget="10m"', 'budget="3steps", precision="fp32", batch=4')
            done = run(sys.executable, "-c", code)
            assert done.returncode == 0, done.stderr
    assert (tmp_path / "walk.gif").is_file()
    assert (tmp_path / "contact-sheet.png").is_file()
    assert len(list((tmp_path / "runs/00000-photos-auto/generated").glob("*.png"))) >= 6


def test_what_it_links_to_is_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for place in re.findall(r"\]\(([^)]+)\)", text):
        assert (ROOT / place).is_file(), place


def test_the_table_names_a_runs_files():
    import ganvas.run

    documented = re.findall(r"^\| `([^`]+)` \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(documented) == 6
    for name in documented:
        assert name in (ganvas.run.__doc__ or ""), name
