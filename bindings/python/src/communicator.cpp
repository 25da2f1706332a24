// pccl._native.Communicator: one pcclComm_t. Any number of Python threads may be inside its methods; close()
// lets them finish before it destroys the object, so that a thread never uses a communicator that is gone.
#include <chrono>
#include <memory>

#include "call_gate.h"
#include "native.h"

namespace pccl_native {

namespace {

/// How long close() waits for calls of other threads to return. After that the communicator is left to the
/// end of the process, since freeing it under a running call would crash.
constexpr std::chrono::seconds kCloseWait{5};

/// One reduce in numbers: send, recv, count, op, tag, datatype, hint, quantised type, algorithm.
using ReduceNumbers =
    std::tuple<std::uintptr_t, std::uintptr_t, std::size_t, int, std::uint64_t, int, int, int, int>;

/// One tensor: name, address, count, datatype, device, allow_content_inequality.
using TensorNumbers = std::tuple<std::string, std::uintptr_t, std::size_t, int, int, bool>;

pcclReduceOpDescriptor_t to_descriptor(const ReduceNumbers& numbers) {
    const auto& [send, recv, count, op, tag, datatype, hint, quantized, algorithm] = numbers;
    pcclReduceOpDescriptor_t out{};
    out.sendbuf = reinterpret_cast<void*>(send);
    out.recvbuf = reinterpret_cast<void*>(recv);
    out.descriptor.count = count;
    out.descriptor.op = static_cast<pcclRedOp_t>(op);
    out.descriptor.tag = tag;
    out.descriptor.src_descriptor.datatype = static_cast<pcclDataType_t>(datatype);
    out.descriptor.src_descriptor.distribution_hint = static_cast<pcclDistributionHint_t>(hint);
    out.descriptor.quantization_options.quantized_datatype = static_cast<pcclDataType_t>(quantized);
    out.descriptor.quantization_options.algorithm = static_cast<pcclQuantizationAlgorithm_t>(algorithm);
    return out;
}

py::bytes to_bytes(const pcclRankUuid_t& id) {
    return py::bytes(reinterpret_cast<const char*>(id.data), sizeof id.data);
}

class Communicator {
   public:
    /// With the options of pcclCommConfig_t; missing keys are left unset.
    explicit Communicator(const py::dict& options) {
        pcclCommConfig_t config = PCCL_COMM_CONFIG_INITIALIZER;
        const ConfigReader reader(options);
        std::string master, bind_address, advertise_address, interface;
        reader.text("master", master, config.master);
        if (options.contains("peer_group")) config.peer_group = options["peer_group"].cast<std::uint32_t>();
        reader.number("connect_timeout_ms", config.connect_timeout_ms);
        reader.number("heartbeat_ms", config.heartbeat_ms);
        reader.number("liveness_timeout_ms", config.liveness_timeout_ms);
        reader.number("freeze_timeout_ms", config.freeze_timeout_ms);
        reader.number("recovery_timeout_ms", config.recovery_timeout_ms);
        reader.number("backoff_cap_ms", config.backoff_cap_ms);
        reader.number("slow_warning_ms", config.slow_warning_ms);
        reader.number("operation_timeout_ms", config.operation_timeout_ms);
        reader.number("on_failure", config.on_failure);
        reader.number("lanes", config.lanes);
        reader.text("bind_address", bind_address, config.bind_address);
        reader.number("port_first", config.port_first);
        reader.number("port_last", config.port_last);
        reader.text("advertise_address", advertise_address, config.advertise_address);
        reader.text("interface", interface, config.interface);
        reader.number("plan", config.plan);
        reader.number("segment_bytes", config.segment_bytes);
        reader.number("log_level", config.log_level);
        reader.number("shared_state_adopt_highest", config.shared_state_adopt_highest);
        log_callback_ = reader.callable("log_callback");
        if (!log_callback_.is_none()) {
            config.log_callback = &forward_log_message;
            config.log_user_data = &log_callback_;
        }
        creation_ = run_unlocked(nullptr, [&] { return pcclCreateCommunicatorEx(&config, &communicator_); });
    }

    Communicator(const Communicator&) = delete;
    Communicator& operator=(const Communicator&) = delete;

    ~Communicator() {
        // A communicator that could not be destroyed may still log, so its callable must outlive this object.
        if (!close() && !log_callback_.is_none()) log_callback_.inc_ref();
    }

    py::tuple creation() const { return to_python(creation_); }

    /// Destroys the communicator; false when calls of other threads did not return in time. Idempotent.
    bool close() {
        if (!gate_.belongs_here()) return true;
        py::gil_scoped_release unlocked;
        if (!gate_.begin_close()) return gate_.closed();
        if (!gate_.idle_within(std::chrono::seconds(0))) {
            pcclLeave(communicator_);
            if (!gate_.idle_within(kCloseWait)) return false;
        }
        if (communicator_ != nullptr) pcclDestroyCommunicator(communicator_);
        gate_.end_close();
        return true;
    }

