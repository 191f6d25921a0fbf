"""How a refusal is spelled in HTTP and in gRPC."""

from __future__ import annotations

GRPC_OF = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "FAILED_PRECONDITION",
    413: "OUT_OF_RANGE",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
"""Names of gRPC status codes by HTTP status."""
HTTP_OF = {name: status for status, name in GRPC_OF.items()}
KIND = "foresift-error"
"""Key of the trailing metadata that names the kind of a refusal, as ``error`` does in the body of HTTP."""
