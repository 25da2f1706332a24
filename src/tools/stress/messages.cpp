#include "messages.h"

#include <cinttypes>
#include <cstdio>
#include <sstream>

namespace pccl::stress {

const char* call_name(Call call) {
    switch (call) {
        case Call::kNone: return "no call";
        case Call::kConnect: return "pcclConnect";
        case Call::kArePeersPending: return "pcclArePeersPending";
        case Call::kUpdateTopology: return "pcclUpdateTopology";
        case Call::kSynchronize: return "pcclSynchronizeSharedState";
        case Call::kReduceAsync: return "pcclAllReduceAsync";
        case Call::kAwait: return "pcclAwaitAsyncReduce";
        case Call::kLeave: return "pcclLeave";
        case Call::kDestroy: return "pcclDestroyCommunicator";
    }
    return "an unknown call";
}

std::string to_line(const Message& message) {
    std::ostringstream line;
    line << std::hex;
    switch (message.kind) {
        case Message::Kind::kJoined: line << "J " << message.member; break;
        case Message::Kind::kStateWrong: line << "W"; break;
        case Message::Kind::kInputsDamaged: line << "D"; break;
        case Message::Kind::kRetriedVote: line << "V"; break;
        case Message::Kind::kLost:
            line << "L " << message.result << ' ';
            for (char c : message.text) {
                line << (c == '\n' ? ' ' : c);
            }
            break;
        case Message::Kind::kSuccess: {
            const Success& success = message.success;
            line << "S " << success.lineage << ' ' << success.step << ' ' << success.tag << ' '
                 << success.result_hash << ' ' << success.wrong_elements << ' ' << success.inputs_damaged
                 << ' ' << success.retried << ' ' << success.time_ns << ' ' << success.contributors.size();
            for (uint64_t contributor : success.contributors) {
                line << ' ' << contributor;
            }
            break;
        }
    }
    line << '\n';
    return line.str();
}

bool from_line(const std::string& line, Message* message) {
    std::istringstream in(line);
    in >> std::hex;
    char kind = 0;
    in >> kind;
    if (kind == 'J') {
        message->kind = Message::Kind::kJoined;
        return static_cast<bool>(in >> message->member);
    }
    if (kind == 'W' || kind == 'D' || kind == 'V') {
        message->kind = kind == 'W'   ? Message::Kind::kStateWrong
                        : kind == 'D' ? Message::Kind::kInputsDamaged
                                      : Message::Kind::kRetriedVote;
        return true;
    }
    if (kind == 'L') {
        message->kind = Message::Kind::kLost;
        in >> message->result;
        std::getline(in >> std::ws, message->text);
        return !in.bad();
    }
    constexpr size_t kContributorsMax = 4096;
    Success& success = message->success;
    size_t count = 0;
    message->kind = Message::Kind::kSuccess;
    in >> success.lineage >> success.step >> success.tag >> success.result_hash >> success.wrong_elements >>
        success.inputs_damaged >> success.retried >> success.time_ns >> count;
    if (kind != 'S' || !in || count > kContributorsMax) {
        return false;
    }
    success.contributors.resize(count);
    for (uint64_t& contributor : success.contributors) {
        in >> contributor;
    }
    return static_cast<bool>(in);
}

}  // namespace pccl::stress
