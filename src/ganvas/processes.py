"""Other processes: whether one lives, and is the one that was meant."""

import os
import subprocess
from pathlib import Path


def born(pid: int) -> str:
    """Return what tells a process from every other that has or had its number; empty if none lives, or on Windows.

    When it began, by a clock that nobody sets: the number is given away again, but never at the same tick.
    """
    try:
        if not Path("/proc/self/stat").exists():
            return _born_by_ps(pid)
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return "" if fields[0] in ("Z", "X") else f"tick {fields[19]} of boot {boot}"
    except (OSError, IndexError):
        return ""


def _born_by_ps(pid: int) -> str:
    kind, _, began = _ps(pid, "stat=", "lstart=").partition(" ")
    return "" if kind.startswith("Z") else began.strip()


def command_of(pid: int) -> str:
    """Return the command line of a process; empty if none lives, or it cannot be told."""
    try:
        if not Path("/proc/self/cmdline").exists():
            return _ps(pid, "command=")
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ").strip()
    except OSError:
        return ""


def _ps(pid: int, *columns: str) -> str:
    """Ask `ps`, as macOS and the BSDs have no /proc.

    Raises:
        OSError: there is no `ps` either.
    """
    plain = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}  # the same words wherever it is asked
    given = [word for column in columns for word in ("-o", column)]
    line = ["ps", "-ww", *given, "-p", str(pid)]
    return subprocess.run(line, env=plain, capture_output=True, text=True, check=False).stdout.strip()
