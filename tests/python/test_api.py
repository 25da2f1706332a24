"""The shape of the module, and arguments that are refused before the network is needed."""

from __future__ import annotations

import ast
import enum
import gc
import os
import pathlib
import pickle
import re
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

import pccl
import pccl._cuda

V1_NAMES = """
cuda Communicator MasterNode ReduceOp Attribute SharedStateSyncStrategy DataType DistributionHint
QuantizationAlgorithm ReduceOperandDescriptor QuantizationOptions ReduceDescriptor TensorInfo SharedState
SharedStateSyncInfo ReduceInfo ReduceOpDescriptor AsyncReduceHandle PCCLError Result DeviceType""".split()

ENUM_VALUES = {
    pccl.ReduceOp: {"SUM": 0, "AVG": 1, "PROD": 2, "MAX": 3, "MIN": 4},
    pccl.Attribute: {
        "GLOBAL_WORLD_SIZE": 1,
        "LOCAL_WORLD_SIZE": 2,
        "NUM_DISTINCT_PEER_GROUPS": 3,
        "LARGEST_PEER_GROUP_WORLD_SIZE": 4,
    },
    pccl.SharedStateSyncStrategy: {"ENFORCE_POPULAR": 0, "RECEIVE_ONLY": 1, "SEND_ONLY": 2},
    pccl.DistributionHint: {"NONE": 0, "NORMAL": 1, "UNIFORM": 2},
    pccl.QuantizationAlgorithm: {"NONE": 0, "MIN_MAX": 1, "ZERO_POINT_SCALE": 2},
    pccl.DeviceType: {"CPU": 0, "CUDA": 1},
    pccl.DataType: {
        name: value
        for value, name in enumerate(
            "UINT8 INT8 INT16 UINT16 UINT32 INT32 UINT64 INT64 FLOAT16 BFLOAT16 FLOAT DOUBLE".split()
        )
    },
}

RESULT_NAMES = """
SUCCESS NOT_INITIALIZED INTERNAL_ERROR INVALID_ARGUMENT INVALID_USAGE TOO_FEW_PEERS
MASTER_CONNECTION_FAILED RANK_CONNECTION_FAILED RANK_CONNECTION_LOST
NO_SHARED_STATE_AVAILABLE PENDING_ASYNC_OPS
UPDATE_TOPOLOGY_FAILED TOPOLOGY_OPTIMIZATION_FAILED TIMEOUT CANCELLED EVICTED MISMATCH VERSION_MISMATCH
ACCESS_DENIED RESOURCE_LIMIT UNSUPPORTED""".split()

# Nothing listens here, and these tests never connect.
UNUSED_ADDRESS = "127.0.0.1:9"


@pytest.fixture
def communicator() -> pccl.Communicator:
    return pccl.Communicator(UNUSED_ADDRESS)


def test_names_of_the_interface_exist():
    for name in V1_NAMES:
        assert hasattr(pccl, name), name
    for name in pccl.__all__:
        assert hasattr(pccl, name), name
    assert isinstance(pccl.__version__, str) and pccl.__version__.count(".") == 2
    assert pccl.cuda.is_available() is pccl._cuda.is_cuda_available()


@pytest.mark.parametrize("kind", ENUM_VALUES, ids=lambda kind: kind.__name__)
def test_enumerations_have_the_values_of_the_c_interface(kind):
    assert issubclass(kind, enum.Enum) and not issubclass(kind, int)
    assert {member.name: member.value for member in kind} == ENUM_VALUES[kind]


def test_result_follows_the_table():
    assert [result.name for result in pccl.Result] == RESULT_NAMES
    assert [result.value for result in pccl.Result] == list(range(len(RESULT_NAMES)))
    assert issubclass(pccl.Result, enum.Enum)
    assert pickle.loads(pickle.dumps(pccl.Result.TIMEOUT)) is pccl.Result.TIMEOUT


def test_the_stub_of_result_agrees_with_the_table():
    stub = ast.parse(pathlib.Path(pccl.__file__).with_name("_result.pyi").read_text())
    body = next(node for node in stub.body if isinstance(node, ast.ClassDef)).body
    stated = {node.targets[0].id: node.value.value for node in body if isinstance(node, ast.Assign)}
    assert stated == {result.name: result.value for result in pccl.Result}


