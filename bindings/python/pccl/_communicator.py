"""`Communicator`: membership in a run, and the collectives."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from . import _native
from ._address import split_address
from ._descriptors import ReduceInfo, array_reduce_numbers, check_unsigned, descriptor_reduce_numbers
from ._enums import OnFailure, SharedStateSyncStrategy, number_of
from ._errors import PCCLArgumentError, PCCLError, PCCLTypeError, check_fields, failure, list_of
from ._failures import Failure
from ._lifetime import add_communicator
from ._options import native_options
from ._result import Result
from ._shared_state import SharedStateSyncInfo, tensor_numbers

_SUCCESS = 0
_TIMEOUT = Result.TIMEOUT.value
_RETRY_PAUSE_S = 1.0
_LANES_MAX = 64

# Whatever the coordinator or the network does is MASTER_CONNECTION_FAILED, which another attempt may mend;
# any other failure of a connect is the caller's and would only come again.
_MASTER_CONNECTION_FAILED = Result.MASTER_CONNECTION_FAILED.value


class AsyncReduceHandle:
    """An asynchronous reduce. Its arrays are kept alive until it has been awaited (or its communicator is
    closed), even when the handle itself is dropped. Usable from any thread."""

    def __init__(self, communicator: Communicator, tag: int, keep_alive_key: object) -> None:
        self._communicator = communicator
        self._tag = tag
        self._keep_alive_key = keep_alive_key
        self._lock = threading.Lock()
        self._outcome: tuple[bool, int, ReduceInfo] | None = None

    @property
    def tag(self) -> int:
        """The tag of the reduce."""
        return self._tag

    def wait(self, timeout_ms: int | None = None) -> tuple[bool, int, ReduceInfo]:
        """Waits for the end and returns (is_success, status, info), the same each time; failures are not
        raised. With a time-out the status may be that of `Result.TIMEOUT`: the reduce goes on and can be
        waited for again."""
        if timeout_ms is not None and (isinstance(timeout_ms, bool) or not isinstance(timeout_ms, int)):
            raise PCCLTypeError(f"timeout_ms must be an integer or None, not {timeout_ms!r}")
        if self._outcome is None and not self._communicator._native.belongs_here():
            return False, Result.INVALID_USAGE.value, ReduceInfo(0, 0, 0)
        wait_ms = -1 if timeout_ms is None else min(max(timeout_ms, 0), 2**31 - 1)
        deadline_s = time.monotonic() + wait_ms / 1000
        if not self._lock.acquire(timeout=-1 if wait_ms < 0 else wait_ms / 1000):
            return False, _TIMEOUT, ReduceInfo(0, 0, 0)
        try:
            if self._outcome is not None:
                return self._outcome
            if wait_ms > 0:
                wait_ms = max(0, int((deadline_s - time.monotonic()) * 1000))
            status, _, *numbers = self._communicator._native.reduce_wait(self._tag, wait_ms)
            outcome = (status == _SUCCESS, status, ReduceInfo(*numbers))
            if status != _TIMEOUT or wait_ms < 0:
                self._outcome = outcome
                self._communicator._in_flight.pop(self._keep_alive_key, None)
            return outcome
        finally:
            self._lock.release()

    def test(self) -> bool:
        """Whether the reduce has ended; never blocks. The handle must still be awaited."""
        if self._outcome is not None:
            return True
        status, text, done = self._communicator._native.reduce_test(self._tag)
        if status != _SUCCESS:
            if self._outcome is not None:
                return True  # Another thread awaited it in between.
            raise failure(status, "AsyncReduceHandle.test", text)
        return done

    def cancel(self) -> None:
        """Asks for a decision that ends the reduce with CANCELLED on all its participants. It must still be
        awaited, and succeeds all the same when it had been committed before."""
        if self._outcome is not None:
            return
        status, text = self._communicator._native.reduce_cancel(self._tag)
        if status != _SUCCESS and self._outcome is None:
            raise failure(status, "AsyncReduceHandle.cancel", text)


class Communicator:
    """Membership in a run. Calls release the GIL; failures raise `PCCLError`. Destruction leaves the run.

    `address` is the coordinator's, "host:port" or "[IPv6]:port"; `p2p_connection_pool_size` is another name
    for `lanes`, with 0 for 1 and anything above 64 for 64. A lost peer makes a reduce fail with
    RANK_CONNECTION_LOST, and the caller retries, unless `on_failure` is RETRY: then reduces repeat among
    the survivors by themselves. Other options that are None are decided by the environment, then by the
    library's default; times are in milliseconds.
    `log_callback(level, message)` is called from threads of the library and must not call back into this
    module.

    Ctrl-C ends a call that blocks with KeyboardInterrupt, and so does any signal handler with the exception
    that it raises. The communicator has left the run then, so that no array is in use; only
    `AsyncReduceHandle.wait` leaves everything as it is. A process that is forked from this one cannot use the
    object.
    """

    def __init__(
        self,
        address: str,
        peer_group: int = 0,
        p2p_connection_pool_size: int | None = None,
        *,
        connect_timeout_ms: int | None = None,
        heartbeat_ms: int | None = None,
        liveness_timeout_ms: int | None = None,
        freeze_timeout_ms: int | None = None,
        recovery_timeout_ms: int | None = None,
        backoff_cap_ms: int | None = None,
        slow_warning_ms: int | None = None,
        operation_timeout_ms: int | None = None,
        on_failure: Any = None,
        lanes: int | None = None,
        bind_address: str | None = None,
        port_first: int | None = None,
        port_last: int | None = None,
        advertise_address: str | None = None,
        interface: str | None = None,
        plan: Any = None,
        segment_bytes: int | None = None,
        log_callback: Callable[[int, str], object] | None = None,
        log_level: Any = None,
        shared_state_adopt_highest: bool | None = None,
    ) -> None:
        options = native_options(
            {
                "connect_timeout_ms": connect_timeout_ms,
                "heartbeat_ms": heartbeat_ms,
                "liveness_timeout_ms": liveness_timeout_ms,
                "freeze_timeout_ms": freeze_timeout_ms,
                "recovery_timeout_ms": recovery_timeout_ms,
                "backoff_cap_ms": backoff_cap_ms,
                "slow_warning_ms": slow_warning_ms,
                "operation_timeout_ms": operation_timeout_ms,
                "on_failure": on_failure,
                "lanes": lanes,
                "bind_address": bind_address,
                "port_first": port_first,
                "port_last": port_last,
                "advertise_address": advertise_address,
                "interface": interface,
                "plan": plan,
                "segment_bytes": segment_bytes,
                "log_callback": log_callback,
                "log_level": log_level,
                "shared_state_adopt_highest": shared_state_adopt_highest,
            }
        )
        self._in_flight: dict[object, tuple[Any, Any]] = {}  # arrays of reduces that have not been awaited
        self._closed = threading.Event()
        self._native = _create(address, peer_group, p2p_connection_pool_size, options)
        self._check(self._native.creation(), "Communicator")
        add_communicator(self)

    def __enter__(self) -> Communicator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_native"):
            self.close()

    def close(self) -> None:
        """Leaves the run and frees the native object; later calls fail, and those that block in other threads
        end. Destruction does the same."""
        if not self._native.belongs_here():
            return  # A copy that a fork made; its threads, and perhaps locks, are those of the other process.
        self._closed.set()
        if self._native.close():
            self._in_flight.clear()

    @staticmethod
    def _check(outcome: tuple[Any, ...], func_name: str) -> None:
        if outcome[0] != _SUCCESS:
            raise failure(outcome[0], func_name, outcome[1])

    @property
    def last_error(self) -> str:
        """The text of the calling thread's last failed call on this communicator."""
        return self._native.last_error()

    def connect(self, n_attempts: int = 5) -> None:
        """Joins the run: blocks until it admits this peer. A failed attempt is repeated after a second; when
        all have failed a plain `Exception` is raised, with the last `PCCLError` as its cause."""
        if isinstance(n_attempts, bool) or not isinstance(n_attempts, int) or n_attempts < 1:
            raise PCCLArgumentError(f"n_attempts must be at least 1, not {n_attempts!r}")
        error: PCCLError | None = None
        for _ in range(n_attempts):
            if error is not None and self._closed.wait(_RETRY_PAUSE_S):
                raise error
            code, text = self._native.connect()
            if code == _SUCCESS:
                return
            error = failure(code, "Communicator.connect", text)
            if code != _MASTER_CONNECTION_FAILED or self._closed.is_set():
                raise error
        raise Exception(f"could not connect in {n_attempts} attempts: {error}") from error

    def leave(self) -> None:
        """Leaves the run gracefully; the others go on without a failure. `connect` joins again, as a new
        member."""
        self._check(self._native.leave(), "Communicator.leave")

    def get_attribute(self, attribute: Any) -> int:
        """An `Attribute` of the run, as of the caller's last call. Local and immediate."""
        outcome = self._native.get_attribute(number_of(attribute, "attribute"))
        self._check(outcome, "Communicator.get_attribute")
        return outcome[2]

    def update_topology(self) -> None:
        """Collective over all members of all groups: admits the peers that wait to join."""
        self._check(self._native.update_topology(), "Communicator.update_topology")

    def are_peers_pending(self) -> bool:
        """Collective over the group: whether peers wait to join; the same answer at all its members."""
        outcome = self._native.are_peers_pending()
        self._check(outcome, "Communicator.are_peers_pending")
        return outcome[2]

    def optimize_topology(self) -> None:
        """Collective over all members of all groups: adopts a better topology if there is one."""
        self._check(self._native.optimize_topology(), "Communicator.optimize_topology")

    @property
    def rank_id(self) -> uuid.UUID:
        """The identity of this member in the current run."""
        outcome = self._native.rank_id()
        self._check(outcome, "Communicator.rank_id")
        return uuid.UUID(bytes=outcome[2])

    @property
    def rank(self) -> int:
        """The position of this member in `members`."""
        outcome = self._native.rank()
        self._check(outcome, "Communicator.rank")
        return outcome[2]

    @property
    def members(self) -> list[uuid.UUID]:
        """The members of this group in the order of their ranks."""
        outcome = self._native.group_members()
        self._check(outcome, "Communicator.members")
        return [uuid.UUID(bytes=data) for data in outcome[2]]

    def contributors(self, tag: int) -> list[uuid.UUID]:
        """The members whose inputs are in the last finished result of this tag."""
        outcome = self._native.contributors(check_unsigned(tag, "tag"))
        self._check(outcome, "Communicator.contributors")
        return [uuid.UUID(bytes=data) for data in outcome[2]]

    def failures(self, after: int = 0) -> list[Failure]:
        """The members that were lost, oldest first, of those with a number above `after`: the latest 64, as
        of the end of this communicator's last call. Also after it has left the run."""
        outcome = self._native.failures(check_unsigned(after, "after"))
        self._check(outcome, "Communicator.failures")
        return [
            Failure(
                number=one[0],
                member=uuid.UUID(bytes=one[1]),
                rank=one[2],
                peer_group=one[3],
                epoch_term=one[4],
                epoch=one[5],
                unix_time_us=one[6],
                heard=one[7],
                silent_us=one[8],
                received_bytes=one[9],
                heard_by=uuid.UUID(bytes=one[10]),
                address=one[11],
                cause=one[12],
                operations=one[13],
            )
            for one in outcome[2]
        ]

    def sync_shared_state(
        self, shared_state: Any, strategy: Any = SharedStateSyncStrategy.ENFORCE_POPULAR
    ) -> SharedStateSyncInfo:
        """Collective over the group: afterwards all members hold the same tensors and the same revision."""
        check_fields(shared_state, "shared_state", "revision", "tensor_infos")
        outcome = self._native.synchronize(
            check_unsigned(shared_state.revision, "revision"),
            tensor_numbers(shared_state.tensor_infos),
            number_of(strategy, "strategy"),
        )
        self._check(outcome, "Communicator.sync_shared_state")
        shared_state.revision = outcome[2]
        return SharedStateSyncInfo(outcome[3], outcome[4])

    def all_reduce(
        self,
        send: Any,
        recv: Any,
        *,
        op: Any,
        tag: int = 0,
        operand_descriptor: Any = None,
        quantization_options: Any = None,
    ) -> ReduceInfo:
        """Collective over the group: reduces `send` of all members into `recv` of each. Both are numpy arrays
        or both torch tensors, contiguous, of one type and size; they may be the same. After a failure the
        inputs are intact."""
        numbers = array_reduce_numbers(send, recv, op, tag, operand_descriptor, quantization_options)
        outcome = self._native.all_reduce(*numbers)
        if outcome[0] != _SUCCESS:
            raise failure(outcome[0], "Communicator.all_reduce", outcome[1])
        return ReduceInfo(outcome[2], outcome[3], outcome[4])

    def all_reduce_async(
        self,
        send: Any,
        recv: Any,
        *,
        op: Any,
        tag: int = 0,
        operand_descriptor: Any = None,
        quantization_options: Any = None,
    ) -> AsyncReduceHandle:
        """Starts an `all_reduce`; several may be in flight when their tags differ."""
        numbers = array_reduce_numbers(send, recv, op, tag, operand_descriptor, quantization_options)
        # Held before the launch, so that there is no moment in which the library uses arrays that nobody
        # holds. The key is not the handle, so that a handle that was dropped does not hold the communicator.
        key = object()
        self._in_flight[key] = (send, recv)
        outcome = self._native.all_reduce_async(*numbers)
        if outcome[0] != _SUCCESS:
            del self._in_flight[key]
            raise failure(outcome[0], "Communicator.all_reduce_async", outcome[1])
        return AsyncReduceHandle(self, numbers[4], key)

    def all_reduce_multiple_with_retry(
        self, descriptors: Sequence[Any], *, max_in_flight: int = 4
    ) -> ReduceInfo:
        """Runs many reduces, at most `max_in_flight` at a time, and repeats those that fail until all are
        done. A group that shrinks to this member alone raises TOO_FEW_PEERS."""
        operations = list_of(descriptors, "descriptors")
        if isinstance(max_in_flight, bool) or not isinstance(max_in_flight, int):
            raise PCCLTypeError(f"max_in_flight must be an integer, not {max_in_flight!r}")
        if not operations:
            raise PCCLArgumentError("all_reduce_multiple_with_retry needs at least one descriptor")
        if not 1 <= max_in_flight < 2**31:
            raise PCCLArgumentError(f"max_in_flight must be at least 1, not {max_in_flight}")
        outcome = self._native.all_reduce_multiple(
            [descriptor_reduce_numbers(operation) for operation in operations], max_in_flight
        )
        self._check(outcome, "Communicator.all_reduce_multiple_with_retry")
        return ReduceInfo(outcome[2], outcome[3], outcome[4])


def _create(
    address: str, peer_group: int, pool_size: int | None, options: dict[str, Any]
) -> _native.Communicator:
    """The native object. The failure policy never comes from the environment or the library's default, so
    that programs written for PCCL 1.0 see failures whatever options they add."""
    split_address(address)
    check_unsigned(peer_group, "peer_group", bits=32)
    if pool_size is not None:
        check_unsigned(pool_size, "p2p_connection_pool_size", bits=32)
    code, text = _native.init()
    if code != _SUCCESS:
        raise failure(code, "pcclInit", text)
    options = {
        "on_failure": OnFailure.REPORT.value,
        **options,
        "master": address,
        "peer_group": int(peer_group),
    }
    if pool_size is not None:
        options.setdefault("lanes", min(max(int(pool_size), 1), _LANES_MAX))
    return _native.Communicator(options)
