"""Counts wrong tokens by address, so that a caller cannot guess many of them."""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address

ALLOWED = 10  # wrong tokens of one address in PERIOD
PERIOD = 60.0  # seconds
MOST_ADDRESSES = 4096  # this many addresses are remembered; the one that began first is forgotten first


class Guesses:
    """The wrong tokens of the last minute. Every method is told the time, in seconds of a clock that only goes forward."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, tuple[float, int]] = (
            OrderedDict()
        )  # when the minute of the address began, wrong tokens

    def locked_for(self, address: str, now: float) -> float:
        """Returns for how many seconds the address is locked out. 0: it is not."""
        since, count = self._counts.get(group_of(address), (now, 0))
        left = since + PERIOD - now
        return left if count >= ALLOWED and left > 0 else 0.0

    def note(self, address: str, now: float) -> None:
        """Counts one wrong token of the address."""
        group = group_of(address)
        since, count = self._counts.get(group, (now, 0))
        if now - since >= PERIOD:
            since, count = now, 0
            self._counts.pop(group, None)  # so that it becomes the last one to be forgotten
        self._counts[group] = (since, count + 1)
        if len(self._counts) > MOST_ADDRESSES:
            self._counts.popitem(last=False)

    def __len__(self) -> int:
        return len(self._counts)


def group_of(address: str) -> str:
    """Returns the addresses that count as one: the /64 network of an IPv6 address, because one machine has all addresses of it."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))
