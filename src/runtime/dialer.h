// Opens a link to one peer: name look-up, connections, handshakes, again with growing pauses until it
// succeeds, is refused for good, or its time is over.
//
// A round draws an incarnation, connects the first lane to whichever address leads to the right peer, and
// then the other lanes to that same address. Guarded by the progress lock; objects that may be in the middle
// of a callback are buried with the table, not destroyed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/link_events.h"
#include "transport/tcp_connector.h"

namespace pccl::runtime {

class LinkTable;

class Dialer {
   public:
    static constexpr TimeUs kPauseFirst = 5 * kMillisecond;
    static constexpr TimeUs kPauseMax = 200 * kMillisecond;

    Dialer(LinkTable& table, MemberId peer, uint64_t number);
    ~Dialer();

    const MemberId& peer() const { return peer_; }
    uint64_t number() const { return number_; }
    /// Starts, or goes on with another time limit and other addresses from the next round on.
    void dial(const std::vector<wire::Endpoint>& endpoints, TimeUs deadline);
    void resolved(std::vector<transport::SocketAddress> addresses, const std::string& error);
    void close();
    bool closed() const { return closed_; }

    TimeUs deadline() const;
    void tick(TimeUs now);

   private:
    struct OutgoingLane;
    friend struct OutgoingLane;

    void start_round();
    void end_round(const std::string& why, bool final);
    void abort_round();
    void connected(size_t index, int fd, const transport::SocketAddress& remote);
    void connect_failed(const std::string& why);
    bool answered(size_t index, const wire::HelloAck& ack);
    enum class Failure : uint8_t { kBroken, kRefusedForNow, kRefusedForGood };
    void lane_failed(size_t index, const std::string& why, Failure failure);
    void look_up_names();
    void open_other_lanes();
    void finish();
    void give_up(const std::string& why);

    LinkTable& table_;
    LinkEvents& events_;
    const MemberId peer_;
    const uint64_t number_;
    bool closed_ = false;
    TimeUs deadline_ = 0;
    std::vector<transport::SocketAddress> numeric_, looked_up_;
    std::vector<wire::Endpoint> names_;
    size_t look_ups_open_ = 0;
    std::string look_up_error_;

    // The round that is going on.
    bool in_round_ = false;
    TimeUs pause_ = kPauseFirst;
    TimeUs next_round_ = 0;
    TimeUs answer_deadline_ = kNever;
    uint64_t incarnation_ = 0;
    uint16_t lanes_wanted_ = 0;
    size_t answered_ = 0;
    std::vector<std::unique_ptr<OutgoingLane>> lanes_;
    transport::SocketAddress address_;
    std::string refusal_;  // by an address that will not accept
    std::string why_;      // the last failure
};

}  // namespace pccl::runtime
