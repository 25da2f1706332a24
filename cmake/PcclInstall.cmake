# What `cmake --install` lays down: headers, both libraries, the CMake package and pccl.pc.
include(CMakePackageConfigHelpers)
set(pccl_cmake_dir "${CMAKE_INSTALL_LIBDIR}/cmake/pccl")

install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/" "${PROJECT_BINARY_DIR}/include/"
        DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT development FILES_MATCHING PATTERN "*.h")
install(TARGETS pccl EXPORT pcclTargets
        LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT runtime NAMELINK_COMPONENT development)
install(TARGETS pccl_static EXPORT pcclStaticTargets
        ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT development)
foreach(set pcclTargets pcclStaticTargets)
    install(EXPORT ${set} NAMESPACE pccl:: DESTINATION "${pccl_cmake_dir}" COMPONENT development)
endforeach()

configure_package_config_file(cmake/pcclConfig.cmake.in "${PROJECT_BINARY_DIR}/pcclConfig.cmake"
                              INSTALL_DESTINATION "${pccl_cmake_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/pcclConfigVersion.cmake"
                                 COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/pcclConfig.cmake" "${PROJECT_BINARY_DIR}/pcclConfigVersion.cmake"
        DESTINATION "${pccl_cmake_dir}" COMPONENT development)

# The .pc file finds its prefix from its own place, so an installed tree can be moved.
file(RELATIVE_PATH PCCL_PC_PREFIX "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
string(REGEX REPLACE "/$" "" PCCL_PC_PREFIX "${PCCL_PC_PREFIX}")
configure_file(cmake/pccl.pc.in "${PROJECT_BINARY_DIR}/pccl.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/pccl.pc"
        DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig" COMPONENT development)
