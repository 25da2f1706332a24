#include "base/fault.h"

#ifdef PCCL_FAULT_SITES

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>

#include "base/log.h"

namespace pccl::fault {

std::atomic<bool> any_enabled{false};

namespace {

constexpr auto kSites = static_cast<size_t>(Site::kCount);

struct Entry {
    std::atomic<uint64_t> threshold{0};  ///< of 2^32; 0: not enabled
    std::atomic<uint64_t> most{~uint64_t{0}};
    std::atomic<uint64_t> passed{0};
    std::atomic<uint64_t> struck{0};
};

std::array<Entry, kSites> sites;
std::atomic<uint64_t> seed{0};

Entry& entry(Site site) { return sites[static_cast<size_t>(site)]; }

uint64_t mixed(Site site, uint64_t n) {
    uint64_t z = seed.load(std::memory_order_relaxed) * 0x2545f4914f6cdd1dull +
                 (n * kSites + static_cast<uint64_t>(site) + 1) * 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

bool site_of(std::string_view name, Site* out) {
    for (size_t i = 0; i < kSites; ++i) {
        *out = static_cast<Site>(i);
        if (name == name_of(*out)) return true;
    }
    return false;
}

bool configure_one(const std::string& item, std::string* error) {
    const size_t colon = item.find(':');
    Site site;
    if (!site_of(item.substr(0, colon), &site)) {
        *error = "there is no site '" + item.substr(0, colon) + "'";
        return false;
    }
    const std::string numbers = colon == std::string::npos ? "" : item.substr(colon + 1);
    char* end = nullptr;
    const double probability = std::strtod(numbers.c_str(), &end);
    const bool limited = *end == ':';
    if (limited) entry(site).most = std::strtoull(end + 1, &end, 10);
    if (numbers.empty() || numbers.back() == ':' || *end != '\0' ||
        !(probability >= 0.0 && probability <= 1.0)) {
        *error = "'" + numbers + "' is no probability, and no limit behind one";
        return false;
    }
    entry(site).threshold = static_cast<uint64_t>(probability * 4294967296.0);
    return true;
}

void reset() {
    any_enabled = false;
    seed = 0;
    for (Entry& one : sites) {
        one.threshold = 0;
        one.most = ~uint64_t{0};
        one.passed = 0;
        one.struck = 0;
    }
}

/// Before main, so that no site has to look whether this was done.
const bool from_environment = [] {
    const char* text = std::getenv("PCCL_FAULT_SITES");
    std::string error;
    if (text != nullptr && !configure(text, &error))
        stderr_sink()(LogLevel::kError, "PCCL_FAULT_SITES is not valid: " + error);
    return true;
}();

}  // namespace

const char* name_of(Site site) {
    constexpr const char* kNames[] = {"short_write",     "write_again",  "short_read",    "read_again",
                                      "spurious_wakeup", "early_return", "reverse_order", "tiny_window",
                                      "early_timer",     "accept_fails", "connect_fails", "coordinator_fails",
                                      "control_memory",  "slot_memory",  "record_fails"};
    static_assert(sizeof kNames / sizeof *kNames == kSites);
    return kNames[static_cast<size_t>(site)];
}

bool configure(const std::string& text, std::string* error) {
    reset();
    const size_t semicolon = text.find(';');
    if (semicolon != std::string::npos) {
        char* end = nullptr;
        seed = std::strtoull(text.c_str() + semicolon + 1, &end, 10);
        if (*end != '\0' || semicolon + 1 == text.size()) {
            *error = "the seed is no number";
            return false;
        }
    }
    const std::string list = text.substr(0, semicolon);
    for (size_t at = 0; at < list.size();) {
        const size_t comma = std::min(list.find(',', at), list.size());
        if (!configure_one(list.substr(at, comma - at), error)) {
            reset();
            return false;
        }
        at = comma + 1;
    }
    any_enabled = !list.empty();
    return true;
}

uint64_t strikes(Site site) { return entry(site).struck; }

size_t part_of(Site site, size_t total) {
    if (total < 2) return total;
    return 1 + mixed(site, ~entry(site).passed.load(std::memory_order_relaxed)) % (total - 1);
}

bool passes(Site site) {
    Entry& one = entry(site);
    const uint64_t threshold = one.threshold.load(std::memory_order_relaxed);
    if (threshold == 0) return false;
    const uint64_t n = one.passed.fetch_add(1, std::memory_order_relaxed);
    if ((mixed(site, n) >> 32) >= threshold) return false;
    if (one.struck.fetch_add(1, std::memory_order_relaxed) < one.most) return true;
    one.struck.fetch_sub(1, std::memory_order_relaxed);
    return false;
}

}  // namespace pccl::fault

#endif
