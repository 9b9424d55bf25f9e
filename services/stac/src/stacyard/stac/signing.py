"""Presigned URLs of S3 objects: AWS Signature Version 4 in the query string, made in a few microseconds.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html. Everything but the path of an object is
the same for a while, so it is put together once. The time in a URL is that of the beginning of this while: whoever
reads an item twice finds the same URL, and caches do too.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

_ALGORITHM = "AWS4-HMAC-SHA256"
_PLAIN = re.compile(r"[A-Za-z0-9/._~-]+")


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """Who signs. A session token belongs to credentials that expire."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where buckets answer. `endpoint` is the URL of another S3 than AWS's own."""

    region: str
    endpoint: str | None = None
    virtual_hosted: bool | None = None

    def base(self, bucket: str) -> tuple[str, str]:
        """The URL of a bucket in two parts, scheme and host, and path before the key.

        By host name where AWS wants it, by path where a bucket's dots would break the certificate, and at other
        endpoints unless `virtual_hosted` says otherwise.
        """
        url = urlsplit(self.endpoint or f"https://s3.{self.region}.amazonaws.com")
        by_host = self.endpoint is None and "." not in bucket if self.virtual_hosted is None else self.virtual_hosted
        path = url.path.rstrip("/")
        if by_host:
            return f"{url.scheme}://{bucket}.{url.netloc}", path
        return f"{url.scheme}://{url.netloc}", f"{path}/{quote(bucket)}"


@dataclass(frozen=True, kw_only=True)
class _Period:
    """What all signatures of a while have in common."""

    begins: float
    ends: float
    credentials: Credentials
    query: str
    to_sign: str
    keyed: hmac.HMAC
    edition: str


class S3Signer:
    """Signs GET requests. A URL holds at the most for `seconds`, and for half of them at the least.

    With credentials that expire it holds no longer than these.
    """

    def __init__(
        self,
        place: Place,
        credentials: Callable[[], Credentials | None],
        *,
        seconds: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._place = place
        self._credentials = credentials
        self._seconds = seconds
        self._clock = clock
        self._period: _Period | None = None
        self._bases: dict[str, tuple[str, str, str]] = {}

    @property
    def edition(self) -> str:
        """Changes when URLs do; names no secret."""
        period = self._current()
        return period.edition if period else ""

    def sign(self, uri: str) -> str | None:
        """The URL of an `s3://` URI, whose key is percent-encoded; None while there are no credentials.

        A bucket has none: signed, it would be the list of all that it holds.
        """
        period = self._current()
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        if period is None or not key.strip("/"):
            return None
        origin, host, before = self._bases.get(bucket) or self._base(bucket)
        path = f"{before}/{key if _PLAIN.fullmatch(key) else quote(unquote(key))}"
        request = f"GET\n{path}\n{period.query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
        digest = hashlib.sha256(request.encode()).hexdigest()
        signature = period.keyed.copy()
        signature.update(f"{period.to_sign}{digest}".encode())
        return f"{origin}{path}?{period.query}&X-Amz-Signature={signature.hexdigest()}"

    def _base(self, bucket: str) -> tuple[str, str, str]:
        origin, before = self._place.base(bucket)
        base = self._bases[bucket] = (origin, urlsplit(origin).netloc, before)
        return base

    def _current(self) -> _Period | None:
        credentials = self._credentials()
        if credentials is None:
            return None
        period = self._period
        now = self._clock()
        if period is None or period.credentials is not credentials or not period.begins <= now < period.ends:
            period = self._period = self._begin(credentials, now)
        return period

    def _begin(self, credentials: Credentials, now: float) -> _Period:
        length = max(self._seconds // 2, 1)
        start = int(now // length) * length
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(start))
        day, region = moment[:8], self._place.region
        scope = f"{day}/{region}/s3/aws4_request"
        key = f"AWS4{credentials.secret_access_key}".encode()
        for part in (day, region, "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        parameters = {
            "X-Amz-Algorithm": _ALGORITHM,
            "X-Amz-Credential": f"{credentials.access_key_id}/{scope}",
            "X-Amz-Date": moment,
            "X-Amz-Expires": str(self._seconds),
            "X-Amz-Security-Token": credentials.session_token,
            "X-Amz-SignedHeaders": "host",
        }
        return _Period(
            begins=start,
            ends=start + length,
            credentials=credentials,
            # in the order of their names, as the signature wants them
            query="&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items() if value),
            to_sign=f"{_ALGORITHM}\n{moment}\n{scope}\n",
            keyed=hmac.new(key, digestmod="sha256"),
            edition=hashlib.sha256(f"{moment}/{credentials.access_key_id}".encode()).hexdigest()[:12],
        )