def test_the_package_is_typed():
    assert pathlib.Path(pccl.__file__).with_name("py.typed").exists()


def test_error_carries_result_and_text():
    error = pccl.PCCLError(pccl.Result.TOO_FEW_PEERS, "alone")
    assert error.result is pccl.Result.TOO_FEW_PEERS
    assert "alone" in str(error) and "TOO_FEW_PEERS" in str(error)
    copy = pickle.loads(pickle.dumps(error))
    assert copy.result is error.result and str(copy) == str(error)
    assert pccl.PCCLError(4).result is pccl.Result.INVALID_USAGE
    assert pccl.PCCLError(4711).result == 4711


def test_check_raises_for_failures_only():
    pccl.PCCLError.check(pccl.Result.SUCCESS, "f")
    pccl.PCCLError.check(0, "f")
    for bad in (pccl.Result.TIMEOUT, 13):
        with pytest.raises(pccl.PCCLError, match="some_function") as caught:
            pccl.PCCLError.check(bad, "some_function")
        assert caught.value.result is pccl.Result.TIMEOUT


@pytest.mark.parametrize("name", [n for n in ENUM_VALUES[pccl.DataType] if n != "BFLOAT16"])
def test_numpy_types_translate_both_ways(name):
    data_type = pccl.DataType[name]
    dtype = data_type.to_numpy_dtype()
    assert pccl.DataType.from_numpy_dtype(dtype) is data_type
    assert pccl.DataType.from_numpy_dtype(dtype.type) is data_type
    assert pccl.DataType.from_numpy_dtype(dtype.name) is data_type
    assert data_type.itemsize == dtype.itemsize


@pytest.mark.parametrize("dtype", ["complex64", "bool", "datetime64[s]", "S4", ">f4", ">i8"])
def test_other_numpy_types_are_refused(dtype):
    with pytest.raises(pccl.PCCLError) as caught:
        pccl.DataType.from_numpy_dtype(np.dtype(dtype))
    assert caught.value.result is pccl.Result.INVALID_ARGUMENT
    assert isinstance(caught.value, TypeError)


def test_numpy_bfloat16_needs_ml_dtypes():
    try:
        import ml_dtypes
    except ImportError:
        with pytest.raises(pccl.PCCLError, match="bfloat16"):
            pccl.DataType.BFLOAT16.to_numpy_dtype()
    else:
        assert pccl.DataType.BFLOAT16.to_numpy_dtype() == np.dtype(ml_dtypes.bfloat16)
        assert pccl.DataType.from_numpy_dtype(ml_dtypes.bfloat16) is pccl.DataType.BFLOAT16


def test_device_types():
    assert pccl.DeviceType.from_torch_device_type("cpu") is pccl.DeviceType.CPU
    assert pccl.DeviceType.from_torch_device_type("cuda") is pccl.DeviceType.CUDA
    with pytest.raises(pccl.PCCLError, match="mps"):
        pccl.DeviceType.from_torch_device_type("mps")


def test_defaults_of_descriptors():
    operand = pccl.ReduceOperandDescriptor(pccl.DataType.FLOAT)
    assert operand.distribution_hint is pccl.DistributionHint.NONE
    options = pccl.QuantizationOptions()
    assert options.quantized_datatype is pccl.DataType.UINT8
    assert options.algorithm is pccl.QuantizationAlgorithm.MIN_MAX
    info = pccl.ReduceInfo(3, 4, 5)
    assert (info.local_world_size, info.world_size, info.tx_bytes, info.rx_bytes) == (3, 3, 4, 5)
    assert pccl.SharedStateSyncInfo(1, 2).rx_bytes == 2


def test_neither_numpy_nor_torch_is_imported():
    code = "import sys, pccl; sys.exit(bool({'numpy', 'torch', 'ml_dtypes'} & set(sys.modules)))"
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=60).returncode == 0


@pytest.mark.parametrize(
    "address",
    ["", "host", "host:", ":1", "host:port", "host:65536", "host:-1", "::1:48148", "[]:5", "a\0b:5"],
)
def test_malformed_addresses_are_refused(address):
    for create in (pccl.Communicator, pccl.MasterNode):
        with pytest.raises(pccl.PCCLError) as caught:
            create(address)
        assert caught.value.result is pccl.Result.INVALID_ARGUMENT


