"""`/metrics` in Prometheus' text format 0.0.4, `/health`, and upstream nanochat's `/stats`."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nanochat.serve.figures import FIRST_TOKEN_BUCKETS
from nanochat.serve.loaded import LoadedModel
from nanochat.serve.models import ModelRegistry
from nanochat.serve.worker import ModelWorker

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_GAUGES: tuple[tuple[str, str, Callable[[ModelWorker, float], float]], ...] = (
    ("rows", "Answers that are being computed.", lambda w, _: w.running),
    ("rows_limit", "Answers computed together at most.", lambda w, _: w.max_rows),
    ("queue", "Answers that wait for a place.", lambda w, _: w.waiting),
    (
        "tokens_per_second",
        "Tokens generated a second, over the last ten.",
        lambda w, now: w.figures.tokens_per_second(now),
    ),
)
_COUNTERS: tuple[tuple[str, str, Callable[[ModelWorker], int]], ...] = (
    ("requests_total", "Requests taken.", lambda w: w.figures.requests),
    ("requests_refused_total", "Requests that found the queue full.", lambda w: w.figures.refused),
    ("failures_total", "Steps of the model that failed.", lambda w: w.figures.failures),
    ("prompt_tokens_total", "Tokens of prompts, from the cache or read.", lambda w: w.figures.prompt_tokens),
    (
        "prompt_tokens_cached_total",
        "Tokens of prompts that the prefix cache spared.",
        lambda w: w.figures.cached_tokens,
    ),
    ("generated_tokens_total", "Tokens generated.", lambda w: w.figures.generated_tokens),
)
_CACHES: tuple[tuple[str, str, str, Callable[[Any], int]], ...] = (
    ("prefix_cache_hits_total", "counter", "Prompts whose beginning was kept.", lambda c: c.hits),
    ("prefix_cache_misses_total", "counter", "Prompts whose beginning was not kept.", lambda c: c.misses),
    ("prefix_cache_bytes", "gauge", "Keys and values kept.", lambda c: c.bytes),
)


def routes(registry: ModelRegistry) -> list[Route]:
    """What operators and balancers ask."""

    async def health(_request: Request) -> Response:
        """200 once a model has been loaded, also while it is unloaded; 503 before."""
        models = registry.loaded()
        workers = [worker for model in models for worker in model.workers]
        ready = registry.began
        document = {
            "status": "ok" if ready else "loading",
            "ready": ready,
            "num_gpus": len({device for model in models for device in model.devices if device != "cpu"}),
            "available_workers": sum(worker.load < worker.max_rows for worker in workers),
        }
        return JSONResponse(document, 200 if ready else 503)

    async def stats(_request: Request) -> Response:
        """The workers as upstream's page lists them; a busy one has no free row."""
        pairs = [
            (worker, device)
            for model in registry.loaded()
            for worker, device in zip(model.workers, model.devices, strict=True)
        ]
        busy = sum(worker.load >= worker.max_rows for worker, _ in pairs)
        return JSONResponse(
            {
                "total_workers": len(pairs),
                "available_workers": len(pairs) - busy,
                "busy_workers": busy,
                "workers": [{"gpu_id": worker.replica, "device": device} for worker, device in pairs],
            }
        )

    async def metrics(_request: Request) -> Response:
        return Response(prometheus(registry.loaded(), time.monotonic()), media_type=MEDIA_TYPE)

    return [Route("/health", health), Route("/stats", stats), Route("/metrics", metrics)]


def prometheus(models: Iterable[LoadedModel], now: float) -> str:
    """The figures of every worker; `now` on the monotonic clock. Counters begin anew with a loaded model."""
    models = list(models)
    workers = [
        ({"model": model.card.id, "step": str(model.card.name.step), "replica": str(worker.replica)}, worker)
        for model in models
        for worker in model.workers
    ]
    lines: list[str] = []
    for name, text, gauge in _GAUGES:
        _add(lines, name, "gauge", text, [(labels, gauge(one, now)) for labels, one in workers])
    for name, text, counter in _COUNTERS:
        _add(lines, name, "counter", text, [(labels, counter(one)) for labels, one in workers])
    for name, kind, text, figure in _CACHES:
        caches = [
            ({"model": m.card.id, "step": str(m.card.name.step), "replica": str(i)}, figure(cache))
            for m in models
            for i, cache in enumerate(list(m.prefix_caches))
        ]
        _add(lines, name, kind, text, caches)
    _add_histogram(lines, workers)
    memory = [({"model": m.card.id, "step": str(m.card.name.step)}, m.bytes) for m in models]
    _add(lines, "model_bytes", "gauge", "Memory set aside for a model, on each device.", memory)
    idle = [
        ({"model": m.card.id, "step": str(m.card.name.step)}, 0 if m.users else now - m.last_used)
        for m in models
    ]
    _add(lines, "model_idle_seconds", "gauge", "How long nobody has asked a model.", idle)
    return "\n".join(lines) + "\n"


def _add(
    lines: list[str], name: str, kind: str, text: str, values: Iterable[tuple[Mapping[str, str], float]]
) -> None:
    lines += [f"# HELP nanochat_{name} {text}", f"# TYPE nanochat_{name} {kind}"]
    lines += [f"nanochat_{name}{_labels(labels)} {value:.10g}" for labels, value in values]


def _add_histogram(lines: list[str], workers: Iterable[tuple[Mapping[str, str], ModelWorker]]) -> None:
    name = "nanochat_time_to_first_token_seconds"
    lines += [f"# HELP {name} From a request's arrival in the queue.", f"# TYPE {name} histogram"]
    for labels, worker in workers:
        counts, total = list(worker.figures.first_token_counts), 0
        for bound, count in zip([*map(str, FIRST_TOKEN_BUCKETS), "+Inf"], counts, strict=True):
            total += count
            lines.append(f"{name}_bucket{_labels({**labels, 'le': bound})} {total}")
        lines.append(f"{name}_sum{_labels(labels)} {worker.figures.first_token_seconds:.10g}")
        lines.append(f"{name}_count{_labels(labels)} {total}")


def _labels(labels: Mapping[str, str]) -> str:
    def escaped(value: str) -> str:
        return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    return "{" + ",".join(f'{name}="{escaped(value)}"' for name, value in labels.items()) + "}"
