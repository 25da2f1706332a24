#include "network.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/fib_rules.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>

namespace pccl::stress {
namespace {

// The rule that finds local addresses comes first by default; ours have to come before it.
constexpr unsigned kBlockPriority = 10;
constexpr unsigned kLocalPriority = 100;

bool failed(const std::string& what, std::string* error) {
    *error = what + ": " + std::strerror(errno);
    return false;
}

bool write_file(const char* path, const std::string& text) {
    const int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0) {
        return false;
    }
    const bool good = write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    close(file);
    return good;
}

// Ids stay what they are, so that files keep their owners.
bool become_owner_of_namespace(uid_t user, gid_t group) {
    const std::string user_text = std::to_string(user), group_text = std::to_string(group);
    return write_file("/proc/self/setgroups", "deny") &&
           write_file("/proc/self/uid_map", user_text + " " + user_text + " 1") &&
           write_file("/proc/self/gid_map", group_text + " " + group_text + " 1");
}

bool raise_loopback() {
    const int socket_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket_fd < 0) {
        return false;
    }
    ifreq interface {};
    std::strncpy(interface.ifr_name, "lo", sizeof interface.ifr_name - 1);
    bool good = ioctl(socket_fd, SIOCGIFFLAGS, &interface) == 0;
    interface.ifr_flags = static_cast<short>(interface.ifr_flags | IFF_UP);
    good = good && ioctl(socket_fd, SIOCSIFFLAGS, &interface) == 0;
    close(socket_fd);
    return good;
}

struct RuleRequest {
    nlmsghdr header;
    fib_rule_hdr rule;
    char attributes[128];

    void add(unsigned short type, const void* value, unsigned short size) {
        char* const end = reinterpret_cast<char*>(this) + NLMSG_ALIGN(header.nlmsg_len);
        auto* const attribute = reinterpret_cast<rtattr*>(end);
        attribute->rta_type = type;
        attribute->rta_len = static_cast<unsigned short>(RTA_LENGTH(size));
        std::memcpy(RTA_DATA(attribute), value, size);
        header.nlmsg_len = NLMSG_ALIGN(header.nlmsg_len) + RTA_ALIGN(attribute->rta_len);
    }
};

}  // namespace

Network::~Network() {
    if (netlink_ >= 0) {
        close(netlink_);
    }
}

bool Network::request(int type, int flags, int action, int table, unsigned priority, const Flow& flow,
                      std::string* error) {
    RuleRequest message{};
    message.header.nlmsg_len = NLMSG_LENGTH(sizeof(fib_rule_hdr));
    message.header.nlmsg_type = static_cast<uint16_t>(type);
    message.header.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
    message.rule.family = AF_INET;
    message.rule.action = static_cast<uint8_t>(action);
    message.rule.table = static_cast<uint8_t>(table);
    message.add(FRA_PRIORITY, &priority, sizeof priority);
    in_addr address{};
    if (!flow.from.empty() && inet_pton(AF_INET, flow.from.c_str(), &address) == 1) {
        message.rule.src_len = 32;
        message.add(FRA_SRC, &address, sizeof address);
    }
    if (!flow.to.empty() && inet_pton(AF_INET, flow.to.c_str(), &address) == 1) {
        message.rule.dst_len = 32;
        message.add(FRA_DST, &address, sizeof address);
    }
    struct {
        nlmsghdr header;
        nlmsgerr result;
        char more[256];
    } answer{};
    if (send(netlink_, &message, message.header.nlmsg_len, 0) < 0 ||
        recv(netlink_, &answer, sizeof answer, 0) < static_cast<ssize_t>(NLMSG_LENGTH(sizeof(nlmsgerr)))) {
        return failed("a routing rule", error);
    }
    errno = -answer.result.error;
    return answer.header.nlmsg_type == NLMSG_ERROR && errno == 0 ? true : failed("a routing rule", error);
}

// A child tries first, since a process that fails half-way does not come back.
bool Network::enter(std::string* error) {
    const pid_t child = fork();
    if (child == 0) {
        _exit(enter_here(error) ? 0 : std::max(errno, 1));
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) {
        return failed("a child process", error);
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        errno = WIFEXITED(status) ? WEXITSTATUS(status) : EPERM;
        return failed("a network namespace with routing rules", error);
    }
    return enter_here(error);
}

bool Network::enter_here(std::string* error) {
    const uid_t user = geteuid();
    const gid_t group = getegid();
    if (unshare(CLONE_NEWNET) != 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
            return failed("a network namespace", error);
        }
        if (!become_owner_of_namespace(user, group)) {
            return failed("the owner of a network namespace", error);
        }
    }
    if (!raise_loopback()) {
        return failed("the loopback interface of a network namespace", error);
    }
    netlink_ = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (netlink_ < 0) {
        return failed("the routing rules of a network namespace", error);
    }
    return request(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, FR_ACT_TO_TBL, RT_TABLE_LOCAL, kLocalPriority, {},
                   error) &&
           request(RTM_DELRULE, 0, FR_ACT_TO_TBL, RT_TABLE_LOCAL, 0, {}, error);
}

bool Network::block(const Flow& flow, std::string* error) {
    return request(RTM_NEWRULE, NLM_F_CREATE, FR_ACT_BLACKHOLE, RT_TABLE_UNSPEC, kBlockPriority, flow, error);
}

bool Network::open(const Flow& flow, std::string* error) {
    return request(RTM_DELRULE, 0, FR_ACT_BLACKHOLE, RT_TABLE_UNSPEC, kBlockPriority, flow, error);
}

}  // namespace pccl::stress
