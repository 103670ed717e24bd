"""Things found by name or import path, and what a wrong one is told."""

import pytest

from ganvas.config import NetworkConfig
from ganvas.errors import UserError, nearest
from ganvas.find import by_name, find
from ganvas.losses import find_loss
from ganvas.models import build_network, find_network
from ganvas.presets import find_preset
from ganvas.tasks import find_task
from ganvas.tasks.base import Task
from ganvas.tasks.generate import Generate


def some_thing() -> None:
    pass


KNOWN = by_name([some_thing, len])


def test_names_have_dashes():
    assert by_name([some_thing, len]) == {"some-thing": some_thing, "len": len}


@pytest.mark.parametrize("name", ["some-thing", "some_thing", "ganvas.find:by_name", f"{__name__}:some_thing"])
def test_names_and_paths_are_found(name):
    assert find(name, KNOWN, "thing") is (by_name if "ganvas" in name else some_thing)


def test_the_nearest_name_is_told():
    with pytest.raises(UserError, match="there is no thing 'sometin'; did you mean 'some-thing'"):
        find("sometin", KNOWN, "thing")


def test_all_names_are_told_where_none_is_near():
    with pytest.raises(UserError, match="there is no thing 'xyz'; known: len, some-thing"):
        find("xyz", KNOWN, "thing")


def test_nearest_takes_any_iterable():
    assert nearest("widht", iter(["width", "height"])) == "; did you mean 'width'?"
    assert nearest("", ()) == "; known: "


PATHS = ["nosuch:x", "math:nope", "math:", ":x", ":", "a b:c", "os.nope:x", "math:pi:e", "/etc/passwd:x"]


@pytest.mark.parametrize("path", PATHS)
def test_paths_that_lead_nowhere_are_told_so_in_one_line(path):
    for find_it in (find_loss, find_task, find_preset, find_network):
        with pytest.raises(UserError) as caught:
            find_it(path)
        assert repr(path) in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("find_it", [find_loss, find_network])
def test_relative_paths_are_told_so(find_it):
    with pytest.raises(UserError):
        find_it(".losses:hinge")


def test_a_loss_can_be_called():
    with pytest.raises(UserError):
        find_loss("math:pi")


def test_tasks():
    assert find_task("generate") is Generate
    assert find_task("ganvas.tasks.generate:Generate") is Generate
    with pytest.raises(UserError, match="did you mean 'generate'"):
        find_task("genarate")
    for other in ("math:sin", "builtins:int", "ganvas.tasks.base:Scores"):
        with pytest.raises(UserError, match="is no task"):
            find_task(other)
    assert issubclass(find_task("ganvas.tasks.base:Task"), Task)


def test_networks():
    assert find_network("r3gan:Generator").__module__ == "ganvas.models.r3gan"
    assert find_network("ganvas.models.r3gan:Generator") is find_network("r3gan:Generator")
    with pytest.raises(UserError, match="did you mean 'Generator'"):
        find_network("r3gan:Generatr")
    with pytest.raises(UserError, match="there is no network 'r3gan:GeneratorConfig'"):
        find_network("r3gan:GeneratorConfig")  # there, but no network


@pytest.mark.parametrize("name", ["torch.nn:Linear", "torch.nn:Module"])
def test_a_module_without_a_config_is_told_so(name):
    with pytest.raises(UserError):
        build_network(NetworkConfig(name))


def test_foreign_networks_are_imported_only_with_trust(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "strangers.py").write_text("from torch.nn import Linear as Net\n")
    with pytest.raises(UserError, match="--trust"):
        find_network("strangers:Net", trust=False)
    assert find_network("strangers:Net").__name__ == "Linear"
    assert find_network("r3gan:Generator", trust=False)
