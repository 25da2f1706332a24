// What the sockets alone can do on this host, for comparison with collectives: two processes on loopback, one
// thread each, nonblocking descriptors under epoll.
//
// Throughput: both ends send and receive S bytes at the same time over F flows, in segments that go to
// whichever flow is writable; each end acknowledges with one byte on a connection of its own when it has
// received everything. Latency: a few bytes to and fro on one flow. Prints one JSON object.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

struct Options {
    size_t bytes = 64u << 20;
    size_t segment_bytes = 256u << 10;
    int flows = 1;
    int iterations = 5;
    int warmup = 1;
    size_t ping_bytes = 4;
    int pings = 2000;
};

[[noreturn]] void die(const char* what) {
    std::fprintf(stderr, "raw_socket: %s: %s\n", what, std::strerror(errno));
    std::exit(1);
}

double now_s() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

double cpu_s(int who) {
    rusage usage{};
    getrusage(who, &usage);
    const auto seconds = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double quantile(std::vector<double> sample, double share) {
    if (sample.empty()) {
        return 0;
    }
    std::sort(sample.begin(), sample.end());
    return sample[std::min(sample.size() - 1,
                           static_cast<size_t>(share * static_cast<double>(sample.size())))];
}

void make_ready(int descriptor) {
    const int on = 1;
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (fcntl(descriptor, F_SETFL, O_NONBLOCK) != 0) {
        die("fcntl");
    }
}

// One connection of this host with itself: (accepted end, connected end).
std::pair<int, int> connect_pair() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        listen(listener, 1) != 0 ||
        getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
        die("listen");
    }
    const int connected = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connected < 0 || connect(connected, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
        die("connect");
    }
    const int accepted = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (accepted < 0) {
        die("accept");
    }
    close(listener);
    make_ready(accepted);
    make_ready(connected);
    return {accepted, connected};
}

// A flow sends the rest of its present segment, and receives into the present place of its own.
struct Flow {
    int descriptor = -1;
    size_t send_at = 0, send_end = 0;
    size_t receive_at = 0, receive_end = 0;
};

// One end of all connections.
class End {
   public:
    End(const Options& options, const std::vector<int>& flows, int control)
        : options_(options),
          control_(control),
          poll_(epoll_create1(EPOLL_CLOEXEC)),
          send_(options.bytes, 1),
          receive_(options.bytes, 2) {
        for (int descriptor : flows) {
            flows_.push_back({});
            flows_.back().descriptor = descriptor;
        }
        for (size_t i = 0; i < flows_.size(); ++i) {
            watch(flows_[i].descriptor, i, EPOLLIN | EPOLLOUT | EPOLLET);
        }
        watch(control_, flows_.size(), EPOLLIN);
    }

    // Sends and receives everything once; returns when both ends have acknowledged.
    void exchange() {
        send_next_ = receive_next_ = received_ = 0;
        bool acknowledged = false, acknowledgement_sent = false;
        for (Flow& flow : flows_) {
            flow.send_at = flow.send_end = flow.receive_at = flow.receive_end = 0;
        }
        // The other end may have begun already, and its first bytes raised their event in the exchange
        // before.
        for (Flow& flow : flows_) {
            push(flow);
            pull(flow);
        }
        while (true) {
            if (received_ == options_.bytes && !acknowledgement_sent) {
                acknowledgement_sent = write(control_, "a", 1) == 1;
            }
            if (acknowledged && acknowledgement_sent && all_sent()) {
                return;
            }
            epoll_event events[64];
            const int count = epoll_wait(poll_, events, 64, -1);
            for (int i = 0; i < count; ++i) {
                const size_t index = events[i].data.u64;
                if (index == flows_.size()) {
                    char byte;
                    acknowledged = read(control_, &byte, 1) == 1 || acknowledged;
                    continue;
                }
                if ((events[i].events & EPOLLIN) != 0) {
                    pull(flows_[index]);
                }
                if ((events[i].events & EPOLLOUT) != 0) {
                    push(flows_[index]);
                }
            }
        }
    }