@pytest.mark.parametrize("address", ["127.0.0.1:48148", "[::1]:48148", "localhost:48148", "a-name.invalid:1"])
def test_addresses_of_all_kinds_are_accepted(address):
    pccl.Communicator(address).close()
    pccl.Communicator(address, 3, 2).close()
    pccl.Communicator(address, 3, 1000).close()
    pccl.Communicator(address, 3, 1000, log_level="err").close()
    pccl.Communicator(address, lanes=2).close()


@pytest.mark.parametrize(
    ("option", "value", "builtin"),
    [
        ("on_failure", "perhaps", ValueError),
        ("plan", "star-shaped", ValueError),
        ("log_level", 1.5, TypeError),
        ("log_callback", "print", TypeError),
        ("lanes", "2", TypeError),
        ("lanes", True, TypeError),
        ("lanes", 2**40, ValueError),
        ("bind_address", 5, TypeError),
        ("advertise_address", "a\0b", ValueError),
    ],
)
def test_bad_options_are_refused(option, value, builtin):
    with pytest.raises(pccl.PCCLError, match=option) as caught:
        pccl.Communicator(UNUSED_ADDRESS, **{option: value})
    assert caught.value.result is pccl.Result.INVALID_ARGUMENT
    assert isinstance(caught.value, builtin)


def test_options_that_the_library_refuses():
    for options in ({"on_failure": 77}, {"plan": 77}, {"port_first": 70000}, {"liveness_timeout_ms": -5}):
        with pytest.raises(pccl.PCCLError) as caught:
            pccl.Communicator(UNUSED_ADDRESS, **options)
        assert caught.value.result is pccl.Result.INVALID_ARGUMENT
        assert len(str(caught.value)) > 10
    with pytest.raises(TypeError):
        pccl.Communicator(UNUSED_ADDRESS, no_such_option=1)
    with pytest.raises(pccl.PCCLError):
        pccl.Communicator(UNUSED_ADDRESS, peer_group=-1)
    with pytest.raises(pccl.PCCLError):
        pccl.Communicator(UNUSED_ADDRESS, peer_group=2**32)


def test_options_accept_names_and_enumerators():
    pccl.Communicator(UNUSED_ADDRESS, on_failure="report", plan="Mesh", log_level="WARN").close()
    pccl.Communicator(
        UNUSED_ADDRESS, on_failure=pccl.OnFailure.RETRY, plan=pccl.Plan.RING, log_level=pccl.LogLevel.NONE
    ).close()


def reduce_pair(send, recv):
    return lambda communicator: communicator.all_reduce(send, recv, op=pccl.ReduceOp.SUM)


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


_SHARED = np.zeros(12, np.float32)


@pytest.mark.parametrize(
    ("call", "builtin", "text"),
    [
        (reduce_pair([1.0], [1.0]), TypeError, "list"),
        (reduce_pair(np.zeros(4, np.float32), [0.0] * 4), TypeError, "recv"),
        (reduce_pair(np.zeros((4, 4), np.float32).T[::2], np.zeros(8, np.float32)), ValueError, "contiguous"),
        (reduce_pair(np.zeros(8, np.float32)[::2], np.zeros(4, np.float32)), ValueError, "contiguous"),
        (reduce_pair(np.zeros(4, np.float32), np.zeros(4, np.float64)), TypeError, "DOUBLE"),
        (reduce_pair(np.zeros(4, np.float32), np.zeros(5, np.float32)), ValueError, "5"),
        (reduce_pair(np.zeros(4, np.complex64), np.zeros(4, np.complex64)), TypeError, "complex64"),
        (reduce_pair(np.zeros(4, np.float32), read_only(np.zeros(4, np.float32))), ValueError, "read-only"),
        (reduce_pair(_SHARED[0:8], _SHARED[4:12]), ValueError, "overlap"),
    ],
)
def test_arrays_that_cannot_be_reduced_are_refused(communicator, call, builtin, text):
    with pytest.raises(pccl.PCCLError, match=text) as caught:
        call(communicator)
    assert caught.value.result is pccl.Result.INVALID_ARGUMENT
    assert isinstance(caught.value, builtin)


