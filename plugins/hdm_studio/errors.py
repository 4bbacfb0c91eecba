"""Errors of the studio, and the HTTP status that stands for each error of a user."""

from __future__ import annotations

from typing import ClassVar

from hdm_pipeline.errors import ConfigError, DiskFullError, HdmError, NoSuchSceneError, PixelOverflowError, SceneError


class RequestError(HdmError):
    """A request is not as it must be: the page and the server do not fit together, or somebody else asks."""

    status: ClassVar[int] = 400


class NotSignedInError(RequestError):
    """The request brings no cookie of this server."""

    status: ClassVar[int] = 401


class ForbiddenError(RequestError):
    """The request comes from another page, or names a host that this server is not."""

    status: ClassVar[int] = 403


class NotThereError(RequestError):
    """What is asked for is not there."""

    status: ClassVar[int] = 404


class ConflictError(RequestError):
    """It cannot be done now: something newer was asked for, or a run goes on."""

    status: ClassVar[int] = 409


class TooLargeError(RequestError):
    """The request holds more than any page sends."""

    status: ClassVar[int] = 413


class ContentTypeError(RequestError):
    """What the request holds is not JSON."""

    status: ClassVar[int] = 415


def status_of(error: HdmError) -> int:
    """The HTTP status of an error: 400 what the user can correct, 404, 409, 422 a scene is damaged or does not fit,
    507 no room on the disk, 500 the rest.
    """
    if isinstance(error, RequestError):
        return error.status
    if isinstance(error, NoSuchSceneError):
        return 404
    if isinstance(error, DiskFullError):
        return 507
    if isinstance(error, SceneError | PixelOverflowError):
        return 422
    return 400 if isinstance(error, ConfigError) else 500
