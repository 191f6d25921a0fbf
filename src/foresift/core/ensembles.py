"""Ensembles: which generations and kept checkpoints speak together, and what they have said of which samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from foresift.core.arrays import Ids, Logits
from foresift.core.digests import digest_value
from foresift.core.errors import DataError, ModelError, UsageError
from foresift.core.generations import Transform
from foresift.core.members import Members, State, add, merge, merge_samples, no_members

ENSEMBLE_FORMAT = 1
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One network of an ensemble: a generation, or the weights that it had after one of its epochs."""

    folder: str
    """The generation's folder: absolute, or seen from the folder of the list."""
    generation: str
    """Its id."""
    weights: str
    """Digest of the very weights that speak."""
    checkpoint: str = ""
    """Name of the file below the generation's ``checkpoints``; empty = its final weights."""

    @property
    def name(self) -> str:
        """What a message calls it."""
        return f"{self.folder} {self.checkpoint}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """Generations and kept checkpoints of the same classes and transform, each once."""

    members: tuple[Member, ...]
    classes: tuple[str, ...]
    """In the order of the logits."""
    transform: Transform

    def __post_init__(self) -> None:
        if not self.members:
            raise UsageError("an ensemble needs at least one member")
        seen: dict[str, str] = {}
        for member in self.members:
            if member.weights in seen:
                raise UsageError(f"{member.name} has the same weights as {seen[member.weights]}; list a member once")
            seen[member.weights] = member.name

    def __len__(self) -> int:
        return len(self.members)

    @property
    def digest(self) -> str:
        """Of the weights of all members, in whatever order they are listed."""
        return digest_value(sorted(member.weights for member in self.members))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"format": ENSEMBLE_FORMAT, "kind": "ensemble", "digest": self.digest, **asdict(self)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Ensemble:
        """Inverse of :meth:`to_dict`.

        Raises:
            ModelError: another format, or fields that are missing or changed.
        """
        if plain.get("kind") != "ensemble" or plain.get("format") != ENSEMBLE_FORMAT:
            raise ModelError(f"expected a list of members of format {ENSEMBLE_FORMAT}, as foresift ensemble writes it")
        try:
            made = cls(
                members=tuple(Member(**member) for member in plain["members"]),
                classes=tuple(plain["classes"]),
                transform=Transform.from_dict(plain["transform"]),
            )
        except (KeyError, TypeError) as error:
            raise ModelError(f"not a complete list of members: {error}") from None
        if made.digest != plain.get("digest"):
            raise ModelError("the list of members was changed since it was written; make it again")
        return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """What members have said of n samples so far: it grows member by member, and parts of it merge.

    Equal samples: members add up. Equal members: samples add up. Either way a member counts once for a sample.
    """

    sample_ids: Ids
    """(n,) ascending, distinct."""
    state: State
    """(n,) of :mod:`foresift.core.members`."""
    members: tuple[str, ...]
    """Digests of who has spoken, ascending."""
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.sample_ids) != len(self.state) or Members(self.state).classes != len(self.classes):
            raise DataError(f"{len(self.state)} states of {Members(self.state).classes} classes do not fit the samples")
        if len(self.members) != len(set(self.members)):
            raise DataError("a member is listed twice; it may speak once")

    @classmethod
    def none(cls, sample_ids: Ids, classes: Sequence[str]) -> Spoken:
        """Nobody has spoken of these samples yet."""
        state = no_members(len(sample_ids), len(classes))
        return cls(sample_ids=sample_ids, state=state, members=(), classes=tuple(classes))

    def heard(self, member: str, logits: Logits) -> Spoken:
        """With one more member; this one stays as it is.

        Args:
            member: its digest.
            logits: (n, c), finite.
        Raises:
            UsageError: it has spoken already.
        """
        if member in self.members:
            raise UsageError(f"member {member[:12]} has spoken already; it would count twice")
        return self._with(state=add(self.state.copy(), logits), members=(*self.members, member))

    def merged(self, other: Spoken) -> Spoken:
        """Both parts as one: further members of the same samples, or further samples of the same members.

        Raises:
            UsageError: other classes, a member that counts in both parts, or neither samples nor members are equal.
        """
        if self.classes != other.classes:
            raise UsageError(f"the parts differ in their classes: {_few(self.classes)} and {_few(other.classes)}")
        if np.array_equal(self.sample_ids, other.sample_ids):
            if twice := sorted(set(self.members) & set(other.members)):
                raise UsageError(f"member {twice[0][:12]} speaks in both parts; merge parts of different members")
            return self._with(state=merge(self.state, other.state), members=(*self.members, *other.members))
        if self.members == other.members and not np.isin(self.sample_ids, other.sample_ids).any():
            return self._appended(other)
        raise UsageError(
            "parts merge that hold the same samples by different members, or different samples by the same members; "
            f"these hold {len(self.sample_ids)} and {len(other.sample_ids)} samples by {len(self.members)} and "
            f"{len(other.members)} members"
        )

    def _appended(self, other: Spoken) -> Spoken:
        ids, state = merge_samples([(self.sample_ids, self.state), (other.sample_ids, other.state)])
        return Spoken(sample_ids=ids, state=state, members=self.members, classes=self.classes)

    def _with(self, *, state: State, members: tuple[str, ...]) -> Spoken:
        return Spoken(sample_ids=self.sample_ids, state=state, members=tuple(sorted(members)), classes=self.classes)


def _few(names: Sequence[str]) -> str:
    return f"{len(names)} ({', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"
