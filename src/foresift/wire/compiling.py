"""``python -m foresift.wire.compiling``: foresift.proto as the descriptors that :mod:`foresift.wire.protobuf` loads."""

from __future__ import annotations

import tempfile
from importlib.resources import files
from pathlib import Path

from foresift.core.errors import MissingExtraError, UsageError

PROTO = Path(__file__).with_name("foresift.proto")
DESCRIPTORS = Path(__file__).with_name("foresift.pb")


def compiled() -> bytes:
    """The descriptors of foresift.proto, without comments.

    Raises:
        UsageError: it does not compile.
    """
    try:
        from grpc_tools import protoc  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("compiling the calls", "dev") from error
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.pb"
        common = str(files("grpc_tools") / "_proto")
        places = [f"-I{PROTO.parent}", f"-I{common}", f"--descriptor_set_out={out}"]
        if protoc.main(["protoc", *places, PROTO.name]):
            raise UsageError(f"{PROTO.name} does not compile")
        return out.read_bytes()


if __name__ == "__main__":
    DESCRIPTORS.write_bytes(compiled())
