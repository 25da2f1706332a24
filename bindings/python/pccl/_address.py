"""Addresses as text: "host:port" and "[IPv6]:port"."""

from __future__ import annotations

from ._errors import PCCLArgumentError, PCCLTypeError


def split_address(address: str) -> tuple[str, int]:
    """Host (without brackets) and port of an address."""
    if not isinstance(address, str):
        raise PCCLTypeError(f"an address must be a str such as 'host:port', not {type(address).__name__}")
    host, colon, port_text = address.rpartition(":")
    if not colon or not host:
        raise PCCLArgumentError(f"the address {address!r} is not of the form 'host:port' or '[IPv6]:port'")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise PCCLArgumentError(f"the IPv6 address in {address!r} needs brackets: '[{host}]:{port_text}'")
    if not host or "\0" in host:
        raise PCCLArgumentError(f"the address {address!r} names no host")
    if not (port_text.isascii() and port_text.isdigit()) or int(port_text) > 65535:
        raise PCCLArgumentError(f"the port in {address!r} is not a number from 0 to 65535")
    return host, int(port_text)
