"""The rule of which addresses may be reached: a table, and what an administrator allows."""

from __future__ import annotations

import ast
import ipaddress
import random
from pathlib import Path

import pytest

from repo2dockerspawner.builds.inside.reach import Reach, check_entry, is_public, plain_host

INSIDE = Path(__file__).parents[2] / "repo2dockerspawner" / "builds" / "inside"

PRIVATE = [
    *("127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255"),
    *("172.16.0.1", "172.17.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255"),
    *("169.254.169.254", "169.254.0.1", "169.254.170.2", "100.64.0.1", "100.100.100.200"),
    *("100.127.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.19.255.255"),
    *("198.51.100.1", "203.0.113.9", "192.88.99.1", "224.0.0.1", "224.0.1.1", "239.255.255.250"),
    *("240.0.0.1", "255.255.255.255", "168.63.129.16"),
    *("::", "::1", "::2", "::7f00:1", "::127.0.0.1", "::8.8.8.8", "::ffff:0:8.8.8.8"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::ffff:172.17.0.1"),
    *("::ffff:168.63.129.16", "64:ff9b::127.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::808:808"),
    *("2002:7f00:1::1", "2002:a00:1::", "2002:808:808::", "2001::1", "2001:0:4136:e378::"),
    *("2001:db8::1", "2001:10::1", "2001:20::1", "3fff::1", "100::1", "5f00::1"),
    *("fe80::1", "fe80::1%eth0", "febf::1", "fec0::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254"),
    *("fdff::1", "ff02::1", "ff0e::1", "4000::1", "e000::1"),
]
PUBLIC = [
    *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0"),
    *("126.255.255.255", "128.0.0.1", "140.82.121.3", "169.253.255.255", "169.255.0.0"),
    *("172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "198.17.255.255"),
    *("198.20.0.0", "203.0.114.0", "223.255.255.255"),
    *("2606:4700:4700::1111", "2001:4860:4860::8888", "2a01:4f8::1", "2003::1", "2400::1"),
    *("::ffff:8.8.8.8", "::ffff:101:101", "64:ff9b::8.8.8.8"),
]


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_on_the_internet_is_refused(address: str) -> None:
    assert not is_public(address)
    assert not Reach().allows(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_on_the_internet_is_allowed(address: str) -> None:
    assert is_public(address)
    assert Reach().allows(address)


def test_an_ipv4_address_is_judged_alike_in_every_form() -> None:
    numbers = random.Random(5)
    for _ in range(500):
        four = ipaddress.IPv4Address(numbers.getrandbits(32))
        for form in (f"::ffff:{four}", f"64:ff9b::{four}"):
            assert is_public(form) == is_public(str(four)), form


def test_nothing_outside_of_global_unicast_is_public() -> None:
    numbers = random.Random(6)
    for _ in range(500):
        six = ipaddress.IPv6Address(numbers.getrandbits(128))
        if is_public(str(six)):
            assert six in ipaddress.ip_network("2000::/3")


@pytest.mark.parametrize("text", ["", "localhost", "0x7f.1", "127.1", "2130706433", "1.2.3.4.5"])
def test_what_is_no_address_is_never_allowed(text: str) -> None:
    # Names and odd spellings are looked up first; only what comes out is judged.
    with pytest.raises(ValueError, match="does not appear"):
        is_public(text)
    assert not Reach(["127.0.0.0/8"]).allows(text)


@pytest.mark.parametrize(
    ("entries", "address", "host", "allowed"),
    [
        (["10.20.0.0/16"], "10.20.3.4", "git.corp", True),
        (["10.20.0.0/16"], "10.21.0.1", "git.corp", False),
        (["10.20.3.4/16"], "10.20.9.9", "", True),
        (["10.20.3.4"], "10.20.3.4", "", True),
        (["10.20.3.4"], "10.20.3.5", "", False),
        (["10.20.3.4"], "::ffff:10.20.3.4", "", True),
        (["10.20.3.4"], "64:ff9b::10.20.3.4", "", True),
        (["fd12::/16"], "fd12::1", "", True),
        (["fd12::/16"], "fd13::1", "", False),
        (["git.corp"], "10.0.0.1", "git.corp", True),
        (["git.corp"], "10.0.0.1", "GIT.Corp.", True),
        (["Git.Corp."], "10.0.0.1", "git.corp", True),
        (["git.corp"], "10.0.0.1", "evil.git.corp", False),
        (["git.corp"], "10.0.0.1", "git.corp.evil.example", False),
        (["git.corp"], "10.0.0.1", "", False),
        (["git.corp"], "10.0.0.1", "10.0.0.1", False),
        (["bücher.corp"], "10.0.0.1", "xn--bcher-kva.corp", True),
        (["10.0.0.0/8"], "127.0.0.1", "git.corp", False),
        ([], "10.0.0.1", "git.corp", False),
        (["git.corp"], "8.8.8.8", "elsewhere.example", True),
    ],
)
def test_an_administrator_allows_networks_addresses_and_names(
    entries: list[str], address: str, host: str, allowed: bool
) -> None:
    reach = Reach(entries)
    assert reach.allows(address, host) is allowed
    assert reach.is_named(address, host) is (allowed and not is_public(address))


@pytest.mark.parametrize(
    "entry",
    ["10.0.0.0/8", "10.1.2.3", "fd00::/8", "::1", "git.corp", "gitlab", "a_b.corp.", "bücher.corp"],
)
def test_entries_that_mean_something(entry: str) -> None:
    check_entry(entry)


@pytest.mark.parametrize(
    "entry",
    [
        *(
            "",
            " ",
            "10.0.0.0/33",
            "10.0.0.300",
            "10.0.0.1/8",
            "300",
            "https://git.corp",
            "git.corp:443",
        ),
        *("*.corp", "git..corp", "-git.corp", "a" * 254, "git corp", "git.corp/group"),
    ],
)
def test_entries_that_are_slips(entry: str) -> None:
    with pytest.raises(ValueError, match=r"does not appear|has host bits"):
        check_entry(entry)


@pytest.mark.parametrize(
    ("host", "plain"),
    [("A.B.", "a.b"), ("[::1]", "::1"), ("bücher.de", "xn--bcher-kva.de"), ("x" * 70 + "ü", None)],
)
def test_a_host_has_one_spelling(host: str, plain: str | None) -> None:
    assert plain_host(host) == (plain or host)


@pytest.mark.parametrize("path", sorted(INSIDE.glob("*.py")), ids=lambda path: path.name)
def test_it_runs_under_the_oldest_python_of_a_repo2docker_image(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    # unions of types are only strings there
    imports = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert "__future__" in imports or path.name == "__init__.py"
