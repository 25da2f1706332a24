// Links between members as the production driver makes them: several lanes each, handshakes, retries until a
// deadline, loss, and payloads that leave and reach memory at their own times.
//
// A lane is one ordered stream. A control frame leaves at once. A data frame's header leaves, its payload is
// read from the sender's memory at any time until it lands, and the receiver asks place() when the header is
// there and says landed() later, with part of the payload written in between. Everything that a real socket
// could do to a buffer too early or too late happens here.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/member.h"
#include "sim/event_queue.h"

namespace pccl::sim {

class World;

/// Something in flight on a lane.
struct Frame {
    wire::Type type = wire::Type::kHeartbeat;
    std::vector<uint8_t> body;         ///< of a control frame
    wire::Data header;                 ///< of a data frame
    std::span<const uint8_t> payload;  ///< the sender's memory, until `copied`
    std::vector<uint8_t> copy;
    TimeUs arrives = 0;
    bool is_data = false;
    bool copied = true;
    bool torn = false;       ///< the sender died or closed before the payload was read: it never lands
    bool announced = false;  ///< place() was asked

    core::Place place;
    bool scrapped = false;
    bool land_due = false;  ///< waits for the payload only
};

struct Lane {
    Lane() = default;
    Lane(Lane&&) = default;
    Lane(const Lane&) = delete;
    std::deque<std::unique_ptr<Frame>> waiting;  ///< queued at the sender, not started
    std::deque<std::unique_ptr<Frame>> wire;     ///< started, in order; the first may be being received
    bool writing = false;                        ///< the last one of `wire` is not copied yet
    bool arrival_scheduled = false;
    TimeUs last_arrival = 0;
};

struct Link {
    uint32_t index = 0;
    int node[2] = {0, 0};  ///< initiator, acceptor
    uint64_t incarnation = 0;
    std::vector<Lane> lanes[2];  ///< by sending side
    bool open[2] = {true, true};
    bool up[2] = {false, false};
    bool told_scheduled[2] = {false, false};
    bool severed = false;  ///< nothing new gets through
    bool pull_wanted[2] = {false, false};
    bool garbled[2] = {false, false};  ///< the next control frame from this side is
    size_t uncopied[2] = {0, 0};       ///< data frames pulled and not copied, by sending side

    int side_of(int n) const { return node[0] == n ? 0 : 1; }
};

/// A kConnect that is being carried out.
struct Attempt {
    uint32_t index = 0;
    int from = 0, to = 0;
    TimeUs deadline = 0;
    uint64_t incarnation = 0;
    uint32_t tries = 0;
    bool over = false;
};

class Network {
   public:
    explicit Network(World& world) : world_(world) {}

    // Actions of a member.
    void connect(int from, const MemberId& to, TimeUs deadline);
    void close(int node, const MemberId& peer, uint64_t incarnation);
    void send(int node, const MemberId& peer, wire::Type type, std::vector<uint8_t> body);
    void pull(int node, const MemberId& peer);
    void cut(int node, const wire::OpKey* key);
    /// Pulls data wherever there is some and a lane would take it.
    void fill_windows(int node);

    /// The process is gone. `silent`: nobody is told. `orderly`: what was queued still arrives.
    void node_gone(int node, bool silent, bool orderly);
    /// A fault: one lane is lost, both ends are told at their own times. False when there is no link.
    bool sever(int a, int b, const char* why);
    /// A fault: the next control frame from `from` to `node` cannot be read.
    void garble(int node, int from);
    /// Whether any payload of `node` that was not read yet, or that is being received there, touches this
    /// memory.
    bool refers_to(int node, std::span<const uint8_t> memory, std::string* what) const;
    /// Nodes with an open link to `node`.
    std::vector<int> neighbours(int node) const;

    void handle(const Event& event);

   private:
    Link* link_of(int node, int peer);
    void start(Link& link, int side, uint32_t lane);
    void begin_frame(Link& link, int side, uint32_t lane, std::unique_ptr<Frame> frame);
    void copy(Link& link, int side, Frame& frame);
    void fill_window(Link& link, int side);
    void schedule_arrival(Link& link, int side, uint32_t lane);
    void arrive(Link& link, int side, uint32_t lane);
    void arrive_garbled(Link& link, int side, Frame& frame);
    bool arrive_data(Link& link, int side, uint32_t lane, Frame& frame);
    void land(Link& link, int side, uint32_t lane);
    void close_side(Link& link, int side, bool silent, bool orderly);
    void lose(Link& link, int side);
    void give_back_places(Link& link, int side);
    void tell(Link& link, int side, TimeUs delay);
    void told(Link& link, int side);
    void attempt(Attempt& attempt);
    void hello(Attempt& attempt);
    void hello_answer(Attempt& attempt, bool retry);
    void acked(Link& link, Attempt& attempt);
    void replace_link(int node, int peer);
    void retry_later(Attempt& attempt);
    void stop_connecting(int from, int to);

    World& world_;
    std::vector<std::unique_ptr<Link>> links_;
    std::vector<std::unique_ptr<Attempt>> attempts_;
    std::map<std::pair<int, int>, uint32_t>
        open_links_;  ///< (node, peer): link index, while open at that node
    std::map<std::pair<int, int>, uint32_t> open_attempts_;  ///< (from, to)
    std::set<int> vanished_;
};

}  // namespace pccl::sim
