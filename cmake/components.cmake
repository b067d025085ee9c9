# SPDX-License-Identifier: Apache-2.0
# The components beside grove::grove: the arguments of find_package for what each needs, and the
# targets that it links. Read by the build and, installed, by find_package(grove).
set(grove_components cpu io cuda)
set(grove_cpu_package TBB CONFIG)
set(grove_cpu_targets TBB::tbb)
set(grove_io_package nlohmann_json 3.10 CONFIG)
set(grove_io_targets nlohmann_json::nlohmann_json)
set(grove_cuda_package CUDAToolkit)
set(grove_cuda_targets CUDA::cudart CUDA::cublasLt)
