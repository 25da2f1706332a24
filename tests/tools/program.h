// Runs a program of the build with a time limit, for tests that look at what it prints and how it ends.
#pragma once

#include <string>
#include <vector>

#include "temporary_folder.h"

namespace pccl::test {

struct Finished {
    int status = -1;  ///< exit status; 128 + number for a signal, -1 when it did not end in time
    std::string output, errors;
};

/// `name` is a file in the folder of the programs; the limit is generous, since it only catches hangs.
Finished run_program(const std::string& name, const std::vector<std::string>& arguments, int limit_s = 100);

/// A file in a new folder, removed at the end.
class TemporaryFile {
   public:
    std::string path() const { return folder_.path + "/out.json"; }
    std::string read() const;

   private:
    TemporaryFolder folder_;
};

/// The file of a program of the build.
std::string program_path(const std::string& name);
std::vector<std::string> lines_of(const std::string& text);
std::vector<std::string> words_of(const std::string& line);

}  // namespace pccl::test
