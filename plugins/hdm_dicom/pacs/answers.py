"""What a PACS answers to a file that it was sent, in the words of STOW-RS, C-STORE and storage commitment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hdm_pipeline.contracts import SendAnswer

DUPLICATE = 0x0111
"""The PACS has an instance of this UID: it is the same one, for UIDs hash what they name."""

_REASONS = {
    0x0110: "processing failure",
    0x0112: "no such object instance",
    0x0117: "invalid SOP instance",
    0x0119: "class and instance do not belong together",
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0x0131: "duplicate transaction",
    0x0210: "duplicate invocation",
    0x0211: "unrecognised operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
    0xC122: "transfer syntax not supported",
}
"""PS3.7 annex C, PS3.4 J.3.5 and PS3.18 10.5.3."""

_RANGES = (
    (0xA700, 0xA7FF, "out of resources"),
    (0xA900, 0xA9FF, "the data set does not match its SOP class"),
    (0xC000, 0xCFFF, "cannot understand"),
)
_LOG = "the PACS' own log says why; its settings may exclude this kind of object"
_ROOM = "free space in the PACS"

_STORED = (200, 202, 409)
"""Statuses of HTTP whose body says what became of each instance."""

_AWAY = {
    408: "it gave up waiting",
    425: "too early",
    429: "too many requests",
    502: "a proxy cannot reach it",
    503: "it is not available",
    504: "a proxy gets no answer from it",
}
_NOT_HERE = {
    404: "no such service",
    405: "the service takes no files",
    410: "the service is gone",
    501: "the service takes no files",
}
_NOT_US = {
    401: "it does not know us, or the password or token is wrong",
    403: "it does not allow this to us",
    407: "a proxy asks for credentials",
}
_NOT_THIS = {
    406: "it cannot answer in JSON",
    413: "the file is larger than it or a proxy before it takes",
    415: "it takes no such objects",
}


def of_reason(reason: int | None) -> SendAnswer:
    """What a failure reason, or a failing status of C-STORE, says of one instance."""
    if reason == DUPLICATE:
        return SendAnswer("stored", "was there already")
    if reason is None:
        return SendAnswer("refused", "the PACS failed to store it and gives no reason", _LOG)
    ranges = (text for low, high, text in _RANGES if low <= reason <= high)
    text = _REASONS.get(reason) or next(ranges, "a reason of its own")
    full = 0xA700 <= reason <= 0xA7FF or reason == 0x0213
    what = f"the PACS did not store it: {text} ({reason:04X}H)"
    return SendAnswer("refused", what, _ROOM if full else _LOG, again=full)


def of_status(status: int | None) -> SendAnswer:
    """What the status of a C-STORE says; None where no answer came."""
    if status is None:
        what = "the PACS gave no answer, or broke off"
        return SendAnswer("unavailable", what, "check whether it runs; raise `timeout`", again=True)
    if status == 0:
        return SendAnswer("stored", "stored")
    if 0xB000 <= status <= 0xBFFF or status in (0x0001, 0x0107, 0x0116):
        return SendAnswer("stored", f"stored, with warning {status:04X}H")
    return of_reason(status)


def of_http(status: int) -> SendAnswer | None:
    """What a status of HTTP says by itself; None where the body is to be read."""
    code = f"(HTTP {status})"
    if status in _NOT_US:
        remedy = "check user_env and password_env, or token_env, and what the PACS allows that user"
        return SendAnswer("unavailable", f"the PACS takes nothing: {_NOT_US[status]} {code}", remedy)
    if status in _NOT_HERE:
        remedy = "check the path of the address"
        return SendAnswer("unavailable", f"the PACS takes nothing there: {_NOT_HERE[status]} {code}", remedy)
    if status in _AWAY:
        return SendAnswer("unavailable", f"the PACS takes nothing now: {_AWAY[status]} {code}", again=True)
    if status in _STORED:
        return None
    why = _NOT_THIS.get(status, "an error of its own" if status >= 500 else "it does not understand the request")
    return SendAnswer("refused", f"the PACS did not store it: {why} {code}", _LOG, again=status >= 500)


def of_stow(status: int, body: Any, uid: str) -> SendAnswer:
    """What the answer to STOW-RS says of one instance.

    Args:
        status: of HTTP, one that `of_http` leaves open.
        body: the answer as DICOM JSON; None where it is none.
        uid: of the instance.
    """
    if not isinstance(body, Mapping):
        if status == 200:  # PS3.18 10.5.3: all instances are stored
            return SendAnswer("stored", "stored")
        return SendAnswer("refused", f"the PACS answers HTTP {status} without saying what is wrong", _LOG)
    for item in _items(body, "00081198"):
        if _value(item, "00081155") in (uid, None):
            reason = _value(item, "00081197")
            return of_reason(reason if isinstance(reason, int) else None)
    stored = _items(body, "00081199")
    for item in stored:
        if _value(item, "00081155") == uid:
            warning = _value(item, "00081196")
            told = f", with warning {warning:04X}H" if isinstance(warning, int) else ""
            return SendAnswer("stored", f"stored{told}")
    if status == 200 and not stored:
        return SendAnswer("stored", "stored")
    return SendAnswer("refused", "the PACS does not say that it stored the file", _LOG)


def _items(body: Mapping[str, Any], tag: str) -> list[Mapping[str, Any]]:
    """The items of a sequence; an empty item says nothing and is left out."""
    element = body.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    return [item for item in values if isinstance(item, Mapping) and item] if isinstance(values, list) else []


def _value(item: Mapping[str, Any], tag: str) -> Any:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    return values[0] if isinstance(values, list) and values else None
