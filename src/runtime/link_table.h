// All connections to other peers: the listening socket, handshakes, links, and attempts to connect.
//
// Guarded by the progress lock, whichever thread holds it; it has no thread, timer or clock of its own.
// Whoever handed in an event calls settle() afterwards: frames that were queued are written then, and closed
// objects destroyed.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "runtime/dialer.h"
#include "runtime/handshake.h"
#include "runtime/link.h"
#include "runtime/link_events.h"
#include "transport/poller.h"
#include "transport/tcp_listener.h"

namespace pccl::runtime {

class LinkTable {
   public:
    LinkTable(transport::Poller& poller, LinkEvents& events, LinkOptions options);
    ~LinkTable();
    LinkTable(const LinkTable&) = delete;
    LinkTable& operator=(const LinkTable&) = delete;

    /// Connections to others start from the same address, unless `host` is empty.
    Status listen(const std::string& host, int port_first, int port_last);
    uint16_t port() const { return listener_.port(); }
    const transport::SocketAddress& address() const { return listener_.address(); }

    void connect(const MemberId& peer, const std::vector<wire::Endpoint>& endpoints, TimeUs deadline);
    /// Ends the link in an orderly way and stops connecting; nothing is reported. Incarnation 0: any.
    void close(const MemberId& peer, uint64_t incarnation);
    void queue_frame(const MemberId& peer, wire::Type type, std::span<const uint8_t> body);
    void data_ready(const MemberId& peer);
    void cut(const wire::OpKey* key);
    void resolved(const MemberId& peer, uint64_t number, std::vector<transport::SocketAddress> addresses,
                  const std::string& error);

    /// No more connections; links and attempts end in an orderly way. Nothing is reported.
    void shut_down();
    size_t lingering() const { return lingering_.size(); }
    size_t links() const { return links_.size(); }
    /// Links to members on this host, with whom its cores are shared.
    size_t same_host_links() const { return same_host_links_; }
    size_t handshakes() const { return handshakes_.size(); }
    const Link* find(const MemberId& peer) const;

    TimeUs deadline() const;
    void tick(TimeUs now);
    /// Writes what was queued.
    void flush();
    /// Nothing is in the middle of a callback now.
    void clear_graveyard() { graveyard_.clear(); }

    // ---- for the listener, links, dialers and handshakes
    transport::Poller& poller() { return poller_; }
    LinkEvents& events() { return events_; }
    const LinkOptions& options() const { return options_; }
    void mark_dirty(Link& link);
    void fail(Link& link, const std::string& why);
    void dialed(Dialer& dialer, uint64_t incarnation, std::vector<std::unique_ptr<transport::Lane>> lanes);
    void dial_failed(Dialer& dialer, const std::string& why);
    bool greet(Handshake& handshake, std::span<const uint8_t> body, std::string* why);
    void handshake_lost(Handshake& handshake, const std::string& why);
    /// Destroys an object when nothing is in the middle of a callback any more.
    template <class T>
    void bury(std::unique_ptr<T> object) {
        if (object != nullptr) graveyard_.push_back(std::shared_ptr<void>(std::move(object)));
    }
    /// A connection that a stranger opened: the listening socket's, or any other connected stream.
    void accepted(int fd, const transport::SocketAddress& remote);

   private:
    std::unique_ptr<Link> take(std::unordered_map<MemberId, std::unique_ptr<Link>>::iterator at);
    void refuse(Handshake& handshake, const wire::HelloAck& ack);
    void forget_handshake(Handshake& handshake);
    void drop_other_incarnations(const wire::Hello& hello);
    void complete_if_all_here(const wire::Hello& hello);
    void establish(const MemberId& peer, uint64_t incarnation,
                   std::vector<std::unique_ptr<transport::Lane>> lanes);
    void let_linger(std::vector<std::unique_ptr<transport::Lane>> lanes);
    void log_rejected(const std::string& remote, const std::string& why);

    transport::Poller& poller_;
    LinkEvents& events_;
    LinkOptions options_;
    transport::TcpListener listener_;
    std::unordered_map<MemberId, std::unique_ptr<Link>> links_;
    size_t same_host_links_ = 0;
    std::unordered_map<MemberId, std::unique_ptr<Dialer>> dialers_;
    std::vector<std::unique_ptr<Handshake>> handshakes_;  // the oldest first
    std::vector<std::unique_ptr<Lingering>> lingering_;
    std::vector<Link*> dirty_;
    std::vector<std::shared_ptr<void>> graveyard_;
    uint64_t dialers_made_ = 0;

    // Messages about strangers are limited: anybody can cause them.
    TimeUs log_window_ = 0;
    int logged_in_window_ = 0, suppressed_ = 0;
};

}  // namespace pccl::runtime
