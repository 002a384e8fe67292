"""What storage commitment answers (PS3.4 J.3); apart from its encoding, for the store must not need pydicom."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentAnswer:
    """What a provider of storage commitment says, by SOP Instance UID."""

    committed: frozenset[str]
    failed: Mapping[str, int]
    """With the failure reason (PS3.3 C.14.1.1)."""
