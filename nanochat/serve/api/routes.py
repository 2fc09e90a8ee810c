"""The addresses of the API."""

from collections.abc import Awaitable, Callable
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nanochat.serve.api import upstream
from nanochat.serve.api.chat import chat_completions
from nanochat.serve.api.completions import completions
from nanochat.serve.api.endpoint import Endpoint, Reply, as_api_error
from nanochat.serve.api.errors import ApiError
from nanochat.serve.api.fields import Fields
from nanochat.serve.api.lens import lens
from nanochat.serve.api.models import model_document, model_list
from nanochat.serve.api.tokenize import detokenize, tokenize
from nanochat.serve.models import ModelRegistry

_POSTS: dict[str, Callable[[ModelRegistry, Fields, Reply], Awaitable[None]]] = {
    "/v1/chat/completions": chat_completions,
    "/v1/completions": completions,
    "/v1/lens": lens,
    "/tokenize": tokenize,
    "/detokenize": detokenize,
}


def routes(registry: ModelRegistry) -> list[Route]:
    """The API over the models of `registry`."""

    async def models(_request: Request) -> Response:
        return JSONResponse(model_list(registry))

    async def model(request: Request) -> Response:
        try:
            return JSONResponse(model_document(registry.card(request.path_params["model"])))
        except Exception as fault:
            return error_response(as_api_error(fault))

    posts = [
        Route(path, Endpoint(partial(handler, registry)), methods=["POST"])
        for path, handler in _POSTS.items()
    ]
    page = Endpoint(partial(upstream.upstream_chat, registry), upstream.error_document)
    return [
        *posts,
        Route("/chat/completions", page, methods=["POST"]),
        Route("/v1/models", models),
        Route("/v1/models/", models),
        Route("/v1/models/{model:path}", model),
    ]


def error_response(error: ApiError) -> Response:
    """An error as Starlette's handlers give it."""
    return JSONResponse(error.document, status_code=error.status, headers=error.headers)


def _base_url(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}/v1"


async def http_error(request: Request, fault: Exception) -> Response:
    """Starlette's own refusals, of addresses and methods, in the API's shape; for `exception_handlers`."""
    status = getattr(fault, "status_code", 500)
    headers = getattr(fault, "headers", None)
    what = {
        404: f"there is nothing at {request.url.path}: clients take {_base_url(request)} as their base URL",
        405: f"{request.url.path} does not take {request.method}",
    }
    message = what.get(status, str(getattr(fault, "detail", "") or "the server failed on this request"))
    return error_response(ApiError(status, message, code={404: "not_found"}.get(status), headers=headers))
