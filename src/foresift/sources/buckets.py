"""Objects of S3, Google and Azure buckets; endpoints and credentials come from the usual environment variables."""

from __future__ import annotations

import os
import re
import threading
from datetime import timedelta
from typing import Any

from foresift.core.errors import MissingExtraError, UsageError
from foresift.sources.addresses import place_of
from foresift.sources.read import FileBytes, Stamp
from foresift.sources.web import LostError, RefusedError, version_of

_ANONYMOUS = "FORESIFT_ANONYMOUS"


class Buckets:
    """Requests from any number of threads; one client a bucket."""

    def __init__(self, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._stores: dict[tuple[str, str], Any] = {}
        self._guard = threading.Lock()

    def get(self, uri: str, *, limit_bytes: int) -> FileBytes:
        """The bytes of an object and their stamp.

        Raises:
            RefusedError, LostError: why there are none.
        """
        import obstore

        place = place_of(uri)
        with _Explained():
            result = obstore.get(self._store(place.scheme, place.bucket), place.key)
            meta = result.meta
            if meta["size"] > limit_bytes:
                raise RefusedError(f"{meta['size']} bytes long, above the limit of {limit_bytes}")
            data = bytes(result.bytes())
        if not data:
            raise RefusedError("zero bytes long")
        if len(data) != meta["size"]:
            raise LostError(f"cut short: {meta['size'] - len(data)} bytes of it are missing")
        return FileBytes(data, _stamp(meta))

    def head(self, uri: str) -> Stamp:
        """The stamp alone; raises as :meth:`get`."""
        import obstore

        place = place_of(uri)
        with _Explained():
            return _stamp(obstore.head(self._store(place.scheme, place.bucket), place.key))

    def under(self, prefix: str) -> list[tuple[str, Stamp]]:
        """Every object whose address begins so, ascending; raises as :meth:`get`."""
        import obstore

        place = place_of(prefix)
        with _Explained():
            # The library's prefixes end at a slash; a name that is cut in the middle is compared here.
            folder = place.key.rpartition("/")[0]
            listed = obstore.list(self._store(place.scheme, place.bucket), prefix=folder or None)
            found = [meta for part in listed for meta in part if str(meta["path"]).startswith(place.key)]
        root = f"{place.scheme}://{place.bucket}/"
        return sorted((root + str(meta["path"]), _stamp(meta)) for meta in found)

    def _store(self, scheme: str, bucket: str) -> Any:
        with self._guard:
            if (scheme, bucket) not in self._stores:
                self._stores[scheme, bucket] = self._opened(scheme, bucket)
            return self._stores[scheme, bucket]

    def _opened(self, scheme: str, bucket: str) -> Any:
        try:
            from obstore import store
        except ImportError:
            raise MissingExtraError(f"{scheme}://", "server") from None
        if not bucket:
            raise UsageError(f"{scheme}://: expected {scheme}://BUCKET/KEY")
        options: dict[str, Any] = {
            "client_options": {
                "timeout": timedelta(seconds=10 * self._timeout_s),
                "connect_timeout": timedelta(seconds=min(10.0, self._timeout_s)),
                "read_timeout": timedelta(seconds=self._timeout_s),
                "allow_http": True,  # an endpoint without TLS is one that the user named
            },
            # Tries are counted in one place, for every kind of address.
            "retry_config": {"max_retries": 0, "retry_timeout": timedelta(seconds=1)},
        }
        if os.environ.get(_ANONYMOUS):
            options["skip_signature"] = True
        if scheme == "s3":
            region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
            return store.S3Store(bucket, region=region, **options)
        if scheme == "gs":
            return store.GCSStore(bucket, **options)
        return store.AzureStore(bucket, **options)


def _stamp(meta: Any) -> Stamp:
    return int(meta["size"]), version_of(meta.get("e_tag"), meta["last_modified"].timestamp())


class _Explained:
    """Says in our words what the library says in several lines, without addresses and credentials."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from obstore import exceptions

        if error is None or isinstance(error, RefusedError | LostError | UsageError):
            return
        if isinstance(error, FileNotFoundError):
            raise RefusedError("no such object", status=404) from None
        if isinstance(error, exceptions.PermissionDeniedError):
            raise RefusedError("forbidden", status=403) from None
        if isinstance(error, exceptions.UnauthenticatedError):
            raise RefusedError("not authorised", status=401) from None
        if isinstance(error, exceptions.BaseError | OSError | ValueError):
            raise _lost(str(error)) from None


_REASONS = (
    ("account must be specified", RefusedError("the account is not known; set AZURE_STORAGE_ACCOUNT_NAME")),
    ("connectionrefused", LostError("its host refuses connections")),
    ("timedout", LostError("timed out")),
    ("timed out", LostError("timed out")),
    ("dns error", LostError("its host is not known to the name server")),
    ("connectionreset", LostError("the connection was cut")),
    ("incompletemessage", LostError("the connection was cut")),
    ("brokenpipe", LostError("the connection was cut")),
    ("decode", LostError("cut short")),
    ("body", LostError("cut short")),
)
_NO_CREDENTIALS = ("token request", "169.254.169.254", "latest/api/token", "metadata.google", "no credentials")


def _lost(text: str) -> Exception:
    """What a text of the library means; it has no kinds for most failures."""
    low = text.lower()
    if any(sign in low for sign in _NO_CREDENTIALS):
        return RefusedError("no credentials were found; set the environment variables of the provider")
    status = re.search(r"status code: (\d{3})", low)
    if status is not None and status[1] == "301":
        return RefusedError("the bucket lies in another region; set AWS_REGION")
    if status is not None:
        return RefusedError(f"HTTP {status[1]}", status=int(status[1]))
    return next((reason for sign, reason in _REASONS if sign in low), LostError("the store could not be asked"))
