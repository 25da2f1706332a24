# Language standards, warnings, sanitizers, output folders: everything that holds for each target of the
# project.
if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 99)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib")
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib")
# Installed programs find the library beside them, wherever the tree is put.
set(CMAKE_INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")

find_program(PCCL_CCACHE ccache)
mark_as_advanced(PCCL_CCACHE)
if(PCCL_CCACHE)
    foreach(language C CXX)
        if(NOT CMAKE_${language}_COMPILER_LAUNCHER)
            set(CMAKE_${language}_COMPILER_LAUNCHER "${PCCL_CCACHE}")
        endif()
    endforeach()
endif()

add_library(pccl_flags INTERFACE)
target_compile_options(pccl_flags INTERFACE -Wall -Wextra -Wshadow)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # GCC 12 reports these two inside std::string and std::vector once they are inlined at -O3, without cause.
    target_compile_options(pccl_flags INTERFACE
        $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict> $<$<COMPILE_LANGUAGE:CXX>:-Wno-stringop-overflow>)
endif()
if(PCCL_WERROR)
    target_compile_options(pccl_flags INTERFACE -Werror)
endif()

if(PCCL_FAULT_SITES)
    target_compile_definitions(pccl_flags INTERFACE PCCL_FAULT_SITES=1)
endif()

if(PCCL_SANITIZE)
    # Global, so that the tests, the examples and the precompiled test runner agree with the library.
    add_compile_options(-fsanitize=${PCCL_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
    add_link_options(-fsanitize=${PCCL_SANITIZE})
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
        # Instrumentation hides initialisations from this warning's analysis; the release build still has it.
        target_compile_options(pccl_flags INTERFACE -Wno-maybe-uninitialized)
    endif()
endif()

if(PCCL_BUILD_FUZZERS)
    if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
        message(FATAL_ERROR "pccl: the fuzzers need clang, whose libFuzzer drives them, and the compiler is "
                            "${CMAKE_CXX_COMPILER_ID}: use the preset `fuzz`, or set PCCL_BUILD_FUZZERS=OFF")
    endif()
    # Every room reports which of its branches an input took; the programs themselves link the engine.
    add_compile_options(-fsanitize=fuzzer-no-link)
    add_link_options(-fsanitize=fuzzer-no-link)
endif()
