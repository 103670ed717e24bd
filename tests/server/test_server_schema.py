"""What OpenAPI tells is true: schemathesis looks for requests that are not answered as it says."""

import io

import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings, strategies
from PIL import Image
from schemathesis import GenerationMode
from served import served
from test_redraw import Negative, NegativeConfig
from toys import toy

from ganvas.sample import Model
from ganvas.server.api import TAKEN

TRANSLATOR = Model({"generator": Negative(NegativeConfig()).eval()})


def file(width: int, height: int, ending: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), width, np.uint8)).save(out, ending)
    return out.getvalue()


SIDE = strategies.integers(1, 40)
for kind in TAKEN:  # what schemathesis takes for a picture is one
    schemathesis.openapi.media_type(kind, strategies.builds(file, SIDE, SIDE, strategies.just(kind[6:])))


@pytest.mark.parametrize(
    ("model", "token"),
    [(toy("cat", "dog"), None), (toy(), "secret"), (TRANSLATOR, None)],
    ids=["draws", "locked", "translates"],
)
@pytest.mark.parametrize("mode", GenerationMode)
def test_all_is_answered_as_openapi_says(model, token, mode):
    with served(model, token=token) as server:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        schema = schemathesis.openapi.from_dict(server.client.get("/openapi.json").json())
        for found in schema.get_all_operations():
            if mode == GenerationMode.POSITIVE or found.ok().method == "post":  # else nothing could be wrong
                statuses = asked(found.ok(), mode, str(server.client.base_url), headers)
                assert (200 if mode == GenerationMode.POSITIVE else 422) in statuses


def asked(operation, mode, url, headers) -> set[int]:
    """Ask whatever schemathesis thinks of, and return the statuses of the answers."""
    statuses = set[int]()

    @settings(max_examples=15, deadline=None, database=None, derandomize=True, suppress_health_check=HealthCheck)
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case):
        statuses.add(case.call_and_validate(base_url=url, headers=headers).status_code)

    ask()
    return statuses
