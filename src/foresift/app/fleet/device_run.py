"""What a device is asked to do in one call, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

BY_CLOCK, BY_FILE = "clock", "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRun:
    """One call of a device."""

    folder: Path
    """Written by ``foresift fleet export``."""
    spool: Path
    device: str = ""
    """Its name in receipts; the host's by default."""
    quota_per_day: int | None = None
    """In place of the exported one."""
    day: str = BY_CLOCK
    """Which day a frame belongs to: ``clock``, ``file`` (its modification time, by which a folder's frames then
    come), or a name for all of them. UTC."""
    upload: Path | None = None
    """A folder to move hits to whenever it is there, such as a share; else they wait in the spool."""
    batch: int = 0
    """Frames of equal size a call of the model; 0 = up to 64, with no more than 1 MiB of pixels."""
    keep_open: bool = False
    """The day goes on after these frames: what is held stays held."""
    threads: int = 0


@dataclass(slots=True, kw_only=True)
class DeviceReport:
    """What became of the frames of one call."""

    device: str
    fleet: str
    frames: int = 0
    """Frames that were scored."""
    sent: int = 0
    held: int = 0
    """Candidates that wait for the end of the day."""
    repeats: int = 0
    """Frames that look like one that was kept a moment ago."""
    broken: int = 0
    lost: int = 0
    """Candidates whose bytes were gone when the day ended, or whose record was when the device started."""
    late: int = 0
    """Frames of a day that had ended and began again: they could have no more than what it had left of its quota."""
    stragglers: int = 0
    """Frames dated before the open day: scored, never sent."""
    uploaded: int = 0
    days: dict[str, int] = field(default_factory=dict)
    """Hits of each day so far, earlier calls included."""
    reasons: list[str] = field(default_factory=list)
    """Of the first broken frames."""
    unreadable: list[str] = field(default_factory=list)
    """Receipts in the outbox that were of no use when the device started, with the reason: they stay there."""

    def warnings(self) -> list[str]:
        """What a person should look at beside broken frames, a line each."""
        lines = [f"left in the outbox: {reason}" for reason in self.unreadable]
        if self.late:
            lines.append(
                f"{self.late:,} frames came when their day had ended, for what its quota had left: give frames in the "
                "order of time, and --keep-open while a day goes on"
            )
        if self.stragglers:
            lines.append(
                f"{self.stragglers:,} frames dated before the open day were not sent: give frames in the order of "
                "time, and look at the files' times or the clock"
            )
        return lines
