"""All that a run measured as one Arrow table, every point of it: wide, a row per event, or long, a row per
value.

Wide is the default: metrics of one event (loss, speed, learning rate of a step) stand in one row, and an
evaluation has a row of its own. A metric that an event does not have is null there, while a NaN that was
measured stays NaN: parquet keeps the two apart, in CSV null is empty and NaN is `nan`.
"""

from __future__ import annotations

import fnmatch
import json
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from nanochat.common.errors import UserError, nearest
from remote.store.series import Series

if TYPE_CHECKING:
    import pyarrow as pa

    from remote.runs import RunRow
    from remote.store.store import Store

METADATA = b"nanochat.run"
"""Key of the table's metadata: what was run, as JSON."""


def run_table(
    store: Store,
    run: RunRow,
    metrics: Iterable[str] = (),
    *,
    long: bool = False,
    superseded: bool = True,
) -> pa.Table:
    """The points of a run, in order of `seq`, the number of the event in the run's log.

    Columns: seq, step (null where the event has none), time (seconds since 1970), attempt, superseded (a
    later attempt redid that step), then one column a metric; `long` has `metric` and `value` in their place.
    `metrics` are names, last parts of names or patterns (`train/*`), none for all. Without `superseded`
    points that a later attempt redid are left out. Blocks on the disk.

    Raises `UserError` for a name that no metric has, and for a run that has measured nothing.
    """
    found = store.all_series(run.key, {}, _named(store.metric_names(run.key), metrics, run))
    if not superseded:
        found = {name: kept for name, series in found.items() if len(kept := _current(series))}
    if not found:
        raise UserError(f"{run.run_id} has measured nothing yet", "export it when it has")
    table = _long(found) if long else _wide(found)
    about = {
        "key": run.key,
        "run": run.run_id,
        "name": run.name,
        "stage": run.stage,
        "host": run.host,
        "status": run.status,
        "plan": run.plan_name,
        "created_at": run.created_at,
        "options": dict(run.options),
        "argv": list(run.argv),
    }
    return table.replace_schema_metadata({METADATA: json.dumps(about)})


def _named(known: Sequence[str], wanted: Iterable[str], run: RunRow) -> list[str]:
    chosen: list[str] = []
    for name in wanted:
        found = [metric for metric in known if fnmatch.fnmatchcase(metric, name)] or [
            metric for metric in known if metric.rpartition("/")[2].lower() == name.lower()
        ]
        if not found:
            raise UserError(f"{run.run_id} has no metric '{name}'", nearest(name, known))
        chosen += found
    return list(dict.fromkeys(chosen)) if chosen else list(known)


def _current(series: Series) -> Series:
    """The points that no later attempt redid."""
    kept = Series()
    for point, old in zip(series.points(), series.superseded, strict=True):
        if not old:
            kept.append(point)
    kept.superseded = bytearray(len(kept))
    return kept


def _keys(series: Series) -> dict[str, Any]:
    """The columns that say where points lie."""
    import numpy as np
    import pyarrow as pa

    step = np.frombuffer(series.step, dtype=np.int64)
    return {
        "seq": pa.array(np.frombuffer(series.seq, dtype=np.int64)),
        "step": pa.array(step, mask=step < 0),
        "time": pa.array(np.frombuffer(series.t, dtype=np.float64)),
        "attempt": pa.array(np.frombuffer(series.attempt, dtype=np.int32)),
        "superseded": pa.array(np.frombuffer(series.superseded, dtype=np.uint8).astype(bool)),
    }


def _long(found: dict[str, Series]) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    names = sorted(found)
    parts = []
    for rank, name in enumerate(names):
        columns = _keys(found[name])
        columns["rank"] = pa.array(np.full(len(found[name]), rank, dtype=np.int32))
        columns["value"] = pa.array(np.frombuffer(found[name].value, dtype=np.float64), from_pandas=False)
        parts.append(pa.table(columns))
    table = pa.concat_tables(parts).sort_by([("seq", "ascending"), ("rank", "ascending")])
    # Arrow cannot sort by a dictionary.
    metric = pa.DictionaryArray.from_arrays(table["rank"].combine_chunks(), pa.array(names))
    return table.set_column(table.schema.get_field_index("rank"), "metric", metric)


def _wide(found: dict[str, Series]) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    where = _together(found.values())
    seqs = np.frombuffer(where.seq, dtype=np.int64)
    columns = _keys(where)
    for name, series in sorted(found.items()):
        at = np.searchsorted(seqs, np.frombuffer(series.seq, dtype=np.int64))
        values = np.full(len(seqs), math.nan)
        missing = np.ones(len(seqs), dtype=bool)
        values[at] = np.frombuffer(series.value, dtype=np.float64)
        missing[at] = False
        columns[_free(name, columns)] = pa.array(values, mask=missing, from_pandas=False)
    return pa.table(columns)


def _free(name: str, taken: Iterable[str]) -> str:
    """A metric may be called like one of the columns that say where points lie."""
    return f"metric/{name}" if name in taken else name


def _together(found: Iterable[Series]) -> Series:
    """The places of all events that any series has a point of, in order."""
    import numpy as np

    distinct: list[Series] = []
    for series in found:
        if not any(series.same_keys(other) for other in distinct):
            distinct.append(series)
    joined = Series()
    for series in distinct:
        joined.extend(series)
        joined.superseded.extend(series.superseded)
    _, first = np.unique(np.frombuffer(joined.seq, dtype=np.int64), return_index=True)
    if len(distinct) == 1:
        return joined
    at = first.tolist()
    chosen = Series()
    for mine, theirs in zip(_columns(chosen), _columns(joined), strict=True):
        mine.extend([theirs[index] for index in at])
    return chosen


def _columns(series: Series) -> list[Any]:
    return [series.seq, series.step, series.t, series.value, series.attempt, series.superseded]