def test_reduce_arguments_are_checked(communicator):
    array = np.zeros(4, np.float32)
    refused = [
        {"op": "SUM"},
        {"op": None},
        {"op": pccl.ReduceOp.SUM, "tag": -1},
        {"op": pccl.ReduceOp.SUM, "tag": 2**64},
        {"op": pccl.ReduceOp.SUM, "tag": 1.5},
        {"op": pccl.ReduceOp.SUM, "operand_descriptor": pccl.ReduceOperandDescriptor(pccl.DataType.DOUBLE)},
        {"op": pccl.ReduceOp.SUM, "operand_descriptor": pccl.ReduceOperandDescriptor("float")},
    ]
    for arguments in refused:
        for function in (communicator.all_reduce, communicator.all_reduce_async):
            with pytest.raises(pccl.PCCLError) as caught:
                function(array, array, **arguments)
            assert caught.value.result is pccl.Result.INVALID_ARGUMENT, arguments
    assert not communicator._in_flight


def test_descriptors_of_arrays_are_checked():
    operand = pccl.ReduceOperandDescriptor(pccl.DataType.FLOAT)
    array = np.zeros(4, np.float32)
    good = pccl.ReduceDescriptor(4, pccl.ReduceOp.SUM, 0, operand, None)
    descriptor = pccl.ReduceOpDescriptor.from_numpy(array, array, good)
    assert descriptor.sendbuf_ptr == descriptor.recvbuf_ptr == array.ctypes.data
    with pytest.raises(pccl.PCCLError, match="count"):
        wrong_count = pccl.ReduceDescriptor(5, pccl.ReduceOp.SUM, 0, operand, None)
        pccl.ReduceOpDescriptor.from_numpy(array, array, wrong_count)
    with pytest.raises(pccl.PCCLError, match="FLOAT"):
        wrong_type = pccl.ReduceDescriptor(
            4, pccl.ReduceOp.SUM, 0, pccl.ReduceOperandDescriptor(pccl.DataType.INT8), None
        )
        pccl.ReduceOpDescriptor.from_numpy(array, array, wrong_type)
    with pytest.raises(pccl.PCCLError):
        pccl.ReduceOpDescriptor.from_torch(array, array, good)


def test_descriptors_keep_their_arrays_alive():
    array = np.zeros(4, np.float32)
    alive = weakref.ref(array)
    operand = pccl.ReduceOperandDescriptor(pccl.DataType.FLOAT)
    descriptor = pccl.ReduceOpDescriptor.from_numpy(
        array, array, pccl.ReduceDescriptor(4, pccl.ReduceOp.SUM, 0, operand, None)
    )
    tensor_info = pccl.TensorInfo.from_numpy(array, "weights")
    del array
    gc.collect()
    assert alive() is not None
    del descriptor
    assert alive() is not None
    del tensor_info
    gc.collect()
    assert alive() is None


def test_objects_of_the_wrong_kind_are_refused(communicator):
    array = np.zeros(4, np.float32)
    one = pccl.ReduceOp.SUM
    for call in (
        lambda: communicator.all_reduce(array, array, op=one, operand_descriptor=5),
        lambda: communicator.all_reduce(array, array, op=one, quantization_options="none"),
        lambda: communicator.sync_shared_state(None),
        lambda: communicator.sync_shared_state(pccl.SharedState([5])),
        lambda: pccl.SharedState(None),
        lambda: communicator.all_reduce_multiple_with_retry([1]),
        lambda: communicator.all_reduce_multiple_with_retry([pccl.ReduceOpDescriptor(0, 0, None)]),
        lambda: communicator.all_reduce_multiple_with_retry(None),
        lambda: pccl.ReduceOpDescriptor.from_numpy(array, array, 5),
        lambda: pccl.MasterNode(5),
        lambda: pccl.MasterNode([5]),
        lambda: pccl.DataType.from_numpy_dtype("nonsense"),
        lambda: pccl.TensorInfo.from_numpy(array, 7),
    ):
        with pytest.raises(pccl.PCCLTypeError) as caught:
            call()
        assert caught.value.result is pccl.Result.INVALID_ARGUMENT
    with pytest.raises(pccl.PCCLArgumentError, match="empty"):
        pccl.TensorInfo.from_numpy(array, "")


