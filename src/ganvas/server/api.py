"""The routes."""

import asyncio
import os
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.resources import files
from typing import Any, Literal, TypeVar

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile

import ganvas
from ganvas.clips import UnreadableError
from ganvas.errors import UserError
from ganvas.files import printable
from ganvas.server.answers import TYPES, Drawn, TooManyPixelsError, read_picture, translation
from ganvas.server.counters import Counted, Counters
from ganvas.server.guard import Guard
from ganvas.server.options import ServeOptions
from ganvas.server.wishes import kinds_of, wish_of
from ganvas.server.worker import Worker
from ganvas.studio.guard import App

T = TypeVar("T")

ROUTES = frozenset({"/generate", "/translate", "/healthz", "/metrics", "/docs", "/openapi.json"})
TAKEN = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff")
BYTES = {"schema": {"type": "string", "format": "binary"}}
LEFT = 499
"""What is counted where a client goes away before it is answered; nobody sees it."""
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src blob:; connect-src 'self'"
"""For the page: it asks this server alone."""


class Problem(BaseModel):
    """What is wrong, in one sentence."""

    detail: str


class Picture(BaseModel):
    """A picture or clip: its seed, its class where there are any, its type, and itself in base64."""

    seed: int
    class_name: str | None = Field(None, alias="class")
    type: str
    data: str


class Pictures(BaseModel):
    """All that were drawn, in the order asked for."""

    pictures: list[Picture]


class Health(BaseModel):
    """That it lives."""

    status: Literal["ok"] = "ok"


def make_app(worker: Worker, counters: Counters, options: ServeOptions) -> App:
    """Return what a web server asks: the routes of a model, behind what guards and counts them."""
    what = "translates pictures" if worker.translates else "draws clips" if worker.model.frames else "draws pictures"
    app = FastAPI(
        title="ganvas", version=ganvas.__version__, description=f"A model that {what}.", docs_url=None, redoc_url=None
    )
    app.add_exception_handler(RequestValidationError, _explained)
    locked: dict[str, Any] = {} if options.token is None else {"dependencies": [Depends(HTTPBearer(auto_error=False))]}
    problems = {401: "Token missing or wrong."} if locked else {}
    (_add_translate if worker.translates else _add_generate)(app, worker, options, problems, locked)
    told = {"content": {"text/plain": {"schema": {"type": "string"}}}}

    @app.get("/healthz", summary="Tell that it lives")
    async def healthz() -> Health:
        return Health()

    @app.get(
        "/metrics", summary="Tell Prometheus", response_class=Response, responses=_answers(told, problems), **locked
    )
    async def metrics() -> Response:
        return Response(counters.text(), media_type=CONTENT_TYPE_LATEST)

    page = files("ganvas.server").joinpath("page.html").read_text(encoding="utf-8")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page, headers={"content-security-policy": POLICY})

    @app.get("/", include_in_schema=False)
    async def home() -> RedirectResponse:
        return RedirectResponse("/docs")

    return Counted(Guard(app, options, counters), counters, ROUTES)


def _add_generate(
    app: FastAPI, worker: Worker, options: ServeOptions, problems: dict[int, str], locked: dict[str, Any]
) -> None:
    model, pool = worker.model, _pool()
    wish = wish_of(model, options)
    types = [TYPES[ending] for ending in (("gif", "webp") if model.frames else ("png",))]
    first = {"schema": {"type": "integer"}, "description": "The first seed; those of n follow it one by one."}
    content = {**dict.fromkeys([*types, "application/zip"], BYTES), "application/json": {}}
    done = {"model": Pictures, "content": content, "headers": {"X-Seed": first}}

    @app.post(
        "/generate", summary="Draw", response_class=Response, responses=_answers(done, problems | _slow(options)),
        **locked,
    )  # fmt: skip
    async def generate(request: Request, body: wish) -> Response:  # type: ignore[valid-type]
        asked = body.model_dump()  # type: ignore[attr-defined]
        kinds = kinds_of(asked, asked["seeds"] or worker.seeds(asked["n"]), model)
        images = await _awaited(request, worker.draw(kinds))
        drawn = Drawn(images, kinds, model.classes, asked.get("format", "png"), model.rate)
        data, kind = await asyncio.get_running_loop().run_in_executor(pool, getattr(drawn, asked["answer"]))
        return Response(data, media_type=kind, headers={"x-seed": str(kinds[0].seed)})


