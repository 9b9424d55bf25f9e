"""The exceptions that stacyard raises itself. `middleware.problems` says how clients see them."""

from __future__ import annotations


class StacyardError(Exception):
    """Base of all our errors. The message is written for whoever must mend it and holds no secret."""

    #: what a service answers
    status = 500
    #: what a command ends with
    exit_code = 1


class InvalidRequest(StacyardError):
    """The client sent something that cannot be served; the message says what to change."""

    status = 400

    def __init__(self, message: str, *, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


class NotFound(StacyardError):
    """What was asked for is not there, or the caller may not know that it is."""

    status = 404


class Forbidden(StacyardError):
    """The caller may not do this."""

    status = 403


class NotAcceptable(StacyardError):
    """None of the forms that the client accepts is one that this can be given in."""

    status = 406


class Conflict(StacyardError):
    """What is there already does not go together with what is to be done."""

    status = 409


class PreconditionFailed(StacyardError):
    """It is not, or no longer, as the client's `If-Match` says."""

    status = 412


class TooLarge(StacyardError):
    """The body of the request is larger than anything that is taken."""

    status = 413


class UnsupportedMediaType(StacyardError):
    """The body of the request is of a kind that is not taken here."""

    status = 415


class TooManyRequests(StacyardError):
    """The client has more requests in hand than it may; fewer at once can succeed."""

    status = 429


class Overloaded(StacyardError):
    """No capacity within the bounded wait; asking again later can succeed."""

    status = 503


class Unavailable(StacyardError):
    """Something that we need, a database or a bucket, does not answer."""

    status = 503


class StorageError(StacyardError):
    """An object could not be read or written."""