    // A few bytes to the other end and back, `count` times.
    std::vector<double> ping(int count, bool first) {
        std::vector<double> times_us;
        std::vector<char> bytes(options_.ping_bytes, 'p');
        for (int i = 0; i < count; ++i) {
            const double start_s = now_s();
            if (first) {
                send_small(bytes);
                receive_small(bytes);
            } else {
                receive_small(bytes);
                send_small(bytes);
            }
            times_us.push_back((now_s() - start_s) * 1e6);
        }
        return times_us;
    }

   private:
    void watch(int descriptor, size_t index, uint32_t events) {
        epoll_event event{};
        event.events = events;
        event.data.u64 = index;
        if (epoll_ctl(poll_, EPOLL_CTL_ADD, descriptor, &event) != 0) {
            die("epoll_ctl");
        }
    }

    bool all_sent() const {
        return send_next_ == options_.bytes &&
               std::all_of(flows_.begin(), flows_.end(),
                           [](const Flow& flow) { return flow.send_at == flow.send_end; });
    }

    // Takes the next part of the buffer for one flow; false when nothing is left.
    bool next_segment(size_t* next, size_t* at, size_t* end) const {
        if (*at == *end) {
            *at = *next;
            *end = std::min(*next + options_.segment_bytes, options_.bytes);
            *next = *end;
        }
        return *at < *end;
    }

    void push(Flow& flow) {
        while (next_segment(&send_next_, &flow.send_at, &flow.send_end)) {
            const ssize_t sent = send(flow.descriptor, send_.data() + flow.send_at,
                                      flow.send_end - flow.send_at, MSG_NOSIGNAL);
            if (sent < 0) {
                if (errno == EAGAIN || errno == EINTR) {
                    return;
                }
                die("send");
            }
            flow.send_at += static_cast<size_t>(sent);
        }
    }

    void pull(Flow& flow) {
        // The two ends are at most one exchange apart, held back by the acknowledgements, so all bytes are of
        // this one.
        while (received_ < options_.bytes) {
            if (!next_segment(&receive_next_, &flow.receive_at, &flow.receive_end)) {
                flow.receive_at =
                    0;  // Other flows have claimed the last places, which this one's bytes then share.
                flow.receive_end = std::min(options_.segment_bytes, options_.bytes);
            }
            const ssize_t got = recv(flow.descriptor, receive_.data() + flow.receive_at,
                                     flow.receive_end - flow.receive_at, 0);
            if (got <= 0) {
                if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
                    return;
                }
                die(got == 0 ? "the other end is gone" : "recv");
            }
            flow.receive_at += static_cast<size_t>(got);
            received_ += static_cast<size_t>(got);
        }
    }

    void send_small(const std::vector<char>& bytes) {
        if (send(flows_[0].descriptor, bytes.data(), bytes.size(), MSG_NOSIGNAL) !=
            static_cast<ssize_t>(bytes.size())) {
            die("send");
        }
    }

    void receive_small(std::vector<char>& bytes) {
        for (size_t at = 0; at < bytes.size();) {
            pollfd readable{flows_[0].descriptor, POLLIN, 0};
            poll(&readable, 1, -1);
            const ssize_t got = recv(flows_[0].descriptor, bytes.data() + at, bytes.size() - at, 0);
            if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
                die("recv");
            }
            at += static_cast<size_t>(std::max<ssize_t>(got, 0));
        }
    }

    const Options& options_;
    const int control_;
    const int poll_;
    std::vector<Flow> flows_;
    std::vector<char> send_, receive_;
    size_t send_next_ = 0, receive_next_ = 0, received_ = 0;
};

void print_json(const Options& options, const std::vector<double>& seconds,
                const std::vector<double>& pings_us, double cpu_seconds) {
    const double median_s = quantile(seconds, 0.5);
    const double bytes = static_cast<double>(options.bytes);
    std::printf(
        "{\"program\": \"raw_socket\", \"size\": %zu, \"flows\": %d, \"segment_bytes\": %zu, \"iterations\": "
        "%d",
        options.bytes, options.flows, options.segment_bytes, options.iterations);
    if (!seconds.empty()) {
        std::printf(", \"time_us\": %.3f, \"min_us\": %.3f, \"gb_per_s\": %.6f, \"cpu_s_per_gb\": %.6f",
                    median_s * 1e6, *std::min_element(seconds.begin(), seconds.end()) * 1e6,
                    bytes / median_s * 1e-9,
                    cpu_seconds / (bytes * static_cast<double>(seconds.size()) * 1e-9));
    }
    if (!pings_us.empty()) {
        std::printf(", \"ping_bytes\": %zu, \"ping_p50_us\": %.3f, \"ping_p99_us\": %.3f", options.ping_bytes,
                    quantile(pings_us, 0.5), quantile(pings_us, 0.99));
    }
    std::printf("}\n");
}

