# benchmarks/gpu/NAME_bench.cu become the programs bench_NAME.
file(GLOB gpu_benchmarks CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/benchmarks/gpu/*_bench.cu)
foreach(source ${gpu_benchmarks})
  get_filename_component(name ${source} NAME_WE)
  string(REGEX REPLACE "_bench$" "" name ${name})
  add_executable(bench_${name} ${source})
  target_link_libraries(bench_${name} PRIVATE outrider_cuda outrider_checkpoint)
endforeach()

# Loaded by the driver into any of them: when each kernel began and ended.
if(TARGET CUDA::cupti)
  add_library(kernel_records SHARED ${CMAKE_SOURCE_DIR}/benchmarks/gpu/kernel_records.cc)
  target_link_libraries(kernel_records PRIVATE CUDA::cupti)
endif()