    bool belongs_here() const { return gate_.belongs_here(); }

    py::tuple connect() {
        return to_python(call([](pcclComm_t* c) { return pcclConnect(c); }));
    }
    py::tuple leave() {
        return to_python(call([](pcclComm_t* c) { return pcclLeave(c); }));
    }
    py::tuple update_topology() {
        return to_python(call([](pcclComm_t* c) { return pcclUpdateTopology(c); }));
    }
    py::tuple optimize_topology() {
        return to_python(call([](pcclComm_t* c) { return pcclOptimizeTopology(c); }));
    }

    /// The text of this thread's last failed call; empty on a communicator that is closed.
    py::object last_error() {
        const CallGate::Call entry(gate_);
        return to_text(entry.entered() ? pcclGetLastError(communicator_) : "");
    }

    py::tuple get_attribute(int attribute) {
        int value = 0;
        const Outcome outcome = call([&](pcclComm_t* c) {
            return pcclGetAttribute(c, static_cast<pcclAttribute_t>(attribute), &value);
        });
        return to_python(outcome, value);
    }

    py::tuple are_peers_pending() {
        bool pending = false;
        const Outcome outcome = call([&](pcclComm_t* c) { return pcclArePeersPending(c, &pending); });
        return to_python(outcome, pending);
    }

    py::tuple rank_id() {
        pcclRankUuid_t id{};
        const Outcome outcome = call([&](pcclComm_t* c) { return pcclGetRankId(c, &id); });
        return to_python(outcome, to_bytes(id));
    }

    py::tuple rank() {
        int rank = 0;
        const Outcome outcome = call([&](pcclComm_t* c) { return pcclGetRank(c, &rank); });
        return to_python(outcome, rank);
    }

    py::tuple group_members() {
        return id_list([](pcclComm_t* c, pcclRankUuid_t* out, std::size_t capacity, std::size_t* count) {
            return pcclGetGroupMembers(c, out, capacity, count);
        });
    }

    py::tuple contributors(std::uint64_t tag) {
        return id_list([tag](pcclComm_t* c, pcclRankUuid_t* out, std::size_t capacity, std::size_t* count) {
            return pcclGetContributors(c, tag, out, capacity, count);
        });
    }

    /// Tuples in the order of the fields of the dataclass Failure.
    py::tuple failures(std::uint64_t after) {
        return list_of<pcclFailure_t>(
            [after](pcclComm_t* c, pcclFailure_t* out, std::size_t capacity, std::size_t* count) {
                return pcclGetFailures(c, after, out, sizeof *out, capacity, count);
            },
            [](const pcclFailure_t& f) {
                return py::make_tuple(f.number, to_bytes(f.uuid), f.rank, f.peer_group, f.epoch_term, f.epoch,
                                      f.unix_time_us, f.heard, f.silent_us, f.received_bytes,
                                      to_bytes(f.heard_by), to_text(f.address), to_text(f.cause),
                                      to_text(f.operations));
            });
    }

    py::tuple all_reduce(std::uintptr_t send, std::uintptr_t recv, std::size_t count, int op,
                         std::uint64_t tag, int datatype, int hint, int quantized, int algorithm) {
        const auto reduce = to_descriptor({send, recv, count, op, tag, datatype, hint, quantized, algorithm});
        pcclReduceInfo_t info{};
        const Outcome outcome = call([&](pcclComm_t* c) {
            return pcclAllReduce(reduce.sendbuf, reduce.recvbuf, &reduce.descriptor, c, &info);
        });
        return with_info(outcome, info);
    }

    py::tuple all_reduce_async(std::uintptr_t send, std::uintptr_t recv, std::size_t count, int op,
                               std::uint64_t tag, int datatype, int hint, int quantized, int algorithm) {
        const auto reduce = to_descriptor({send, recv, count, op, tag, datatype, hint, quantized, algorithm});
        return to_python(call([&](pcclComm_t* c) {
            pcclAsyncReduceOp_t handle{};
            return pcclAllReduceAsync(reduce.sendbuf, reduce.recvbuf, &reduce.descriptor, c, &handle);
        }));
    }

    py::tuple reduce_wait(std::uint64_t tag, int timeout_ms) {
        pcclReduceInfo_t info{};
        const Outcome outcome = call([&](pcclComm_t* c) {
            const pcclAsyncReduceOp_t handle{c, tag};
            if (timeout_ms < 0) return pcclAwaitAsyncReduce(&handle, &info);
            return pcclAsyncReduceWait(&handle, timeout_ms, &info);
        });
        return with_info(outcome, info);
    }

    py::tuple reduce_test(std::uint64_t tag) {
        bool done = false;
        const Outcome outcome = call([&](pcclComm_t* c) {
            const pcclAsyncReduceOp_t handle{c, tag};
            return pcclAsyncReduceTest(&handle, &done);
        });
        return to_python(outcome, done);
    }

