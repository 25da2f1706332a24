// The membership machine under a text file: members and a coordinator, nothing of which moves unless a line
// of the file says so. What is sent waits in queues, in order; lines deliver it, lose it, pass time, make
// calls, break things, and print the state. docs/internals/scripts.md describes the verbs.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "script_world.h"

namespace pccl::test {

class Script {
   public:
    /// Runs the lines of a file and returns it with the output that they had.
    std::string run(const std::string& text) {
        std::istringstream lines(text);
        std::string out;
        for (std::string line; std::getline(lines, line);) {
            if (line.rfind("    ", 0) == 0) continue;  // what was printed when it was written
            out += line + "\n";
            if (line.empty() || line[0] == '#') continue;
            std::istringstream printed(carry_out(line));
            for (std::string shown; std::getline(printed, shown);) out += "    " + shown + "\n";
        }
        return out;
    }

   private:
    using Words = std::vector<std::string>;
    using Verb = std::function<void(const Words&)>;

    std::string carry_out(const std::string& line) {
        std::istringstream in(line);
        Words words;
        for (std::string word; in >> word;) words.push_back(word);
        const auto verb = verbs_.find(words[0]);
        world_.printed.clear();
        if (verb == verbs_.end()) return "there is no verb " + words[0] + "\n";
        verb->second(words);
        return world_.printed;
    }

    void each(const Words& words, const std::function<void(ScriptNode&)>& work) {
        for (size_t i = 1; i < words.size(); ++i) {
            if (words[i].find('=') != std::string::npos) continue;
            if (ScriptNode* node = world_.find(words[i])) {
                work(*node);
            } else {
                world_.printed += "there is no " + words[i] + "\n";
            }
        }
    }
    static uint64_t option(const Words& words, const std::string& name, uint64_t otherwise) {
        for (const std::string& word : words) {
            if (word.rfind(name + "=", 0) == 0) return std::stoull(word.substr(name.size() + 1));
        }
        return otherwise;
    }
    void pair(const Words& words, const std::function<void(const std::string&, const std::string&)>& work) {
        if (words.size() < 3) {
            world_.printed += "two names are missing\n";
        } else {
            work(words[1], words[2]);
        }
    }

    ScriptWorld world_;
    const std::map<std::string, Verb> verbs_ = {
        {"policy", [this](const Words& w) { world_.report_losses = w.size() > 1 && w[1] == "report"; }},
        {"join",
         [this](const Words& w) {
             for (size_t i = 1; i < w.size(); ++i) {
                 if (w[i].find('=') == std::string::npos)
                     world_.join(w[i], static_cast<uint32_t>(option(w, "group", 0)));
             }
         }},
        {"vote", [this](const Words& w) { each(w, [&](ScriptNode& n) { world_.vote(n); }); }},
        {"reduce",
         [this](const Words& w) { each(w, [&](ScriptNode& n) { world_.reduce(n, option(w, "tag", 0)); }); }},
        {"query", [this](const Words& w) { each(w, [&](ScriptNode& n) { world_.query(n); }); }},
        {"cancel", [this](const Words& w) { each(w, [&](ScriptNode& n) { world_.cancel(n); }); }},
        {"leave", [this](const Words& w) { each(w, [&](ScriptNode& n) { world_.leave(n); }); }},
        {"kill", [this](const Words& w) { each(w, [&](ScriptNode& n) { world_.kill(n, false); }); }},
        {"vanish", [this](const Words& w) { each(w, [&](ScriptNode& n) { world_.kill(n, true); }); }},
        {"freeze", [this](const Words& w) { each(w, [](ScriptNode& n) { n.stopped = true; }); }},
        {"thaw", [this](const Words& w) { each(w, [](ScriptNode& n) { n.stopped = false; }); }},
        {"disconnect", [this](const Words& w) { each(w, [&](ScriptNode& n) { world_.disconnect(n); }); }},
        {"connect", [this](const Words& w) { each(w, [&](ScriptNode& n) { world_.connect(n); }); }},
        {"reconnect", [this](const Words&) { world_.reconnect(); }},
        {"suspect",
         [this](const Words& w) {
             pair(w, [&](const std::string& a, const std::string& b) { world_.suspect(a, b); });
         }},
        {"drop",
         [this](const Words& w) {
             pair(w, [&](const std::string& a, const std::string& b) { world_.drop(a, b); });
         }},
        {"unreachable",
         [this](const Words& w) {
             pair(w, [&](const std::string& a, const std::string& b) { world_.unreachable.insert({a, b}); });
         }},
        {"deliver",
         [this](const Words& w) {
             pair(w, [&](const std::string& a, const std::string& b) {
                 world_.deliver(a, b, w.size() > 3 ? w[3] : "");
             });
         }},
        {"store", [this](const Words&) { world_.store(); }},
        {"stop-coordinator", [this](const Words&) { world_.stop_coordinator(); }},
        {"start-coordinator", [this](const Words&) { world_.start_coordinator(); }},
        {"restart-coordinator",
         [this](const Words&) {
             world_.stop_coordinator();
             world_.start_coordinator();
             world_.reconnect();
         }},
        {"stabilise", [this](const Words&) { world_.stabilise(); }},
        {"tick", [this](const Words& w) { world_.tick(w.size() > 1 ? std::stoll(w[1]) : 100); }},
        {"views", [this](const Words&) { world_.print_views(); }},
        {"calls", [this](const Words&) { world_.print_calls(); }},
        {"coordinator", [this](const Words&) { world_.print_coordinator(); }},
        {"queues", [this](const Words&) { world_.print_queues(); }},
    };
};

}  // namespace pccl::test
