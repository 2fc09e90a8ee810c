"""The published pretraining sets: where their shards are and which ones a request stands for."""

from dataclasses import dataclass

from nanochat.common.errors import UserError, nearest
from nanochat.data.shards import shard_name

HUB = "https://huggingface.co"


@dataclass(frozen=True)
class PublishedSet:
    """A set of shards 0 … `last` in one repository of the hub."""

    name: str
    repository: str
    last: int
    folder: str
    """Where the shards go under the base directory."""
    fixed_validation: bool
    """The set's last shard always comes along: it is everyone's validation split."""

    def numbers(self, count: int) -> list[int]:
        """The shards that `count` stands for: the first ones (-1: all), and the fixed validation shard.

        Raises `UserError` when the set has not that many, or nothing would be left to train on.
        """
        if count > self.last + 1:
            raise UserError(f"{self.name} has {self.last + 1} shards, not {count}", "ask for fewer with -n")
        least = 1 if self.fixed_validation else 2
        if 0 <= count < least:
            raise UserError(
                f"-n {count} leaves nothing to train on: {self.name} needs at least {least}",
                "the last shard on disk is the validation split",
            )
        wanted = set(range(self.last + 1 if count < 0 else count))
        return sorted(wanted | {self.last} if self.fixed_validation else wanted)

    @property
    def dataset(self) -> str:
        """The repository as ORG/NAME among the hub's data sets."""
        return self.repository.removeprefix("datasets/")

    def url(self, number: int, mirror: str = "") -> str:
        """The address of one shard on the hub, or on a `mirror` in its place."""
        return f"{(mirror or HUB).rstrip('/')}/{self.repository}/resolve/main/{shard_name(number)}"


PUBLISHED = {
    item.name: item
    for item in (
        PublishedSet("climbmix", "datasets/karpathy/climbmix-400b-shuffle", 6542, "base_data_climbmix", True),
        PublishedSet("fineweb-edu", "datasets/karpathy/fineweb-edu-100b-shuffle", 1822, "base_data", False),
    )
}


def published_set(name: str) -> PublishedSet:
    """The set called `name`; raises `UserError` with the nearest names."""
    if name not in PUBLISHED:
        raise UserError(f"no published set is called '{name}'", nearest(name, PUBLISHED))
    return PUBLISHED[name]
