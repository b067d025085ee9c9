# SPDX-License-Identifier: Apache-2.0
# What grove's own tests, examples and benchmarks are compiled with; users never get these flags.

find_package(${grove_cpu_package} REQUIRED)
find_package(${grove_io_package} REQUIRED)

option(GROVE_NATIVE "Compile for this machine's instruction set (five times faster products)" ON)

if(PROJECT_IS_TOP_LEVEL)
    if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
        set(CMAKE_BUILD_TYPE Release CACHE STRING "Debug, Release, ..." FORCE)
    endif()
    set(CMAKE_CXX_EXTENSIONS OFF)
    set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

    # Paths relative to the checkout and precompiled headers, both in a form that ccache can reuse.
    find_program(GROVE_CCACHE ccache)
    if(GROVE_CCACHE)
        set(CMAKE_CXX_COMPILER_LAUNCHER
            ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1
            CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
            ${GROVE_CCACHE})
        set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
    endif()
endif()

add_library(grove_development INTERFACE)
target_compile_options(grove_development INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow>
    # GCC's AVX-512 intrinsics start from registers left undefined on purpose.
    $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-uninitialized -Wno-maybe-uninitialized>
    # GCC 12 sees overruns in inlined std::string code that come and go with a literal's length.
    $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-array-bounds -Wno-restrict
        -Wno-stringop-overflow -Wno-stringop-overread>
    # A whole GiB before GCC first collects garbage: long units compile a twentieth quicker.
    $<$<COMPILE_LANG_AND_ID:CXX,GNU>:--param=ggc-min-heapsize=1048576>
    $<$<AND:$<BOOL:${GROVE_NATIVE}>,$<COMPILE_LANGUAGE:CXX>>:-march=native>)

# A whole decoder takes half a minute to compile: once for all programs that use it, with
# precompiled headers that say so.
add_library(grove_decoder OBJECT EXCLUDE_FROM_ALL tests/instances/decoder.cpp)
target_link_libraries(grove_decoder PUBLIC grove::cpu grove_development)
target_precompile_headers(grove_decoder PRIVATE tests/instances/decoder.hpp)

# grove_use_decoder(target...): they leave the decoder's code to grove_decoder.
function(grove_use_decoder)
    foreach(target IN LISTS ARGN)
        target_link_libraries(${target} PRIVATE grove_decoder)
        target_precompile_headers(${target} REUSE_FROM grove_decoder)
    endforeach()
endfunction()