def test_numbers_out_of_range_name_their_limit():
    with pytest.raises(pccl.PCCLArgumentError, match=re.escape("2**32 - 1")):
        pccl.Communicator(UNUSED_ADDRESS, -1)
    with pytest.raises(pccl.PCCLArgumentError, match=re.escape("2**32 - 1")):
        pccl.Communicator(UNUSED_ADDRESS, 2**32)


@pytest.mark.parametrize(
    ("given", "lanes"),
    [({}, None), ({"p2p_connection_pool_size": 0}, 1), ({"p2p_connection_pool_size": 5}, 5),
     ({"p2p_connection_pool_size": 1000}, 64), ({"p2p_connection_pool_size": 0, "lanes": 3}, 3)],
)  # fmt: skip
def test_the_pool_size_is_the_number_of_lanes(monkeypatch, given, lanes):
    options = []
    native = pccl._native.Communicator
    monkeypatch.setattr(pccl._native, "Communicator", lambda given: options.append(given) or native(given))
    pccl.Communicator(UNUSED_ADDRESS, **given)
    assert options[0].get("lanes") == lanes


def test_shared_state_is_checked(communicator):
    array = np.zeros((3, 2), np.int16)
    info = pccl.TensorInfo.from_numpy(array, "x", allow_content_inequality=True)
    assert (info.name, info.data_ptr, info.numel) == ("x", array.ctypes.data, 6)
    assert info.dtype is pccl.DataType.INT16 and info.device_type is pccl.DeviceType.CPU
    assert info.allow_content_inequality is True
    with pytest.raises(pccl.PCCLError, match="read-only"):
        pccl.TensorInfo.from_numpy(read_only(np.zeros(3)), "x")
    with pytest.raises(pccl.PCCLError, match="contiguous"):
        pccl.TensorInfo.from_numpy(np.zeros((4, 4)).T[1:], "x")
    with pytest.raises(pccl.PCCLError, match="'x'"):
        communicator.sync_shared_state(pccl.SharedState([info, info]))
    state = pccl.SharedState([info])
    assert state.revision == 0
    state.push_revision()
    assert state.revision == 1
    state.revision = 2**64 - 1
    for bad in (-1, 2**64, "1"):
        with pytest.raises(pccl.PCCLError):
            state.revision = bad
    with pytest.raises(pccl.PCCLError):
        state.push_revision()
    assert state.revision == 2**64 - 1


def test_calls_before_connect_are_invalid_usage(communicator):
    array = np.zeros(4, np.float32)
    operand = pccl.ReduceOperandDescriptor(pccl.DataType.FLOAT)
    descriptor = pccl.ReduceOpDescriptor.from_numpy(
        array, array, pccl.ReduceDescriptor(4, pccl.ReduceOp.SUM, 0, operand, None)
    )
    calls = [
        lambda: communicator.get_attribute(pccl.Attribute.GLOBAL_WORLD_SIZE),
        communicator.update_topology,
        communicator.are_peers_pending,
        communicator.optimize_topology,
        communicator.leave,
        lambda: communicator.rank,
        lambda: communicator.rank_id,
        lambda: communicator.members,
        lambda: communicator.all_reduce(array, array, op=pccl.ReduceOp.SUM),
        lambda: communicator.all_reduce_async(array, array, op=pccl.ReduceOp.SUM),
        lambda: communicator.all_reduce_multiple_with_retry([descriptor]),
        lambda: communicator.sync_shared_state(pccl.SharedState([pccl.TensorInfo.from_numpy(array, "x")])),
    ]
    for number, call in enumerate(calls):
        with pytest.raises(pccl.PCCLError) as caught:
            call()
        assert caught.value.result is pccl.Result.INVALID_USAGE, number
        function, colon, reason = communicator.last_error.partition(": ")
        assert function.startswith("pccl") and colon and reason in str(caught.value), number
    assert not communicator._in_flight


