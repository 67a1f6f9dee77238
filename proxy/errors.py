"""Errors, sorted by who must act: the operator, the one who called us, or the sender."""

from datetime import timedelta


class CheckoutProxyError(Exception):
    """The root of every error that this package raises on purpose."""


# -- the operator ------------------------------------------------------------------------


class Misconfigured(CheckoutProxyError):
    """The settings cannot work; *mistakes* names all that is wrong, a sentence each."""

    def __init__(self, *mistakes: str) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class StoreAway(CheckoutProxyError):
    """The database cannot be reached just now; the message says where, without a password."""


class StoreSealed(StoreAway):
    """What is kept cannot be opened: it is sealed under a key that is not there."""


# -- the page, or the shop's server ------------------------------------------------------


class Refused(CheckoutProxyError):
    """A request is refused; it becomes a problem document (RFC 9457).

    *code* is the stable last part of the problem's ``type``, *detail* says what was seen and
    what to do, *pointer* is the place in the body (RFC 6901), where there is one.
    """

    status = 400
    code = "bad-request"
    title = "The request is not understood"

    def __init__(self, detail: str, *, code: str | None = None, pointer: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.pointer = pointer
        self.code = code or type(self).code


class BadRequest(Refused):
    """The body is no JSON."""


class Unauthorized(Refused):
    """The token, or the shop's key, does not hold."""

    status = 401
    code = "unauthorized"
    title = "The credentials do not hold"


class Forbidden(Refused):
    """The page's origin is not the shop's."""

    status = 403
    code = "origin-not-allowed"
    title = "The page's origin is not allowed"


class UnsupportedMediaType(Refused):
    """The body is sent under a type that is not read here."""

    status = 415
    code = "unsupported-media-type"
    title = "The body's type is not read here"


class Unprocessable(Refused):
    """The body is JSON, and says something that cannot be."""

    status = 422
    code = "invalid"
    title = "The body says something that cannot be"


class TooMany(Refused):
    """More was posted than there is a budget for; come back after *retry_after*."""

    status = 429
    title = "Too much was posted"

    def __init__(self, of: str, *, retry_after: timedelta) -> None:
        super().__init__(f"Too many states of one {of} in a minute.", code=f"too-many-of-one-{of}")
        self.retry_after = retry_after


class Unavailable(Refused):
    """The fact is not on disk, so nobody may believe it is; come back after *retry_after*."""

    status = 503
    code = "unavailable"
    title = "The fact could not be kept just now"
    retry_after = timedelta(seconds=5)


# -- the sender --------------------------------------------------------------------------


class AccountLost(CheckoutProxyError):
    """The sender no longer holds its account: what it remembers may be another's to say by now."""


class CartError(CheckoutProxyError):
    """There is no trusted cart; the message says what was seen, without personal data."""


class CartNotReady(CartError):
    """The cart has not come yet: ask again soon."""


class CartGone(CartError):
    """The source does not know the cart, or it is empty: three tries, then drop."""


class CartInvalid(CartError):
    """The source answered, and the answer is no cart: a push or a snapshot is wrong."""


class SourceDown(CartError):
    """The shop does not answer, or not with what can be read: ask again, after *retry_after*."""

    def __init__(self, words: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(words)
        self.retry_after = retry_after


class SourceRefused(CartError):
    """The shop does not let us ask at all: somebody must act, and no cart is to blame."""
