// A lane over a TCP socket: raw non-blocking descriptor, scatter-gather both ways.
//
// Receiving: headers and bodies come through a small read-ahead buffer; a payload goes straight into its
// place, with the read-ahead buffer behind it in the same recvmsg, so that the next header usually costs no
// call of its own. A body that exceeds the buffer grows a vector by the bytes that really arrived. Sending:
// queued control frames, the header and the payload of a data frame go out in one sendmsg. No allocation per
// frame once the buffers have their size. Work per event is bounded, so that no lane starves the others.
#pragma once

#include <sys/socket.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "transport/lane.h"
#include "transport/poller.h"

namespace pccl::transport {

class TcpLane final : public Lane, private Poller::Watcher {
   public:
    /// Takes over a connected socket, and watches it.
    TcpLane(Poller& poller, int fd, std::string remote, LaneOwner* owner);
    ~TcpLane();
    TcpLane(const TcpLane&) = delete;
    TcpLane& operator=(const TcpLane&) = delete;

    uint32_t capabilities() const override { return capabilities_; }
    void set_owner(LaneOwner* owner) override { owner_ = owner; }
    void set_body_bytes_max(uint32_t bytes) override { body_bytes_max_ = bytes; }
    void queue_frame(wire::Type type, std::span<const uint8_t> body) override;
    size_t queued_bytes() const override { return control_.size() - control_sent_; }
    void pump() override;
    bool blocked() const override { return blocked_; }
    void cut(const wire::OpKey* key) override;
    bool unfinished(UnfinishedData* out) const override;
    void pause() override;
    void resume() override;
    void linger() override;
    void close() override;
    bool closed() const override { return fd_ < 0; }
    const std::string& remote() const override { return remote_; }
    int fd() const { return fd_; }

    static constexpr size_t kReadAheadBytes = 4096;
    static constexpr size_t kReceiveBytesPerEvent = 1 << 20;
    static constexpr size_t kSendBytesPerPump = 1 << 20;

   private:
    enum class Receiving : uint8_t { kHeader, kBody, kPayload };

    void ready(uint32_t epoll_events) override;
    void update_interest();
    void lose(const std::string& why);

    // tcp_lane_receive.cpp
    void receive();
    void receive_discarding();
    ssize_t receive_some(size_t* asked);
    ssize_t send_some(msghdr& message, size_t total);
    void account(size_t bytes);
    void parse();
    bool parse_header();
    void parse_body();
    void parse_payload();
    void dispatch(const wire::Preamble& preamble, std::span<const uint8_t> body);
    void payload_finished();
    void scrap_reserve();

    // tcp_lane_send.cpp
    bool start_data();
    size_t data_left() const;
    void sent(size_t bytes, bool data_first);
    void send_end();

    Poller& poller_;
    int fd_;
    Poller::Slot slot_ = 0;
    std::string remote_;
    LaneOwner* owner_;
    uint32_t capabilities_ = kLaneReceivesInPlace | kLaneStripes | kLaneDetectsLoss;
    uint32_t body_bytes_max_ = wire::kHelloBodyBytesMax;
    bool paused_ = false;
    bool lingering_ = false;
    bool ended_ = false;    // our side of the stream is shut down
    bool blocked_ = false;  // waits for the socket to take more
    bool parsing_ = false;

    // Receiving. in_[in_begin_, in_end_) was read and not parsed yet.
    Receiving receiving_ = Receiving::kHeader;
    std::array<uint8_t, kReadAheadBytes> in_;
    size_t in_begin_ = 0, in_end_ = 0;
    wire::Preamble preamble_;
    std::vector<uint8_t> body_;  // of a frame that exceeds the buffer
    size_t body_have_ = 0;
    wire::Data data_in_;
    uint8_t* place_ = nullptr;
    bool landing_ = false;  // the owner waits for this payload
    bool placing_ = false, placed_cut_ = false;
    uint32_t payload_have_ = 0;
    std::unique_ptr<uint8_t[]> scrap_;

    // Sending.
    std::vector<uint8_t> control_;
    size_t control_sent_ = 0;
    OutgoingData data_out_;
    bool data_active_ = false;
    bool asking_ = false, asked_cut_ = false;
    std::vector<uint8_t> data_header_;
    size_t data_sent_ = 0;  // of header and payload together
    std::vector<uint8_t> private_copy_;
};

}  // namespace pccl::transport