def test_arguments_of_multiple_with_retry(communicator):
    with pytest.raises(pccl.PCCLError, match="at least one"):
        communicator.all_reduce_multiple_with_retry([])
    array = np.zeros(4, np.float32)
    operand = pccl.ReduceOperandDescriptor(pccl.DataType.FLOAT)
    descriptor = pccl.ReduceOpDescriptor.from_numpy(
        array, array, pccl.ReduceDescriptor(4, pccl.ReduceOp.SUM, 0, operand, None)
    )
    for bad in (0, -1, 1.5):
        with pytest.raises(pccl.PCCLError) as caught:
            communicator.all_reduce_multiple_with_retry([descriptor], max_in_flight=bad)
        assert caught.value.result is pccl.Result.INVALID_ARGUMENT


def test_the_extension_has_what_its_stub_says_and_the_package_uses():
    package = pathlib.Path(pccl.__file__).parent
    stub = ast.parse((package / "_native.pyi").read_text())
    stated = set()
    for node in stub.body:
        if isinstance(node, ast.AnnAssign):
            assert isinstance(node.target, ast.Name)
            stated.add(node.target.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            stated.add(node.name)
    assert stated - {"__version__"} == {name for name in vars(pccl._native) if not name.startswith("_")}
    for node in stub.body:
        if isinstance(node, ast.ClassDef):
            methods = {inner.name for inner in node.body if isinstance(inner, ast.FunctionDef)} - {"__init__"}
            native = getattr(pccl._native, node.name)
            assert methods == {name for name in vars(native) if not name.startswith("_")}
    sources = "".join(path.read_text() for path in package.glob("*.py"))
    tests = "".join(path.read_text() for path in pathlib.Path(__file__).parent.glob("*.py"))
    unused = [n for n in stated if f"_native.{n}" not in sources + tests and f"import {n}" not in sources]
    assert not unused


def connect_results(text: str, code: pccl.Result, communicator: pccl.Communicator) -> list[str]:
    """What happens when each attempt to connect fails like this."""
    attempts = []

    class Native:
        def connect(self) -> tuple[int, str]:
            attempts.append(text)
            return code.value, f"pcclConnect: {text}"

    native, communicator._native = communicator._native, Native()
    try:
        with pytest.raises(Exception, match=text):
            communicator.connect(n_attempts=3)
    finally:
        communicator._native = native
    return attempts


def test_only_failures_of_the_network_are_tried_again(communicator, monkeypatch):
    monkeypatch.setattr("pccl._communicator._RETRY_PAUSE_S", 0.01)
    assert len(connect_results("nobody there", pccl.Result.MASTER_CONNECTION_FAILED, communicator)) == 3
    for result in (pccl.Result.INVALID_USAGE, pccl.Result.INTERNAL_ERROR, pccl.Result.CANCELLED):
        assert len(connect_results("no use", result, communicator)) == 1, result


def test_close_ends_the_pause_between_attempts(communicator, monkeypatch):
    monkeypatch.setattr("pccl._communicator._RETRY_PAUSE_S", 60.0)
    closer = threading.Timer(0.3, communicator.close)
    closer.start()
    with pytest.raises(pccl.PCCLError) as caught:
        communicator.connect()
    assert caught.value.result is pccl.Result.MASTER_CONNECTION_FAILED
    closer.join()


def test_connect_without_a_coordinator_raises_a_plain_exception(monkeypatch):
    monkeypatch.setattr("pccl._communicator._RETRY_PAUSE_S", 0.01)
    communicator = pccl.Communicator(UNUSED_ADDRESS)
    with pytest.raises(Exception) as caught:
        communicator.connect(n_attempts=2)
    assert type(caught.value) is Exception
    assert caught.value.__cause__.result is pccl.Result.MASTER_CONNECTION_FAILED
    for bad in (0, -1, "5"):
        with pytest.raises(pccl.PCCLError):
            communicator.connect(n_attempts=bad)


def test_a_closed_communicator_refuses_calls(communicator):
    communicator.close()
    communicator.close()
    with pytest.raises(pccl.PCCLError, match="closed") as caught:
        communicator.update_topology()
    assert caught.value.result is pccl.Result.INVALID_USAGE


def test_communicators_are_collected():
    communicator = pccl.Communicator(UNUSED_ADDRESS)
    gone = weakref.ref(communicator)
    del communicator
    assert gone() is None
