// The Catch2 runner, compiled once and linked into every test program: this file is slow to compile and never
// changes.
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
