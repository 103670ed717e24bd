"""Whether a process lives, and is the one that was meant."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ganvas.processes import born, command_of


def test_a_process_is_told_from_all_others_until_it_ends():
    process = subprocess.Popen([sys.executable, "-c", "input()", "a b"], stdin=subprocess.PIPE)
    mark = born(process.pid)
    assert mark == born(process.pid) != born(os.getpid())
    while not command_of(process.pid).endswith(" a b"):  # until it has become another program than ours
        time.sleep(0.01)
    process.kill()
    while born(process.pid):  # also as a zombie
        time.sleep(0.01)
    process.communicate()
    assert (born(process.pid), command_of(process.pid)) == ("", "")


def test_processes_are_known_by_ps_where_there_is_no_proc(monkeypatch):
    monkeypatch.setattr(Path, "exists", lambda path: False)
    when = "Mon Nov 23 16:53:32 2026"
    answers = iter([f"S+   {when}\n", f"Z    {when}\n", "", "python -m ganvas train x\n"])
    asked = []

    def run(line: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        asked.append(line[2:])
        assert options["env"]["LC_ALL"] == "C"
        return subprocess.CompletedProcess(line, 0, next(answers))

    monkeypatch.setattr(subprocess, "run", run)
    assert [born(7) for _ in range(3)] == [when, "", ""]
    assert command_of(7) == "python -m ganvas train x"
    assert asked[0] == ["-o", "stat=", "-o", "lstart=", "-p", "7"]
