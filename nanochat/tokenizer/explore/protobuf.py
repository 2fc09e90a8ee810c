"""The fields of a protobuf message, for the one that SentencePiece's library does not tell."""

from collections.abc import Iterator


def fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """`(number, value)` of each field of a message; fixed-width ones as bytes. ValueError when damaged."""
    place = 0
    while place < len(raw):
        key, place = _varint(raw, place)
        wire = key & 7
        if wire == 0:
            value, place = _varint(raw, place)
            yield key >> 3, value
            continue
        if wire == 2:
            length, place = _varint(raw, place)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {place}")
        if place + length > len(raw):
            raise ValueError(f"a field at byte {place} goes beyond the end")
        yield key >> 3, raw[place : place + length]
        place += length


def _varint(raw: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if place >= len(raw) or shift > 63:
            raise ValueError(f"a number at byte {place} has no end")
        byte = raw[place]
        value |= (byte & 0x7F) << shift
        place += 1
        shift += 7
        if byte < 0x80:
            return value, place
