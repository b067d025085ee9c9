# SPDX-License-Identifier: Apache-2.0
# `cmake --install` lays down the headers and what find_package(grove) and pkg-config read. Nothing
# in it knows where it lies or what this machine has.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(DIRECTORY include/grove DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.hpp" PATTERN "*.cuh")

# An export of its own for each component, so that find_package defines those asked for.
set(destination ${CMAKE_INSTALL_DATADIR}/cmake/grove)
install(TARGETS grove EXPORT grove_targets INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT grove_targets NAMESPACE grove:: DESTINATION ${destination})
foreach(component IN LISTS grove_components)
    install(TARGETS grove_${component} EXPORT grove_${component}_targets)
    install(EXPORT grove_${component}_targets NAMESPACE grove:: DESTINATION ${destination})
endforeach()

configure_package_config_file(cmake/grove-config.cmake.in grove-config.cmake
                              INSTALL_DESTINATION ${destination})
write_basic_package_version_file(grove-config-version.cmake COMPATIBILITY SameMinorVersion
                                 ARCH_INDEPENDENT)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/grove-config.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/grove-config-version.cmake DESTINATION ${destination})
install(FILES cmake/components.cmake DESTINATION ${destination} RENAME grove_components.cmake)

# pkg-config has no components: grove.pc is for grove/grove.hpp.
cmake_path(RELATIVE_PATH CMAKE_INSTALL_FULL_INCLUDEDIR
           BASE_DIRECTORY ${CMAKE_INSTALL_FULL_DATADIR}/pkgconfig
           OUTPUT_VARIABLE path_to_headers)
configure_file(cmake/grove.pc.in grove.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/grove.pc DESTINATION ${CMAKE_INSTALL_DATADIR}/pkgconfig)
