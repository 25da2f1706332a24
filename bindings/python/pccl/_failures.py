"""Who was lost, and what became of the operations."""

from __future__ import annotations

import uuid
from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """A member of the group that was lost while this one was in the run. All survivors have the same account
    but for `number`, which counts since this communicator connected."""

    number: int
    member: uuid.UUID
    rank: int
    """that the lost member had in its group"""
    peer_group: int
    epoch_term: int
    """and `epoch`: which list of members began without it"""
    epoch: int
    unix_time_us: int
    """when the coordinator gave it up, by the coordinator's clock"""
    heard: bool
    """a survivor had a link to it; else the next three fields say nothing"""
    silent_us: int
    """from the last byte that came of it to the moment its hearer stopped for the change"""
    received_bytes: int
    """of data that this hearer ever had of it"""
    heard_by: uuid.UUID
    """the survivor that had heard it last"""
    address: str
    cause: str
    """who reported it, and what was seen"""
    operations: str
    """those that were interrupted, how far they were, and what was decided about each"""
