"""Put the newest results in bench-results/ into docs/benchmarks.md, each between its markers.

A line `<!-- table NAME -->` is followed by the table of bench-results/NAME-<time>.json, up to `<!-- end -->`. What is
not measured yet keeps what stands there.
"""

import json
import re
from pathlib import Path
from typing import Any

from report import ROOT
from tools import parse

MARKED = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    """Write the tables."""
    options = parse(__doc__, results=("bench-results", "bench-results"), page=("docs/benchmarks.md",) * 2)
    page = ROOT / options.page

    def table(match: re.Match[str]) -> str:
        found = newest(Path(options.results), match[2])
        return f"{match[1]}{markdown(found)}{match[3]}" if found else match[0]

    page.write_text(MARKED.sub(table, page.read_text(encoding="utf-8")), encoding="utf-8")


def newest(folder: Path, name: str) -> dict[str, Any] | None:
    """Return the last results of a benchmark."""
    times = "[0-9]" * 8 + "-" + "[0-9]" * 6
    paths = sorted(folder.glob(f"{name}-{times}.json"))
    return json.loads(paths[-1].read_text(encoding="utf-8")) if paths else None


def markdown(facts: dict[str, Any]) -> str:
    """Return results as a table, and what they depend on."""
    rows = [cells(row) for row in facts["rows"]]
    heads = ("measured", "median", "least to most", "n", "wanted", "note")
    used = [i for i in range(len(heads)) if any(row[i] for row in rows)]
    lines = [[heads[i] for i in used], ["---"] * len(used), *([row[i] for i in used] for row in rows)]
    machine, versions = facts["machine"], facts["versions"]
    load = "load " + " ".join(map(str, machine["load"]))
    about = [
        f"`{facts['command']}`, {facts['date'][:10]}, {facts['commit'] or 'no commit'}",
        ", ".join(f"{key} {value}" for key, value in facts["about"].items()),
        f"{machine['processor']}, {machine['cores']} cores, threads {machine['threads']}, {machine['system']}, {load}",
        ", ".join(f"{key} {value}" for key, value in versions.items()),
    ]
    return "\n".join([*("| " + " | ".join(line) + " |" for line in lines), "", "; ".join(about) + ".", ""])


def cells(row: dict[str, Any]) -> list[str]:
    """Return a row's cells; the spread only where there is one."""
    unit = f" {row['unit']}" if row["unit"] else ""
    many = len(row["values"]) > 1
    spread = f"{min(row['values']):.4g} to {max(row['values']):.4g}" if many else ""
    verdict = {None: "", True: f"{row['wanted']}: yes", False: f"{row['wanted']}: **no**"}[row["good"]]
    name, note = (text.replace("|", "\\|") for text in (row["name"], row["note"]))
    return [name, f"{row['median']:.4g}{unit}", spread, str(len(row["values"])), verdict, note]


if __name__ == "__main__":
    main()
