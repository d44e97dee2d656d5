"""Secrets: users and passwords in addresses. They are taken off where they enter, and go only to who needs them."""

from __future__ import annotations

import re

# An address, as far as it goes in a text. It begins where a word does, so that a long word is looked at once.
_ADDRESS = re.compile(r"(?<![\w+.-])[A-Za-z][\w+.-]*://[^\s'\"`]+")
# Its user and password: up to the last @ before the path; where what follows a colon is no port, it is a password that
# may hold slashes, up to the last @ of all.
_LOGIN = re.compile(r"(?<=://)(?:[^/?#]*@|(?!\[)[^/?#@]*:(?!\d*(?:[/?#]|$)).*@)")
_OPTION = re.compile(r"(?<=[?&])\w*(?:password|passwd|pwd|token|secret|key)=[^&#]*&?", re.IGNORECASE)


class Secrets:
    """Addresses with users and passwords, by the address without."""

    def __init__(self) -> None:
        self._whole: dict[str, str] = {}

    def hide(self, text: str) -> str:
        """Return ``text`` with its addresses free of users and passwords, which are kept here."""

        def bare(found: re.Match[str]) -> str:
            address = _bare(found[0], "")
            if address != found[0]:
                self._whole[address] = found[0]
            return address

        return _ADDRESS.sub(bare, text)

    def whole(self, address: str | None) -> str | None:
        """Return the address with the user and password that it came with, if any."""
        return None if address is None else self._whole.get(address, address)


def without_password(text: str) -> str:
    """Return the text with the user and password of each address replaced by ``***``."""
    return _ADDRESS.sub(lambda found: _bare(found[0], "***@"), text)


def _bare(address: str, login: str) -> str:
    bare = _LOGIN.sub(login, address) if "@" in address else address
    return _OPTION.sub("", bare).removesuffix("?").removesuffix("&")
