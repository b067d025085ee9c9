# SPDX-License-Identifier: Apache-2.0

# add_without_side_effects(source): add_subdirectory(source grove), and an error for whatever it
# leaves behind besides grove's targets: tests, programs, or settings of the whole project.
function(add_without_side_effects source)
    get_cmake_property(before CACHE_VARIABLES)
    add_subdirectory(${source} grove)
    get_cmake_property(settings CACHE_VARIABLES)
    list(REMOVE_ITEM settings ${before})
    list(FILTER settings EXCLUDE REGEX
         "^(GROVE_|grove_|FIND_PACKAGE_|Eigen3_|TBB_|nlohmann_json_|CMAKE_HAVE_LIBC_PTHREAD$)")

    include(${source}/cmake/components.cmake)
    list(TRANSFORM grove_components PREPEND grove_)
    get_property(targets DIRECTORY ${source} PROPERTY BUILDSYSTEM_TARGETS)
    list(REMOVE_ITEM targets grove ${grove_components})
    get_property(tests DIRECTORY ${source} PROPERTY TESTS)

    set(surplus ${settings} ${targets} ${tests})
    if(surplus)
        message(FATAL_ERROR "add_subdirectory(grove) left behind: ${surplus}")
    endif()
endfunction()
