# Read by ctest when it starts: adds one test for each test case of `executable` (see PcclTests.cmake).
if(NOT EXISTS "${executable}")
    add_test("${room}: not built" "${executable}")
    return()
endif()

foreach(label fast slow)
    if(label STREQUAL "slow")
        set(filter "[slow]~[.]")
    else()
        set(filter "~[slow]~[.]")
    endif()
    # The exit status is the number of the listed cases, so it says nothing about success.
    execute_process(COMMAND "${executable}" "${filter}" --list-test-names-only OUTPUT_VARIABLE listing
                    ERROR_VARIABLE listing_error RESULT_VARIABLE listing_status)
    if(NOT listing_status MATCHES "^[0-9]+$" OR listing_error)
        add_test("${room}: the list of its test cases" "${executable}" --list-test-names-only)
        break()
    endif()
    # Brackets and semicolons would otherwise be read as CMake's list syntax.
    string(REPLACE "[" "\\[" listing "${listing}")
    string(REPLACE "]" "\\]" listing "${listing}")
    string(REPLACE ";" "\\;" listing "${listing}")
    string(REGEX MATCHALL "[^\n]+" cases "${listing}")
    foreach(case IN LISTS cases)
        string(REPLACE "\\[" "[" case "${case}")
        string(REPLACE "\\]" "]" case "${case}")
        string(REGEX REPLACE "([][,])" "\\\\\\1" pattern "${case}")
        set(name "${room}: ${case}")
        add_test("${name}" "${executable}" "${pattern}")
        set_tests_properties("${name}" PROPERTIES LABELS ${label} TIMEOUT ${timeout_${label}_s}
                             ENVIRONMENT "${environment}")
    endforeach()
endforeach()