bool parse_number(const char* text, double least, double most, double* number) {
    char* end = nullptr;
    *number = std::strtod(text, &end);
    switch (*end) {
        case 'K': *number *= 1024, ++end; break;
        case 'M': *number *= 1024 * 1024, ++end; break;
        case 'G': *number *= 1024 * 1024 * 1024, ++end; break;
        default: break;
    }
    return end != text && *end == '\0' && *number >= least && *number <= most;
}

bool parse(int argc, char** argv, Options* options) {
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string name = argv[i];
        double number = 0;
        if (!parse_number(argv[i + 1], 0, 1e11, &number)) {
            return false;
        }
        const size_t size = static_cast<size_t>(number);
        if (name == "--bytes" && size > 0) {
            options->bytes = size;
        } else if (name == "--segment-bytes" && size > 0) {
            options->segment_bytes = size;
        } else if (name == "--flows" && size >= 1 && size <= 64) {
            options->flows = static_cast<int>(size);
        } else if (name == "--iterations" && size <= 1'000'000) {
            options->iterations = static_cast<int>(size);
        } else if (name == "--warmup" && size <= 1'000'000) {
            options->warmup = static_cast<int>(size);
        } else if (name == "--ping-bytes" && size > 0 && size <= 65536) {
            options->ping_bytes = size;
        } else if (name == "--pings" && size <= 10'000'000) {
            options->pings = static_cast<int>(size);
        } else {
            return false;
        }
    }
    return argc % 2 == 1;
}

// What either process does; only the first one measures. Returns the processor time of the timed exchanges.
double take_part(const Options& options, const std::vector<int>& flows, int control, bool first,
                 std::vector<double>* seconds, std::vector<double>* pings_us) {
    End end(options, flows, control);
    for (int i = 0; i < options.warmup; ++i) {
        end.exchange();
    }
    const double cpu_before_s = cpu_s(RUSAGE_SELF);
    for (int i = 0; i < options.iterations; ++i) {
        const double start_s = now_s();
        end.exchange();
        seconds->push_back(now_s() - start_s);
    }
    const double used_s = cpu_s(RUSAGE_SELF) - cpu_before_s;
    *pings_us = end.ping(options.pings, first);
    return used_s;
}

}  // namespace

int main(int argc, char** argv) {
    Options options;
    if (!parse(argc, argv, &options)) {
        std::fprintf(
            stderr,
            "usage: raw_socket [--bytes S] [--flows F] [--segment-bytes B] [--iterations N] [--warmup N] "
            "[--pings N] [--ping-bytes S]\n");
        return 2;
    }
    std::vector<int> mine, theirs;
    for (int i = 0; i <= options.flows; ++i) {  // The last one is for the acknowledgements.
        const auto [here, there] = connect_pair();
        mine.push_back(here);
        theirs.push_back(there);
    }
    int results[2];
    if (pipe(results) != 0) {
        die("pipe");
    }
    const pid_t parent = getpid();
    const pid_t child = fork();
    if (child < 0) {
        die("fork");
    }
    const bool first = child != 0;
    if (!first) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) {
            return 1;
        }
    }
    std::vector<int>& kept = first ? mine : theirs;
    for (int descriptor : first ? theirs : mine) {
        close(descriptor);
    }
    const int control = kept.back();
    kept.pop_back();
    std::vector<double> seconds, pings_us;
    double used_s = take_part(options, kept, control, first, &seconds, &pings_us);
    if (!first) {
        return write(results[1], &used_s, sizeof used_s) == sizeof used_s ? 0 : 1;
    }
    double others_s = 0;
    int status = 0;
    close(results[1]);
    if (read(results[0], &others_s, sizeof others_s) != sizeof others_s ||
        waitpid(child, &status, 0) != child || status != 0) {
        std::fprintf(stderr, "raw_socket: the other process failed\n");
        return 1;
    }
    print_json(options, seconds, pings_us, used_s + others_s);
    return 0;
}
