"""The house rules, and what CONTRIBUTING promises."""

import ast
import importlib
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

import ganvas
from ganvas import cli
from ganvas.tiles import translated

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MODULES = dict(re.findall(r"```python\n# mypackage/(\w+)\.py\n(.*?)```", GUIDE, re.DOTALL))
COMMANDS = re.findall(r"^python -m (ganvas train photos/ .*)$", GUIDE, re.MULTILINE)
EVALUATIONS = re.findall(r"^python -m (ganvas evaluate .*)$", GUIDE, re.MULTILINE)
SCRIPTS = re.findall(r"```python\n(?!# mypackage)(.*?)```", GUIDE, re.DOTALL)


# ------------------------------------------------------------------------------------------------- extensions


@pytest.fixture
def mypackage(tmp_path, monkeypatch):
    """What CONTRIBUTING shows, importable, and a folder with `photos/` to stand in."""
    package = tmp_path / "elsewhere" / "mypackage"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for name, code in MODULES.items():
        (package / f"{name}.py").write_text(code, encoding="utf-8")
    photos = tmp_path / "photos"
    photos.mkdir()
    random = np.random.default_rng(0)
    for i in range(24):
        Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(photos / f"{i}.png")
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setenv("GANVAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == "mypackage"]:
        del sys.modules[name]


def test_each_module_of_the_guide_is_used():
    used = set(re.findall(r"mypackage\.(\w+)(?::| import)", "\n".join((*COMMANDS, *EVALUATIONS, *SCRIPTS))))
    assert used == MODULES.keys()
    assert used == {"nets", "translators", "losses", "penalties", "tasks", "presets", "metrics", "features"}


@pytest.mark.parametrize("command", COMMANDS)
def test_extensions_train_as_the_guide_says(command, mypackage):
    words = [*shlex.split(command)[1:], "--budget", "2steps", "--precision", "fp32", "--name", "it"]
    if "--task paired" in command:
        words += ["--size", "8"]  # halves of so small pictures are too narrow
    assert cli.main(words) == 0
    figures = Path("runs/it/stats.jsonl").read_text(encoding="utf-8")
    assert '"step": 2' in figures
    if "my_penalty" in command:
        assert "mypackage.penalties:my_penalty/image" in figures
    if "MyTask" in command:
        assert "brightness" in figures
    model = ganvas.load("runs/it")  # trusted, as it is imported already
    if "MyTranslator" in command:
        picture = np.random.default_rng(0).integers(0, 256, (1, 30, 20, 3), np.uint8)
        whole, tiled = (translated(model.translator, picture, limit=limit) for limit in (1000, 100))
        assert whole.shape == picture.shape
        assert np.abs(whole.astype(int) - tiled).max() <= 1
    else:
        assert model.generate(2).shape == (2, 8, 8, 3)


def test_the_guides_extractor_judges_a_run_as_it_says(mypackage, monkeypatch):
    monkeypatch.setattr("ganvas.launch.SHORTEST", 0)  # for a short training takes no time to measure itself
    monkeypatch.setattr("ganvas.launch.affordable", lambda *_: (2, 2))
    command = next(command for command in COMMANDS if "--features" in command)
    assert cli.main([*shlex.split(command)[1:], "--budget", "1steps", "--precision", "fp32"]) == 0
    (evaluation,) = EVALUATIONS
    assert cli.main(shlex.split(evaluation)[1:]) == 0
    lines = Path("runs/00000-photos-auto/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    assert [one["purpose"] for one in found] == ["estimate", "report", "report"]
    mine = importlib.import_module("mypackage.features").MyExtractor
    for one in found:
        assert (one["kernel"]["extractor"], one["kernel"]["digest"]) == (mine.name, mine.digest)
    grey = np.full((2, 8, 8, 1), 51, np.uint8)
    assert mine().features(grey) == pytest.approx(np.full((2, mine.dim), 0.2))


def test_the_guides_metric_measures_as_it_says(mypackage, capsys):
    assert cli.main(["train", "photos/", "--budget", "1steps", "--precision", "fp32"]) == 0
    (script,) = SCRIPTS
    exec(script, {})
    value, floor = map(float, re.fullmatch(r"(\S+), floor (\S+)\n", capsys.readouterr().out).groups())
    assert 0 < floor < value
    metric = importlib.import_module("mypackage.metrics").my_metric
    assert metric(np.zeros((3, 2)), np.full((5, 2), [3.0, 4.0])) == 5


def test_the_guides_model_needs_trust_elsewhere(mypackage):
    command = next(command for command in COMMANDS if "MyGenerator" in command)
    assert cli.main([*shlex.split(command)[1:], "--budget", "1steps", "--precision", "fp32", "--name", "it"]) == 0
    for name in [name for name in sys.modules if name.partition(".")[0] == "mypackage"]:
        del sys.modules[name]
    with pytest.raises(ganvas.UserError, match="--trust"):
        ganvas.load("runs/it")
    assert ganvas.load("runs/it", trust=True).generate(1).shape == (1, 8, 8, 3)


# ----------------------------------------------------------------------------------------------------- start


def modules_after(*args):
    """Return the exit code of the command line, and the modules imported by then."""
    code = (
        "import sys\nfrom ganvas.cli import main\n"
        "try:\n    code = main(sys.argv[1:])\nexcept SystemExit as end:\n    code = end.code\n"
        "print('modules:', *sys.modules)\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, set(done.stdout.rpartition("modules:")[2].split())


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--help"], 0),
        ([], 0),
        (["train", "--help"], 0),
        (["--version"], 0),
        (["trian", "photos/"], 2),
        (["train", "photos/", "--budgt", "10m"], 2),
        (["train", "photos/", "--batch", "many"], 2),
    ],
)
def test_help_and_usage_errors_do_not_wait_for_torch(args, expected):
    code, modules = modules_after(*args)
    assert code == expected
    assert "ganvas.config" in modules
    assert not modules & {"torch", "numpy", "sklearn", "PIL"}


def test_python_m_ganvas():
    done = subprocess.run(
        [sys.executable, "-m", "ganvas", "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == ganvas.__version__


def test_public_names():
    assert set(ganvas.__all__) == set(dir(ganvas))
    for name in ganvas.__all__:
        thing = getattr(ganvas, name)
        assert name == "__version__" or (thing.__doc__ or "").strip(), name
        assert importlib.util.find_spec(f"ganvas.{name}") is None, f"the module {name} shadows what is called so"
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        ganvas.trian  # noqa: B018


# ------------------------------------------------------------------------------------------------ house rules


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_files_and_functions_are_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name


def ours():
    """Return the project's files: those that git knows or would add, or where there is no git, all that look so."""
    if (ROOT / ".git").exists():
        command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        try:
            listed = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
            return [ROOT / name for name in listed if name and (ROOT / name).is_file()]
        except (OSError, subprocess.CalledProcessError):
            pass
    places = (ROOT / name for name in ("src", "tests", "benchmarks", "docs", ".ci"))
    deep = (path for place in places for path in place.rglob("*") if path.suffix != ".pyc")
    return [path for path in (*ROOT.iterdir(), *deep) if path.is_file()]


def test_no_file_names_a_registry_or_a_workplace():
    # In pieces, so that this file does not name them.
    hosts = ("py" + r"pi\.\w", "python" + "hosted", "pytorch" + r"\.org", "npm" + r"js\.", "crates" + r"\.io")
    options = ("index" + "-url", "find" + "-links", "trusted" + "-host")
    pattern = re.compile("|".join((*hosts, *options, r"(?<![\w.])/" + r"work\b")), re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in ours()
        if (match := pattern.search(path.read_bytes().decode("utf-8", "ignore")))
    ]
    assert not found


def constraints():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def test_constraints_cover_all_that_is_required():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    todo = [Requirement(text) for text in (*project["dependencies"], *(text for extra in extras for text in extra))]
    pinned, seen = constraints(), set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if name in ("ganvas", "setuptools"):
            continue
        assert name in pinned, f"{requirement} is not in constraints.txt"
        assert requirement.specifier.contains(pinned[name], prereleases=True), requirement
        if (name, *requirement.extras) in seen:
            continue
        seen.add((name, *requirement.extras))
        try:
            needed = [Requirement(text) for text in distribution(name).requires or ()]
        except PackageNotFoundError:  # of an extra that is not installed here
            continue
        todo += [
            r
            for r in needed
            if r.marker is None or any(r.marker.evaluate({"extra": extra}) for extra in ("", *requirement.extras))
        ]


def test_constraints_name_no_build_and_no_place():
    for name, version in constraints().items():
        assert re.fullmatch(r"[\w.]+", version), f"{name}=={version}"
    assert not constraints().keys() & {"pip", "setuptools", "ganvas"}


def test_ci_can_be_run():
    assert os.access(ROOT / ".ci/run", os.X_OK)
