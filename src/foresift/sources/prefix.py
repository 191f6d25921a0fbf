"""Every image of a bucket whose address begins with a prefix."""

from __future__ import annotations

from collections import Counter

from foresift.core.protocols import Arrivals, DigestMemory, Progress
from foresift.core.samples import Pool, Quarantined
from foresift.sources.folder import (
    folder_labels,
    has_image_suffix,
    passed_over_note,
    split_folders,
    splits_note,
    suffix_of,
)
from foresift.sources.identity import Listing, identify
from foresift.sources.read import Stamp


class PrefixSource:
    """Images under ``s3://bucket/prefix``; like a folder, names that begin with a dot are left out.

    The bucket's list gives the stamps: an object that was seen before costs no request. The first parts of the
    names below the prefix are labels where a folder's would be.
    """

    name: str

    def __init__(self, prefix: str, *, progress: Progress | None = None, seen: Arrivals | None = None) -> None:
        self.name = prefix.rstrip("/")
        self._progress = progress
        self._seen = seen

    def pool(self, digests: DigestMemory, *, need_digests: bool) -> Pool:
        """Every sample; the content digest is the id.

        Raises:
            DataError: the bucket can't be listed.
            UnreachableError: its host gives nothing at all.
        """
        listing = self.listing()
        return identify(listing, digests, need_digests=need_digests, progress=self._progress, seen=self._seen)

    def listing(self) -> Listing:
        """Names and stamps, from the bucket's own list; no object is opened."""
        from foresift.sources.remote import remote

        uris: list[str] = []
        stamps: list[Stamp] = []
        empty: list[Quarantined] = []
        passed_over: Counter[str] = Counter()
        for uri, stamp in remote().under(self.name + "/"):
            below = uri[len(self.name) + 1 :]
            if any(part.startswith(".") for part in below.split("/")) or uri.endswith("/"):
                continue
            if not has_image_suffix(uri):
                passed_over[suffix_of(below)] += 1
            elif stamp[0] == 0:
                empty.append(Quarantined(uri=uri, reason="zero bytes long"))
            else:
                uris.append(uri)
                stamps.append(stamp)
        labels = folder_labels(self.name, uris)
        notes = [passed_over_note(passed_over)] if passed_over else []
        if splits := split_folders(self.name, uris):
            notes.append(splits_note(splits))
        if labels is not None:
            notes.append(f"the names of {len(set(labels))} folders are labels, for train and evaluate only")
        return Listing(
            name=self.name, uris=uris, stamps=stamps, labels=labels, quarantined=tuple(empty), notes=tuple(notes)
        )