    py::tuple reduce_cancel(std::uint64_t tag) {
        return to_python(call([&](pcclComm_t* c) {
            const pcclAsyncReduceOp_t handle{c, tag};
            return pcclAsyncReduceCancel(&handle);
        }));
    }

    py::tuple all_reduce_multiple(const std::vector<ReduceNumbers>& reduces, int max_in_flight) {
        std::vector<pcclReduceOpDescriptor_t> descriptors;
        descriptors.reserve(reduces.size());
        for (const ReduceNumbers& numbers : reduces) descriptors.push_back(to_descriptor(numbers));
        pcclReduceInfo_t info{};
        const Outcome outcome = call([&](pcclComm_t* c) {
            return pcclAllReduceMultipleWithRetry(descriptors.data(), descriptors.size(), c, &info,
                                                  max_in_flight);
        });
        return with_info(outcome, info);
    }

    py::tuple synchronize(std::uint64_t revision, const std::vector<TensorNumbers>& tensors, int strategy) {
        std::vector<pcclTensorInfo_t> infos;
        infos.reserve(tensors.size());
        for (const auto& [name, data, count, datatype, device, inequality] : tensors) {
            infos.push_back({name.c_str(), reinterpret_cast<void*>(data), count,
                             static_cast<pcclDataType_t>(datatype), static_cast<pcclDeviceType_t>(device),
                             inequality});
        }
        pcclSharedState_t state{revision, infos.size(), infos.data()};
        pcclSharedStateSyncInfo_t info{};
        const Outcome outcome = call([&](pcclComm_t* c) {
            return pcclSynchronizeSharedState(c, &state, static_cast<pcclSharedStateSyncStrategy_t>(strategy),
                                              &info);
        });
        return py::make_tuple(std::get<0>(outcome), to_text(std::get<1>(outcome)), state.revision,
                              info.tx_bytes, info.rx_bytes);
    }

   private:
    template <typename Call>
    Outcome call(Call&& function) {
        const CallGate::Call entry(gate_);
        if (!entry.entered()) return gate_.refusal();
        return run_unlocked(communicator_, [&] { return function(communicator_); });
    }

    /// Asks again while the number of items grows in between.
    template <typename Item, typename Call, typename Convert>
    py::tuple list_of(Call&& function, Convert&& convert) {
        std::vector<Item> items(16);
        std::size_t count = 0;
        Outcome outcome;
        for (;;) {
            outcome = call([&](pcclComm_t* c) { return function(c, items.data(), items.size(), &count); });
            if (std::get<0>(outcome) != pcclSuccess || count <= items.size()) break;
            items.resize(count);
        }
        py::list out;
        if (std::get<0>(outcome) == pcclSuccess) {
            for (std::size_t i = 0; i < count; ++i) out.append(convert(items[i]));
        }
        return to_python(outcome, out);
    }
    template <typename Call>
    py::tuple id_list(Call&& function) {
        return list_of<pcclRankUuid_t>(function, [](const pcclRankUuid_t& id) { return to_bytes(id); });
    }

    static py::tuple with_info(const Outcome& outcome, const pcclReduceInfo_t& info) {
        return py::make_tuple(std::get<0>(outcome), to_text(std::get<1>(outcome)), info.local_world_size,
                              info.tx_bytes, info.rx_bytes);
    }

    pcclComm_t* communicator_ = nullptr;
    Outcome creation_;
    py::object log_callback_ = py::none();
    CallGate gate_{"communicator"};
};

}  // namespace

void define_communicator(py::module_& module) {
    py::class_<Communicator, std::unique_ptr<Communicator, DeleteWhereMade>>(module, "Communicator")
        .def(py::init<const py::dict&>())
        .def("creation", &Communicator::creation)
        .def("close", &Communicator::close)
        .def("belongs_here", &Communicator::belongs_here)
        .def("last_error", &Communicator::last_error)
        .def("connect", &Communicator::connect)
        .def("leave", &Communicator::leave)
        .def("update_topology", &Communicator::update_topology)
        .def("optimize_topology", &Communicator::optimize_topology)
        .def("get_attribute", &Communicator::get_attribute)
        .def("are_peers_pending", &Communicator::are_peers_pending)
        .def("rank_id", &Communicator::rank_id)
        .def("rank", &Communicator::rank)
        .def("group_members", &Communicator::group_members)
        .def("contributors", &Communicator::contributors)
        .def("failures", &Communicator::failures)
        .def("all_reduce", &Communicator::all_reduce)
        .def("all_reduce_async", &Communicator::all_reduce_async)
        .def("reduce_wait", &Communicator::reduce_wait)
        .def("reduce_test", &Communicator::reduce_test)
        .def("reduce_cancel", &Communicator::reduce_cancel)
        .def("all_reduce_multiple", &Communicator::all_reduce_multiple)
        .def("synchronize", &Communicator::synchronize);
}

}  // namespace pccl_native
