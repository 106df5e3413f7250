# Programs of benchmarks/cpu/run.sh, and micro benchmarks.
add_executable(bench_matmul benchmarks/cpu/matmul_bench.cc)
target_link_libraries(bench_matmul PRIVATE outrider_cpu)
add_executable(machine_floor benchmarks/cpu/machine_floor.cc)
target_include_directories(machine_floor PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/benchmarks/cpu)
target_link_libraries(machine_floor PRIVATE PkgConfig::hwy Threads::Threads)
add_library(avx2_only MODULE benchmarks/cpu/avx2_only.cc)
target_link_libraries(avx2_only PRIVATE PkgConfig::hwy)
set_target_properties(avx2_only PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
