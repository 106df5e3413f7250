# XGrammar's C++ core from the sources that scripts/install-xgrammar.sh puts into .xgrammar, in two units that compile side
# by side (40 s of one core in all; 120 s file by file). Its own flags: no warnings, and neither sanitizers nor coverage,
# which would triple the time. Python bindings are left out.
set(xgrammar ${CMAKE_SOURCE_DIR}/.xgrammar)
if(NOT EXISTS ${xgrammar}/stamp)
  message(FATAL_ERROR "the sources of XGrammar are missing; scripts/install-deps.sh build fetches them")
endif()
file(GLOB xgrammar_sources ${xgrammar}/cpp/*.cc ${xgrammar}/cpp/converter_ext/*.cc ${xgrammar}/cpp/support/*.cc)
set(converters ${xgrammar_sources})
list(FILTER converters INCLUDE REGEX
  "/(grammar|grammar_parser|grammar_printer|json_schema_converter|lark_converter|regex_converter|structural_tag)\\.cc$|/converter_ext/")
list(FILTER converters EXCLUDE REGEX "/minimax_m3\\.cc$")  # its constants are named like json_schema_converter's
set_source_files_properties(${xgrammar_sources} PROPERTIES UNITY_GROUP matching)
set_source_files_properties(${converters} PROPERTIES UNITY_GROUP converting)

add_library(xgrammar STATIC ${xgrammar_sources})
# What it reports goes to src/grammar (LOG_CUSTOMIZE); the hooks give up a compilation that takes too long.
set_target_properties(xgrammar PROPERTIES CXX_STANDARD 17 UNITY_BUILD ON UNITY_BUILD_MODE GROUP COMPILE_OPTIONS
  "-O1;-w;-include;${CMAKE_SOURCE_DIR}/src/grammar/xgrammar_hooks.h")
target_compile_definitions(xgrammar PUBLIC XGRAMMAR_ENABLE_CPPTRACE=0 XGRAMMAR_ENABLE_INTERNAL_CHECK=0
  XGRAMMAR_LOG_CUSTOMIZE=1)
target_include_directories(xgrammar SYSTEM PUBLIC ${xgrammar}/include ${xgrammar}/3rdparty/picojson
  ${xgrammar}/3rdparty/dlpack/include)
