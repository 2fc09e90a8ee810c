#!/usr/bin/env bash
# pyarrow 26.0.1: a dictionary-encoded array sorts, the same values as a column of a table do not.
#
# Names that repeat (of metrics, of tasks) are dictionary-encoded to be small in memory and in parquet.
# `pyarrow.compute.sort_indices(array)` takes such an array and sorts by its values. A table's column is a ChunkedArray, of one
# chunk too: sort_indices of it, and Table.sort_by, raise. One key raises ArrowNotImplementedError whose whole text is the type;
# two keys raise ArrowTypeError. `group_by` takes the column. So a table is sorted before its columns are encoded, or by indices
# of the combined chunks.
#
# Seen with Python 3.11: array [1, 0, 2] · column ArrowNotImplementedError · two keys ArrowTypeError · combined [1, 0, 2]
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyarrow==26.0.1
cat >"$folder/try.py" <<'PY'
import pyarrow as pa
import pyarrow.compute as pc

names = pa.array(["val/bpb", "train/loss", "val/bpb"]).dictionary_encode()
table = pa.table({"name": names, "step": [1, 2, 3]})


def told(sort):
    try:
        return sort().to_pylist()
    except pa.ArrowException as error:
        print(f"  {type(error).__name__}: {error}")
        return type(error).__name__


seen = {
    "array": told(lambda: pc.sort_indices(names)),
    "column": told(lambda: pc.sort_indices(table["name"])),
    "sort_by, one key": told(lambda: table.sort_by("name")["step"]),
    "sort_by, two keys": told(lambda: table.sort_by([("name", "ascending"), ("step", "ascending")])["step"]),
    "combined chunks": told(lambda: pc.sort_indices(table["name"].combine_chunks())),
}
for name, result in seen.items():
    print(f"{name}: {result}")
assert seen == {
    "array": [1, 0, 2],
    "column": "ArrowNotImplementedError",
    "sort_by, one key": "ArrowNotImplementedError",
    "sort_by, two keys": "ArrowTypeError",
    "combined chunks": [1, 0, 2],
}, seen
PY
"$folder/venv/bin/python" "$folder/try.py"
