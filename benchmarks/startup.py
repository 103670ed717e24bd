"""How long one waits for help, for a usage error, and for torch."""

import argparse
import subprocess
import sys
import time

from report import Row, report

COMMANDS = {
    "ganvas --help": ["-m", "ganvas", "--help"],
    "ganvas train --help": ["-m", "ganvas", "train", "--help"],
    "a usage error": ["-m", "ganvas", "train", "digits", "--budgt", "10m"],
    "a misspelt value": ["-m", "ganvas", "train", "digits", "--batch", "many"],
    "import ganvas.launch": ["-c", "import ganvas.launch"],
}


def main() -> None:
    """Time each command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    rows = []
    for name, words in COMMANDS.items():
        seconds(words)  # the first reads the files from disk
        wanted = "" if name.startswith("import") else "< 0.5"
        rows.append(Row(name, "s", [seconds(words) for _ in range(repeats)], wanted))
    report("startup", {"repeats": repeats}, rows)


def seconds(words: list[str]) -> float:
    """Return how long Python takes for a command."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, *words], capture_output=True, check=False)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
