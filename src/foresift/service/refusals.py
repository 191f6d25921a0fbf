"""Why a request is refused, and the status that says so.

UsageError
├── NotFoundError      404  nothing of that name or id
├── UnauthorizedError  401  no token, or one that nobody knows
├── ForbiddenError     403  outside of what the operator or the token allows (:mod:`foresift.service.allowed`)
├── TooLargeError      413  more than a limit takes
└── TooManyError       429  too many requests
ForesiftError
├── NotReadyError      503  the server is about to end, or its model is not there
├── ChildDiedError     503  the process that did the work was killed (:mod:`foresift.executors`)
└── any other          409  the state of pool, model or workspace does not allow it
"""

from __future__ import annotations

from foresift.core.errors import ForesiftError, UnknownRecordError, UsageError
from foresift.executors import ChildDiedError
from foresift.service.allowed import ForbiddenError


class NotFoundError(UsageError):
    """Nothing of that name or id."""


class UnauthorizedError(UsageError):
    """No token, or one that nobody knows."""


class TooLargeError(UsageError):
    """More than a limit takes."""


class TooManyError(UsageError):
    """Too many requests."""


class NotReadyError(ForesiftError):
    """The server is about to end, or its model is not there."""


_STATUS: tuple[tuple[type[ForesiftError], int], ...] = (
    (NotFoundError, 404),
    (UnknownRecordError, 404),
    (UnauthorizedError, 401),
    (ForbiddenError, 403),
    (TooLargeError, 413),
    (TooManyError, 429),
    (NotReadyError, 503),
    (ChildDiedError, 503),
    (UsageError, 422),
)


def status_of(error: ForesiftError) -> int:
    """The HTTP status of a refusal."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 409)