def _add_translate(
    app: FastAPI, worker: Worker, options: ServeOptions, problems: dict[int, str], locked: dict[str, Any]
) -> None:
    networks, pool = worker.model.networks, _pool()
    network: Any = worker.model.translator
    ways = Literal["forward", "back"] if "backward" in networks else Literal["forward"]
    form = {
        "schema": {"type": "object", "properties": {"image": BYTES["schema"]}, "required": ["image"]},
        "encoding": {"image": {"contentType": ", ".join(TAKEN)}},
    }
    body = {"required": True, "content": {**dict.fromkeys(TAKEN, BYTES), "multipart/form-data": form}}
    done = {"content": {"image/png": BYTES}}

    @app.post(
        "/translate", summary="Translate a picture; it keeps its size", response_class=Response,
        responses=_answers(done, problems | _slow(options)),
        openapi_extra={"requestBody": body}, **locked,
    )  # fmt: skip
    async def translate(request: Request, direction: ways = "forward") -> Response:  # type: ignore[valid-type]
        loop, raw = asyncio.get_running_loop(), await _body(request)
        chosen: Any = network if direction == "forward" else networks["backward"]
        channels: int = chosen.config.source
        try:
            pixels, given = await loop.run_in_executor(pool, read_picture, raw, options.max_pixels, channels)
        except TooManyPixelsError as error:
            raise HTTPException(413, str(error)) from error
        except UnreadableError as error:
            raise _invalid(f"this is no picture that can be translated: {error}") from error
        made = await _awaited(request, worker.translate(chosen, given))
        data = await loop.run_in_executor(pool, translation, made, pixels, channels)
        return Response(data, media_type="image/png")


def _pool() -> ThreadPoolExecutor:
    """Return threads for what would hold up the model's, or that of the connections."""
    return ThreadPoolExecutor(min(4, os.cpu_count() or 1), "pictures")


async def _body(request: Request) -> bytes:
    """Return the picture's file: the field `image` of a form, or the body as it is, whatever it says of its type."""
    if not request.headers.get("content-type", "").startswith("multipart/"):
        return await request.body()
    async with request.form(max_files=1, max_fields=8) as form:
        image = form.get("image")
        if not isinstance(image, UploadFile):
            raise _invalid("the form has no file called image")
        return await image.read()


async def _awaited(request: Request, work: "Future[T]") -> T:
    """Wait for the model, as long as there is a client."""
    made, gone = asyncio.wrap_future(work), asyncio.ensure_future(request.receive())
    try:
        waiting: set[asyncio.Future[Any]] = {made, gone}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not made.done():
            raise HTTPException(LEFT, "the client went away")
        return made.result()
    except UserError as error:
        raise HTTPException(500, str(error)) from error
    finally:
        made.cancel()
        gone.cancel()


def _slow(options: ServeOptions) -> dict[int, str]:
    return {
        400: "The body cannot be read.",
        408: f"The request was not whole after {options.timeout:g} s.",
        413: "Too many bytes or pixels.",
        503: f"{options.queue} requests are under way; ask again after Retry-After.",
        504: f"Not done after {options.timeout:g} s.",
    }


def _answers(done: dict[str, Any], problems: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    """Return how OpenAPI tells what is answered."""
    told: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem, "description": words} for status, words in problems.items()
    }
    return {200: {"description": "Done.", **done}, **told}


def _invalid(words: str) -> RequestValidationError:
    return RequestValidationError([{"loc": ("body",), "msg": words, "type": "picture"}])


async def _explained(request: Request, error: Exception) -> JSONResponse:
    """Say what is wrong with a request, but do not send back what may be megabytes, NaN, or no text at all."""
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"detail": [_explanation(one) for one in error.errors()]}, 422)


def _explanation(one: dict[str, Any]) -> dict[str, Any]:
    place = [part if isinstance(part, int) else printable(part) for part in one["loc"]]
    return {"loc": place, "msg": printable(one["msg"].removeprefix("Value error, ")), "type": one["type"]}
