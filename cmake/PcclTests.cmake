# Registers tests with ctest. Every Catch2 test case is one ctest entry, labelled `fast`, or `slow` when it
# carries the tag [slow]; each has a time-out, which is longer under a sanitizer.
set(PCCL_TEST_TIMEOUT_FAST_S 120)
set(PCCL_TEST_TIMEOUT_SLOW_S 900)
if(PCCL_SANITIZE)
    set(PCCL_TEST_TIMEOUT_FAST_S 600)
    set(PCCL_TEST_TIMEOUT_SLOW_S 1800)
endif()

set(PCCL_TEST_ENVIRONMENT
    "PCCL_BIN_DIR=${PROJECT_BINARY_DIR}/bin"
    "PCCL_BUILD_DIR=${PROJECT_BINARY_DIR}"
    "PCCL_SOURCE_DIR=${PROJECT_SOURCE_DIR}"
    "ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1"
    "UBSAN_OPTIONS=print_stacktrace=1"
    "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:suppressions=${PROJECT_SOURCE_DIR}/tests/tsan.supp")

# pccl_catch_tests(ROOM LINKS targets...): all of tests/ROOM/*.cpp as one program test_ROOM.
function(pccl_catch_tests room)
    cmake_parse_arguments(tests "" "" "LINKS" ${ARGN})
    file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${room}/*.cpp"
         "${CMAKE_CURRENT_SOURCE_DIR}/${room}/*.c")
    if(NOT sources)
        return()
    endif()
    set(target test_${room})
    add_executable(${target} ${sources} $<TARGET_OBJECTS:pccl_test_main>)
    set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests")
    target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/src" "${CMAKE_CURRENT_SOURCE_DIR}")
    target_compile_definitions(${target} PRIVATE
        PCCL_TEST_BIN_DIR="${PROJECT_BINARY_DIR}/bin" PCCL_TEST_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
    target_link_libraries(${target} PRIVATE ${tests_LINKS} pccl_flags Threads::Threads)
    if(TARGET pccl_tools)
        if(room STREQUAL "tools" OR room STREQUAL "capi")
            add_dependencies(${target} pccl_tools)
        endif()
    endif()
    if(PCCL_BUILD_EXAMPLES AND room STREQUAL "capi")
        get_property(examples DIRECTORY "${PROJECT_SOURCE_DIR}/examples" PROPERTY BUILDSYSTEM_TARGETS)
        add_dependencies(${target} ${examples})
        target_compile_definitions(${target} PRIVATE PCCL_TEST_EXAMPLES)
    endif()
    # ctest itself asks the program for its test cases when it starts, so a changed list needs no new
    # configuration.
    set(include_file "${CMAKE_CURRENT_BINARY_DIR}/${target}_cases.cmake")
    file(WRITE "${include_file}"
        "set(room [==[${room}]==])\n"
        "set(executable [==[${PROJECT_BINARY_DIR}/tests/${target}]==])\n"
        "set(environment [==[${PCCL_TEST_ENVIRONMENT}]==])\n"
        "set(timeout_fast_s ${PCCL_TEST_TIMEOUT_FAST_S})\n"
        "set(timeout_slow_s ${PCCL_TEST_TIMEOUT_SLOW_S})\n"
        "include([==[${PROJECT_SOURCE_DIR}/cmake/discover_catch_tests.cmake]==])\n")
    set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES "${include_file}")
endfunction()

set(PCCL_SCRIPT_ENVIRONMENT "PCCL_CMAKE=${CMAKE_COMMAND}" "PYTHONDONTWRITEBYTECODE=1"
    "PYTHONPATH=${PROJECT_BINARY_DIR}/python")

# pccl_script_test(NAME LABEL TIMEOUT_S command...)
function(pccl_script_test name label timeout_s)
    add_test(NAME ${name} COMMAND ${ARGN} WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
    set_tests_properties(${name} PROPERTIES LABELS ${label} TIMEOUT ${timeout_s}
                         ENVIRONMENT "${PCCL_TEST_ENVIRONMENT};${PCCL_SCRIPT_ENVIRONMENT}")
endfunction()

# pccl_pytest_file(FILE): one ctest entry; a line `# ctest: slow` in the file labels it so.
function(pccl_pytest_file file)
    get_filename_component(folder "${file}" DIRECTORY)
    get_filename_component(folder "${folder}" NAME)
    get_filename_component(name "${file}" NAME_WE)
    file(STRINGS "${file}" slow_mark REGEX "^# ctest: slow")
    set(label fast)
    set(timeout_s ${PCCL_TEST_TIMEOUT_FAST_S})
    if(slow_mark)
        set(label slow)
        set(timeout_s ${PCCL_TEST_TIMEOUT_SLOW_S})
    endif()
    pccl_script_test("${folder}: ${name}" ${label} ${timeout_s}
        "${Python_EXECUTABLE}" -m pytest -q -p no:cacheprovider "${file}")
    # pytest's status for a file whose tests were all skipped as a whole, for want of an optional package.
    set_tests_properties("${folder}: ${name}" PROPERTIES SKIP_RETURN_CODE 5)
endfunction()
