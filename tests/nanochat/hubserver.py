"""What the file server needs to hold to answer as the Hugging Face hub does, as far as its client asks."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch
from urllib.parse import quote

import huggingface_hub
from fileserver import FileServer
from huggingface_hub import constants

MAIN, CONVERTED = "main", "refs/convert/parquet"


def publish(server: FileServer, repo: str, files: Mapping[str, bytes], revision: str = MAIN) -> str:
    """Makes the data set `repo` hold `files` in `revision`; returns the commit.

    To the hub they are large files: their address tells size and sha256, and redirects to another host
    (this server by its other name).
    """
    commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
    tree = []
    for name, content in files.items():
        digest = hashlib.sha256(content).hexdigest()
        server.files[stored(content)] = content
        tree.append(
            {
                "type": "file",
                "path": name,
                "size": len(content),
                "oid": digest[:40],
                "lfs": {"oid": digest, "size": len(content), "pointerSize": 134},
            }
        )
        for at in (revision, commit):
            server.headers[resolved(repo, name, at)] = {
                "Location": server.address.replace("127.0.0.1", "localhost") + stored(content),
                "X-Repo-Commit": commit,
                "X-Linked-Etag": f'"{digest}"',
                "X-Linked-Size": str(len(content)),
            }
    api = f"/api/datasets/{repo}"
    for at in (revision, commit):
        server.files[f"{api}/revision/{quote(at, safe='')}"] = json.dumps(
            {"id": repo, "sha": commit}
        ).encode()
        server.files[f"{api}/tree/{quote(at, safe='')}"] = json.dumps(tree).encode()
    return commit


def resolved(repo: str, name: str, revision: str = MAIN) -> str:
    """The path at which a file of a data set is asked for."""
    return f"/datasets/{repo}/resolve/{quote(revision, safe='')}/{name}"


def stored(content: bytes) -> str:
    """The path to which the hub sends on those that ask for this content."""
    return f"/cdn/{hashlib.sha256(content).hexdigest()}"


@contextmanager
def in_place_of_the_hub(address: str, cache: Path, offline: bool = False) -> Iterator[None]:
    """What HF_ENDPOINT, HF_HUB_CACHE and HF_HUB_OFFLINE do, which the client reads when it is imported."""
    values = {
        "ENDPOINT": address,
        "HUGGINGFACE_CO_URL_TEMPLATE": address + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_OFFLINE": offline,
    }
    with patch.multiple(constants, **values):
        yield
    huggingface_hub.close_session()
