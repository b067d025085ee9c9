# SPDX-License-Identifier: Apache-2.0
# Finds the toolkit and enables the CUDA language where GROVE_CUDA asks for it.

if(NOT GROVE_CUDA)
    return()
endif()
include(CheckLanguage)
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
    find_program(GROVE_NVCC nvcc PATHS /usr/local/cuda/bin)
    if(GROVE_NVCC)
        set(CMAKE_CUDA_COMPILER ${GROVE_NVCC})
    endif()
endif()
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
    if(NOT GROVE_CUDA STREQUAL "AUTO")
        message(FATAL_ERROR "GROVE_CUDA is ${GROVE_CUDA}, but nvcc was not found")
    endif()
    set(GROVE_CUDA OFF)
    return()
endif()

if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 90)
endif()
enable_language(CUDA)
# CMake 3.25.1 does not know how to ask nvcc for C++20.
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
endif()
find_package(${grove_cuda_package} REQUIRED)

# What our own units of CUDA are compiled with. Their host's share is for nvcc's instruction set,
# whatever the C++ units beside them are for: the inline namespace keeps the two apart.
add_library(grove_cuda_development INTERFACE)
target_compile_options(grove_cuda_development INTERFACE $<$<COMPILE_LANGUAGE:CUDA>:
    --expt-relaxed-constexpr --extended-lambda
    # Eigen marks defaulted functions for the device.
    -diag-suppress=20012,20014,20011>)

# A whole decoder takes nvcc minutes: once for all programs that use it, in two halves and the
# kernels that both need.
add_library(grove_decoder_cuda OBJECT EXCLUDE_FROM_ALL tests/instances/decoder_cuda_acting.cu
                                                       tests/instances/decoder_cuda_learning.cu
                                                       tests/instances/kernels_cuda.cu)
target_link_libraries(grove_decoder_cuda PUBLIC grove::cuda grove_cuda_development)
set_target_properties(grove_decoder_cuda PROPERTIES CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON)
# Where nothing will run, kernels stop at PTX.
if(GROVE_TESTS_CUDA_ARCHITECTURES)
    set_target_properties(grove_decoder_cuda PROPERTIES
                          CUDA_ARCHITECTURES "${GROVE_TESTS_CUDA_ARCHITECTURES}")
endif()
