// What the command lines of the programs have in common.
#pragma once

#include <string>

#include "pccl/pccl.h"

namespace CLI {
class App;
}

namespace pccl::tools {

/// How the members are connected, as in pcclCommConfig_t.
struct LinkOptions {
    int lanes = PCCL_CONFIG_UNSET;
    int plan = PCCL_CONFIG_UNSET;
    std::string plan_name = "auto";
};

/// Adds --lanes and --plan.
void declare_links(CLI::App& app, LinkOptions& options);
/// False, with `error` filled, when they make no sense.
bool understand_links(LinkOptions* options, std::string* error);

/// Understands --help and --version too; the app's name is that of the program. False: end the program with
/// `exit_status`, which is 2 after a mistake; what there is to say has been printed.
bool parse_arguments(CLI::App& app, int argc, char** argv, int* exit_status);
/// The end of a program whose options make no sense: prints why. Always false, for the caller to return.
bool refuse(const std::string& program, const std::string& error, int* exit_status);

}  // namespace pccl::tools
