# Libraries that the rooms use. Each is an ordinary package of the distribution, found through pkg-config.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCCL_UV REQUIRED IMPORTED_TARGET libuv>=1.44)
pkg_check_modules(PCCL_HWY REQUIRED IMPORTED_TARGET libhwy>=1.0)
pkg_check_modules(PCCL_XXHASH REQUIRED IMPORTED_TARGET libxxhash>=0.8)
