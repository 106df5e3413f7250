# The web page's files become web_assets.cc, which defines outrider::web::assets(). This file is also the script that writes
# it: cmake -DFILES=... -DOUTPUT=... -P WebPage.cmake
if(CMAKE_SCRIPT_MODE_FILE)
  set(text "#include \"web/assets.h\"\n\nnamespace outrider::web {\n\nstd::span<const Asset> assets() {\n")
  string(APPEND text "  static constexpr Asset kAssets[] = {\n")
  string(REPLACE "|" ";" FILES "${FILES}")
  foreach(file ${FILES})
    get_filename_component(name ${file} NAME)
    file(READ ${file} body)
    string(APPEND text "{\"${name}\", R\"web-asset(${body})web-asset\"},\n")
  endforeach()
  file(WRITE ${OUTPUT} "${text}};\n  return kAssets;\n}\n\n}  // namespace outrider::web\n")
  return()
endif()

function(outrider_embed_web_page target)
  file(GLOB files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/web/*.html ${CMAKE_SOURCE_DIR}/src/web/*.css
    ${CMAKE_SOURCE_DIR}/src/web/*.js ${CMAKE_SOURCE_DIR}/src/web/*.svg)
  set(output ${CMAKE_BINARY_DIR}/web_assets.cc)
  list(JOIN files "|" list)
  add_custom_command(OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} "-DFILES=${list}" -DOUTPUT=${output} -P ${CMAKE_SOURCE_DIR}/cmake/WebPage.cmake
    DEPENDS ${files} ${CMAKE_SOURCE_DIR}/cmake/WebPage.cmake VERBATIM)
  target_sources(${target} PRIVATE ${output})
endfunction()
