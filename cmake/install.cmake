# SPDX-License-Identifier: Apache-2.0
# `cmake --install` lays down the headers and what find_package(grove) reads.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(destination ${CMAKE_INSTALL_DATADIR}/cmake/grove)
install(DIRECTORY include/grove DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS grove EXPORT grove_targets)
install(EXPORT grove_targets NAMESPACE grove:: DESTINATION ${destination})
# A component of its own each, so that find_package asks for a dependency only where it is wanted.
foreach(component IN ITEMS io cuda)
    if(TARGET grove_${component})
        install(TARGETS grove_${component} EXPORT grove_${component}_targets)
        install(EXPORT grove_${component}_targets NAMESPACE grove:: DESTINATION ${destination})
    endif()
endforeach()

configure_package_config_file(cmake/grove-config.cmake.in grove-config.cmake
                              INSTALL_DESTINATION ${destination})
write_basic_package_version_file(grove-config-version.cmake COMPATIBILITY SameMinorVersion
                                 ARCH_INDEPENDENT)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/grove-config.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/grove-config-version.cmake DESTINATION ${destination})
