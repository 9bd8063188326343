# The shared library and what `cmake --install` puts where. Rule: only IG_PUBLIC symbols leave libingot.so; the program
# links the floors themselves and needs no libingot.so.
include(CMakePackageConfigHelpers)

get_target_property(capi_type ig_capi TYPE)
if(capi_type STREQUAL "STATIC_LIBRARY")
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/shared.c CONTENT "typedef int ig_shared_library_of_the_floors;\n")
  add_library(ingot_shared SHARED ${PROJECT_BINARY_DIR}/shared.c)
  # Whole, because it is called from outside alone. The floors below come by reference.
  target_link_libraries(ingot_shared PRIVATE "$<LINK_LIBRARY:WHOLE_ARCHIVE,ig_capi>")
  # Symbols of libraries that happen to be static (a libjpeg.a, say) stay inside too.
  target_link_options(ingot_shared PRIVATE LINKER:--exclude-libs,libjpeg.a:libpng.a:libz.a:libtiff.a
                                           LINKER:--no-undefined
                                           LINKER:--version-script=${PROJECT_SOURCE_DIR}/cmake/libingot.map)
  set_target_properties(ingot_shared PROPERTIES LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/libingot.map)
  set_target_properties(ingot_shared PROPERTIES OUTPUT_NAME ingot EXPORT_NAME ingot VERSION ${PROJECT_VERSION}
                                                SOVERSION ${PROJECT_VERSION_MAJOR})
  target_include_directories(ingot_shared INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  add_library(ingot::ingot ALIAS ingot_shared)

  install(TARGETS ingot_shared EXPORT ingot LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(FILES bindings/c/ingot.h runtime/base/ingot_status.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  install(FILES bindings/python/ingot.py DESTINATION ${CMAKE_INSTALL_LIBDIR}/ingot/python) # finds the library from there
  install(EXPORT ingot FILE ingotTargets.cmake NAMESPACE ingot:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/ingot)
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/ingotConfig.cmake
       CONTENT "include(\"\${CMAKE_CURRENT_LIST_DIR}/ingotTargets.cmake\")\n" @ONLY)
  write_basic_package_version_file(${PROJECT_BINARY_DIR}/ingotConfigVersion.cmake COMPATIBILITY SameMinorVersion)
  install(FILES ${PROJECT_BINARY_DIR}/ingotConfig.cmake ${PROJECT_BINARY_DIR}/ingotConfigVersion.cmake
          DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/ingot)
  # The prefix is taken from the file's own place, so that a tree can be moved.
  file(RELATIVE_PATH up /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/ingot.pc CONTENT "prefix=\${pcfiledir}/@up@
libdir=\${prefix}/@CMAKE_INSTALL_LIBDIR@
includedir=\${prefix}/@CMAKE_INSTALL_INCLUDEDIR@

Name: ingot
Description: @PROJECT_DESCRIPTION@
Version: @PROJECT_VERSION@
Libs: -L\${libdir} -lingot
Cflags: -I\${includedir}
" @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/ingot.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()
if(TARGET ingot_cuda)
  install(TARGETS ingot_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/ingot) # found by runtime/device/cuda.c
endif()
if(TARGET ingot)
  install(TARGETS ingot RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
