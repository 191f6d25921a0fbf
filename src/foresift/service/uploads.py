"""Bytes that clients send, for images that the server can't read itself: kept once, by their digest."""

from __future__ import annotations

import hashlib
import io
import os
import re
import tempfile
import warnings
from pathlib import Path

from PIL import Image

from foresift.core.digests import DIGEST_CHARS
from foresift.core.errors import DataError
from foresift.service.refusals import NotFoundError, TooLargeError
from foresift.stores.files import disk_errors
from foresift.wire.messages import UploadView

SCHEME = "upload://"
_FORMATS = ("PNG", "WEBP", "BMP", "TIFF", "GIF", "JPEG")
"""What a pass can decode; everything else that Pillow can open stays shut."""
_DIGEST = re.compile(f"[0-9a-f]{{{DIGEST_CHARS}}}")


class Uploads:
    """A folder of images named by their digests."""

    def __init__(self, folder: Path, *, most_bytes: int, most_pixels: int) -> None:
        self.folder = folder
        self.most_bytes = most_bytes
        self.most_pixels = most_pixels

    def begin(self) -> Upload:
        """An upload that waits for its bytes."""
        return Upload(self)

    def path(self, uri: str) -> Path:
        """Where the bytes of an ``upload://DIGEST`` lie.

        Raises:
            NotFoundError: they were never uploaded here.
        """
        digest = uri.removeprefix(SCHEME)
        path = self._place(digest) if _DIGEST.fullmatch(digest) else None
        if path is None or not path.is_file():
            raise NotFoundError(f"{uri[:80]!r} was never uploaded to this server")
        return path

    def _place(self, digest: str) -> Path:
        return self.folder / digest[:2] / digest


class Upload:
    """One image on its way in: hashed and written as it comes; a context that leaves nothing behind."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads, self._hash, self._size = uploads, hashlib.sha256(), 0
        with disk_errors(uploads.folder):
            uploads.folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=uploads.folder, prefix=".part-")
        self._path, self._file = Path(name), os.fdopen(handle, "wb")

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def write(self, part: bytes) -> None:
        """Take a part.

        Raises:
            TooLargeError: it is more than a body may hold.
        """
        self._size += len(part)
        if self._size > self._uploads.most_bytes:
            raise TooLargeError(f"the image is larger than {self._uploads.most_bytes >> 20} MiB (limits.body_mib)")
        self._hash.update(part)
        with disk_errors(self._path):
            self._file.write(part)

    def finish(self) -> UploadView:
        """Keep what came; the same bytes are kept once.

        Raises:
            DataError: it is no image.
            TooLargeError: it has more pixels than an image may have.
        """
        with disk_errors(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
        self._check_image()
        digest = self._hash.hexdigest()[:DIGEST_CHARS]
        place = self._uploads._place(digest)
        new = not place.is_file()
        if new:
            with disk_errors(place):
                place.parent.mkdir(exist_ok=True)
                self._path.replace(place)
        return UploadView(uri=f"{SCHEME}{digest}", digest=digest, size_bytes=self._size, new=new)

    def _check_image(self) -> None:
        """Raise unless the header is that of an image of a size that is allowed; no pixel is decoded."""
        most = self._uploads.most_pixels
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with Image.open(io.BytesIO(self._path.read_bytes()), formats=_FORMATS) as image:
                    width, height = image.size
        except Image.DecompressionBombError:
            raise TooLargeError(f"the image has more than {most / 1e6:.0f} million pixels") from None
        except Exception as error:  # noqa: BLE001 - parsers of foreign bytes raise anything
            raise DataError(f"not an image ({', '.join(_FORMATS)}): {str(error)[:100]}".replace("\n", " ")) from None
        if width * height > most:
            raise TooLargeError(f"the image has {width} x {height} pixels, at most {most / 1e6:.0f} million")
