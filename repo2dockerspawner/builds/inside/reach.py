"""Which addresses a repository may be fetched from. Pure: nobody is asked for an address here.

Used on the hub, and put into build containers under repo2docker's own Python (>= 3.9, standard
library alone).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

__all__ = ["Reach", "check_entry", "is_public", "plain_host"]

if TYPE_CHECKING:
    Address = ipaddress.IPv4Address | ipaddress.IPv6Address
    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# What not every Python's `is_global` knows, or sees otherwise. IANA's registries of special-purpose
# addresses (RFC 6890), and one that is public by its number alone.
_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            *("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24"),
            # Azure's machines find their platform there
            "168.63.129.16/32",
            # Teredo is in the first and 6to4 the last: tunnels, whose ends can be anywhere
            *("2001::/23", "2001:db8::/32", "3fff::/20", "2002::/16"),
        ),
    )
)
_UNICAST = ipaddress.IPv6Network("2000::/3")
# Addresses of these forms are nothing but an IPv4 address written otherwise (RFC 4291, 6052).
_ONLY_IPV4 = (ipaddress.IPv6Network("::ffff:0:0/96"), ipaddress.IPv6Network("64:ff9b::/96"))
_IPV4_BITS = 0xFFFFFFFF

_LONGEST_HOST = 253
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the internet's, whoever looks.

    Not public are this machine, the networks around it (private, link-local, shared), cloud
    metadata, multicast, tunnels and what is reserved. An IPv6 address that is an IPv4 address
    written otherwise (mapped, NAT64's well-known prefix) is judged by that one.

    Raises:
        ValueError: it is no IP address.
    """
    return _is_public(ipaddress.ip_address(address))


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        if any(address in network for network in _ONLY_IPV4):
            return _is_public(_embedded(int(address)))
        if address not in _UNICAST:
            return False
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not any(address in network for network in _NOT_PUBLIC)
    )


def _embedded(number: int) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(number & _IPV4_BITS)


def plain_host(host: str) -> str:
    """Return a host's name in the one spelling that is compared."""
    host = host.strip().rstrip(".").lower()
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        return host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        return host


def check_entry(entry: str) -> None:
    """Check an entry of ``allowed_networks``.

    Raises:
        ValueError: it is neither a network nor an address nor a host's name.
    """
    try:
        ipaddress.ip_network(entry)
    except ValueError:
        host = plain_host(entry)
        # "10.0.0.0/33" and "10.0.0.300" are slips of who means a network
        if (
            len(host) > _LONGEST_HOST
            or not _HOST.fullmatch(host)
            or ".." in host
            or not re.search(r"[a-z]", host)
        ):
            raise


class Reach:
    """What is on the internet, and what an administrator allows besides.

    Args:
        allowed: networks (``10.20.0.0/16``), addresses and host names. A host's name allows
            whatever that name stands for.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._networks: list[Network] = []
        self._hosts: set[str] = set()
        for entry in allowed:
            try:
                self._networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                self._hosts.add(plain_host(entry))

    def allows(self, address: str, host: str = "") -> bool:
        """Return whether an IP address may be reached that was found for the name ``host``."""
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return plain_host(host) in self._hosts or self._in_networks(found) or _is_public(found)

    def is_named(self, address: str, host: str = "") -> bool:
        """Return whether an administrator has allowed the address, or the name, as such."""
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return plain_host(host) in self._hosts or self._in_networks(found)

    def _in_networks(self, address: Address) -> bool:
        forms: Sequence[Address] = (address,)
        if isinstance(address, ipaddress.IPv6Address) and any(
            address in network for network in _ONLY_IPV4
        ):
            forms = (address, _embedded(int(address)))
        return any(
            form in network
            for form in forms
            for network in self._networks
            if form.version == network.version
        )
