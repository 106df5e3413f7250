# tests/MODULE/*_test.cc become one GoogleTest program test_MODULE; each of its cases is a CTest test. The tests' own files
# are not optimised, what they test is: half of their compile time.
find_package(GTest REQUIRED)
include(GoogleTest)

if(NOT EXISTS ${CMAKE_BINARY_DIR}/fixtures/goldens)
  file(ARCHIVE_EXTRACT INPUT ${CMAKE_SOURCE_DIR}/tests/fixtures/tiny-a.tar.xz DESTINATION ${CMAKE_BINARY_DIR}/fixtures)
endif()

file(GLOB test_folders LIST_DIRECTORIES true ${CMAKE_SOURCE_DIR}/tests/*)
foreach(folder ${test_folders})
  get_filename_component(module ${folder} NAME)
  file(GLOB sources CONFIGURE_DEPENDS ${folder}/*.cc)
  if(OUTRIDER_WITH_CUDA)
    file(GLOB kernels CONFIGURE_DEPENDS ${folder}/*.cu)
    list(APPEND sources ${kernels})
  endif()
  if(NOT sources OR NOT TARGET outrider_${module})
    continue()
  endif()
  add_executable(test_${module} ${sources})
  if(OUTRIDER_UNITY_TESTS AND NOT module STREQUAL "cuda")  # whose files name the same things
    set_target_properties(test_${module} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
  endif()
  target_compile_options(test_${module} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-O0>)
  target_include_directories(test_${module} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(test_${module} PRIVATE outrider_${module} GTest::gtest_main GTest::gmock)
  if(TARGET outrider_checkpoint)
    target_link_libraries(test_${module} PRIVATE outrider_checkpoint)
  endif()
  target_compile_definitions(test_${module} PRIVATE
    OUTRIDER_SOURCE_DIR="${CMAKE_SOURCE_DIR}" OUTRIDER_BINARY_DIR="${CMAKE_BINARY_DIR}")
  gtest_discover_tests(test_${module} DISCOVERY_TIMEOUT 60 PROPERTIES LABELS ${module} TIMEOUT 600)
endforeach()

# Preloaded into a server by tests/cuda/fault/fault_test.py.
if(OUTRIDER_WITH_CUDA)
  add_library(inject_fault MODULE ${CMAKE_SOURCE_DIR}/tests/cuda/fault/inject_fault.cc)
  target_include_directories(inject_fault SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
  target_link_libraries(inject_fault PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
  set_target_properties(inject_fault PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
endif()
