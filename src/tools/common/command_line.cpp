#include "command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <iterator>

namespace pccl::tools {

void declare_links(CLI::App& app, LinkOptions& options) {
    app.add_option("--lanes", options.lanes, "connections to each neighbour");
    app.add_option("--plan", options.plan_name, "auto, ring or mesh")->capture_default_str();
}

bool understand_links(LinkOptions* options, std::string* error) {
    constexpr const char* kNames[] = {"auto", "ring", "mesh"};  // in the order of pcclPlan_t
    const auto named = std::find(std::begin(kNames), std::end(kNames), options->plan_name);
    if (named == std::end(kNames)) {
        *error = "unknown plan '" + options->plan_name + "'";
        return false;
    }
    options->plan = static_cast<int>(named - std::begin(kNames));
    if (options->lanes != PCCL_CONFIG_UNSET && (options->lanes < 1 || options->lanes > 64)) {
        *error = "--lanes must be from 1 to 64";
        return false;
    }
    return true;
}

bool parse_arguments(CLI::App& app, int argc, char** argv, int* exit_status) {
    app.set_version_flag("--version", app.get_name() + " " + PCCL_VERSION_STRING);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        *exit_status = app.exit(error) == 0 ? 0 : 2;
        return false;
    }
    return true;
}

bool refuse(const std::string& program, const std::string& error, int* exit_status) {
    std::fprintf(stderr, "%s: %s\n", program.c_str(), error.c_str());
    *exit_status = 2;
    return false;
}

}  // namespace pccl::tools
