"""The command that uploads a model to the Hugging Face hub: `push`."""

import importlib.util
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ganvas.console import say
from ganvas.errors import UserError
from ganvas.options import takes
from ganvas.publish.card import Graph, check_licence
from ganvas.publish.exporting import make_graph
from ganvas.publish.folder import write_folder
from ganvas.publish.forms import form_of
from ganvas.publish.graphs import check_packages
from ganvas.publish.options import PushOptions
from ganvas.sample import Model, load

NAME = r"(?!.*(?:--|\.\.))[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?"
"""As the hub allows it, of a user or of a repository."""
REPOSITORY = re.compile(rf"{NAME}/{NAME}", re.ASCII)
LOGIN = "log in once with: hf auth login"


@takes(PushOptions)
def push(options: PushOptions) -> str | None:
    """Upload a model's file with its card, settings, samples and, where it can be exported, its ONNX graph.

    Returns:
        The address of the repository; None where nothing went there.

    Raises:
        UserError: any option that cannot be followed, a package that is missing, a model that cannot be read, no login,
            no network, or a hub that refuses.
    """
    if not REPOSITORY.fullmatch(options.repository) or options.repository.endswith(".git"):
        raise UserError(f"{options.repository!r} is no repository; name it as user/name, of letters, digits and . _ -")
    check_licence(options.licence)
    if not options.dry_run:
        _check_login()
    model = load(options.run, weights=options.weights, device=options.device, trust=options.trust)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        names = write_folder(folder, model, _graph(model), options.licence)
        whose = "private" if options.private else "public"
        say(f"{'would go' if options.dry_run else 'goes'} to {options.repository}, {whose}:")
        for name in names:
            say(f"  {name:20} {(folder / name).stat().st_size / 1000:10,.1f} kB")
        if options.dry_run:
            return None
        address = upload(folder, options.repository, options.private)
    say(f"it is at {address}")
    return address


def _graph(model: Model) -> Graph | None:
    """Return a model's ONNX graph; None, and say so, where there can be none."""
    try:
        check_packages("onnx")
        return make_graph(model, form_of(model, back=False, uint8=False), "onnx", "model.onnx")
    except UserError as error:
        say(f"note: it goes without ONNX, as {error}")
        return None


def _check_login() -> None:
    if not importlib.util.find_spec("huggingface_hub"):
        raise UserError("the hub needs one more package: pip install 'ganvas[export]'")
    from huggingface_hub import get_token

    if not get_token():
        raise UserError(f"nobody is logged in to the hub; {LOGIN}")


def upload(folder: Path, repository: str, private: bool) -> str:
    """Put the files of a folder into a repository, which is made if need be, and return its address.

    Raises:
        UserError: the hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi

    with _told(repository):
        api = HfApi(library_name="ganvas")
        address = api.create_repo(repository, private=private, exist_ok=True)
        if private and not api.model_info(repository).private:
            raise UserError(f"{repository} is there already, and public; name another one, or leave out --private")
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="A model of ganvas")
    return str(address)


@contextmanager
def _told(repository: str) -> Iterator[None]:
    """Turn what the hub's client raises in the block into a UserError."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]

    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status == 401:
            raise UserError(f"the hub does not know this login; {LOGIN}") from error
        if status == 403:
            raise UserError(f"this login may not write to {repository}; name a repository of your own") from error
        raise UserError(f"the hub refuses {repository}: {error.server_message or _line(error)}") from error
    except (HTTPError, OSError) as error:
        raise UserError(f"the hub cannot be reached ({_line(error)})") from error
    except ValueError as error:
        raise UserError(f"the hub's client refuses {repository}: {_line(error)}") from error


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
