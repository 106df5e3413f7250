# `make package`: a Debian package, whose libraries come from the distribution, and a tarball that brings its own and runs on
# any Linux with glibc 2.36 or newer. Component `libraries` is the tarball's alone.
set_target_properties(outrider PROPERTIES INSTALL_RPATH "$ORIGIN/../lib/outrider")
install(TARGETS outrider RUNTIME_DEPENDENCY_SET outrider_libraries RUNTIME DESTINATION bin COMPONENT program)
install(RUNTIME_DEPENDENCY_SET outrider_libraries
  PRE_EXCLUDE_REGEXES "ld-linux" "^lib(c|m|pthread|dl|rt)\\.so"
  LIBRARY DESTINATION lib/outrider COMPONENT libraries)

# The tree below share/outrider is that of the repository: the recipe's scripts find model and task in both.
install(DIRECTORY models/pocket-scout/fp8 models/pocket-scout/nvfp4 models/pocket-scout/eval
  DESTINATION share/outrider/models/pocket-scout COMPONENT program PATTERN .gitignore EXCLUDE PATTERN "*.py" EXCLUDE
  PATTERN __pycache__ EXCLUDE)
install(DIRECTORY recipes DESTINATION share/outrider COMPONENT program USE_SOURCE_PERMISSIONS)
install(FILES README.md DESTINATION share/doc/outrider COMPONENT program)
install(FILES LICENSE DESTINATION share/doc/outrider RENAME copyright COMPONENT program)
install(FILES .xgrammar/LICENSE DESTINATION share/doc/outrider RENAME LICENSE.xgrammar COMPONENT program)
install(FILES .xgrammar/NOTICE DESTINATION share/doc/outrider RENAME NOTICE.xgrammar COMPONENT program)
if(OUTRIDER_WITH_CUDA)
  # Of the runtime that is linked in; a whole toolkit has it elsewhere.
  file(GLOB cuda_licences .cuda/licenses/*runtime*.txt)
  install(FILES ${cuda_licences} DESTINATION share/doc/outrider COMPONENT program)
endif()

set(CPACK_GENERATOR DEB TGZ)
set(CPACK_PROJECT_CONFIG_FILE ${CMAKE_SOURCE_DIR}/cmake/PackageKinds.cmake)
set(CPACK_PACKAGE_DIRECTORY ${CMAKE_BINARY_DIR}/package)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Serves Llama 4 over OpenAI's HTTP API, on a GPU or a CPU")
set(CPACK_PACKAGE_VENDOR Outrider)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_GROUPING ALL_COMPONENTS_IN_ONE)
set(CPACK_ARCHIVE_COMPONENT_INSTALL ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_PACKAGE_NAME outrider)
set(CPACK_DEBIAN_PACKAGE_MAINTAINER "The Outrider authors <outrider@localhost>")
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS ca-certificates)
set(CPACK_PACKAGE_FILE_NAME outrider-${PROJECT_VERSION}-linux-${CMAKE_SYSTEM_PROCESSOR})
if(OUTRIDER_WITH_CUDA)
  string(APPEND CPACK_PACKAGE_FILE_NAME -cuda)
endif()
include(CPack)
