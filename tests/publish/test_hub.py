"""Pushing: what would go, what goes, and how each way it can fail ends in a sentence."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import httpx2
import huggingface_hub
import pytest
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id
from toys import save

from ganvas.cli import main
from ganvas.errors import UserError
from ganvas.publish import hub
from ganvas.publish.hub import push


@pytest.fixture
def model(tmp_path) -> Path:
    return save(tmp_path / "model.safetensors", "daisy", "rose")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Nobody is logged in, and no graph is made."""
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    monkeypatch.setattr(hub, "make_graph", no_graph)


def no_graph(*_):
    raise UserError("it is too dear for a test")


class Hub:
    """Stands for HfApi: keeps what it is given."""

    def __init__(self, private: bool = False, error: Exception | None = None) -> None:
        self.private, self.error, self.files, self.said = private, error, {}, []

    def __call__(self, **_) -> "Hub":
        return self

    def create_repo(self, name, private, exist_ok):
        self.said.append(("create", name, private, exist_ok))
        if self.error:
            raise self.error
        return f"https://hub/{name}"

    def model_info(self, name):
        return SimpleNamespace(private=self.private)

    def upload_folder(self, repo_id, folder_path, commit_message):
        self.said.append(("upload", repo_id))
        self.files = {path.name: path.read_bytes() for path in folder_path.iterdir()}


@pytest.fixture
def logged_in(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_abc")

    def use(**kwargs) -> Hub:
        fake = Hub(**kwargs)
        monkeypatch.setattr(huggingface_hub, "HfApi", fake)
        return fake

    return use


def refusal(status: int, message: str | None = None, kind: type[HfHubHTTPError] = HfHubHTTPError) -> HfHubHTTPError:
    response = httpx2.Response(status, request=httpx2.Request("POST", "https://hub"))
    return kind(f"{status} error\nand more", response=response, server_message=message)


def test_a_model_goes_with_its_card_and_samples(model, logged_in, capsys):
    fake = logged_in()
    assert push(model, "me/emoji", licence="cc-by-4.0") == "https://hub/me/emoji"
    assert fake.said == [("create", "me/emoji", False, True), ("upload", "me/emoji")]
    assert set(fake.files) == {"README.md", "model.safetensors", "samples.png"}
    assert b'license: "cc-by-4.0"' in fake.files["README.md"]
    said = capsys.readouterr().err
    assert "goes to me/emoji, public" in said
    assert "note: it goes without ONNX, as it is too dear for a test" in said


def test_its_graph_goes_too(model, logged_in, monkeypatch):
    monkeypatch.setattr(hub, "make_graph", lambda model, form, kind, name: hub.Graph(name, b"graph", form, 0.0))
    fake = logged_in(private=True)
    push(model, "me/emoji", private=True)
    assert fake.said[0] == ("create", "me/emoji", True, True)
    assert fake.files["model.onnx"] == b"graph"
    assert b'"onnx"' in fake.files["README.md"]


def test_a_dry_run_asks_nobody(model, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert push(model, "me/emoji", dry_run=True, private=True) is None
    said = capsys.readouterr().err
    assert "would go to me/emoji, private" in said
    assert all(name in said for name in ("README.md", "model.safetensors", "samples.png"))


def test_nothing_private_becomes_public(model, logged_in):
    fake = logged_in(private=False)
    with pytest.raises(UserError, match="is there already, and public"):
        push(model, "me/emoji", private=True)
    assert not fake.files


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (refusal(401), "hf auth login"),
        (refusal(403), "may not write to me/emoji"),
        (refusal(400, "bad metadata", BadRequestError), "the hub refuses me/emoji: bad metadata"),
        (refusal(500), "the hub refuses me/emoji: 500 error"),
        (httpx2.ReadTimeout("too slow"), r"cannot be reached \(too slow\)"),
        (OfflineModeIsEnabled("offline"), r"cannot be reached \(offline\)"),
        (huggingface_hub.errors.HFValidationError("no such name"), "no such name"),
    ],
)
def test_what_the_hub_says_is_told(error, sentence, model, logged_in, capsys):
    logged_in(error=error)
    assert main(["push", str(model), "me/emoji"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    with pytest.raises(UserError, match=sentence):
        raise UserError(said)


def test_without_network_the_real_client_ends_in_a_sentence(model, monkeypatch, capsys):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_abc")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")  # where nobody listens
    assert main(["push", str(model), "me/emoji"]) == 2
    assert "ganvas: the hub cannot be reached (" in capsys.readouterr().err.splitlines()[-1]


def test_nobody_logged_in_is_told_first(capsys):
    assert main(["push", "no/run", "me/emoji"]) == 2
    assert capsys.readouterr().err == "ganvas: nobody is logged in to the hub; log in once with: hf auth login\n"


def test_a_missing_package_is_told(model, monkeypatch):
    monkeypatch.setattr(hub.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'ganvas\[export\]'"):
        push(model, "me/emoji")


GOOD = ["me/emoji", "a_b/c.d-e", "A1/2"]
BAD = ["", "emoji", "me/", "/emoji", "a/b/c", "me--you/x", "me/x..y", "me/-x", "me/x.", "me/x y", "me/é", "me/x.git"]


@pytest.mark.parametrize("name", GOOD)
def test_names_that_the_hub_knows_are_allowed(name, model):
    validate_repo_id(name)
    assert push(model, name, dry_run=True) is None


@pytest.mark.parametrize("name", [*BAD, "me/" + "x" * 97, "me/x\n"], ids=str)
def test_other_names_are_told(name, model):
    with pytest.raises(UserError, match="name it as user/name"):
        push(model, name, dry_run=True)


def test_the_licence_is_checked_before_anything_else(model):
    with pytest.raises(UserError, match="write it as the hub does"):
        push(model, "me/emoji", licence=json.dumps("MIT"))
