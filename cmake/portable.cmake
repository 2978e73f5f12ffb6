# PAJAMAS_PORTABLE: programs that need nothing but glibc of the machine they run on. Static archives are preferred for
# every library; what the distribution has only as a shared one is used header-only (spdlog, fmt) or replaced by what
# the program needs of it (ICU's data).
if(PAJAMAS_PORTABLE)
  set(CMAKE_FIND_LIBRARY_SUFFIXES .a)
  set(Protobuf_USE_STATIC_LIBS ON)
  set(OPENSSL_USE_STATIC_LIBS ON)
  set(ZLIB_USE_STATIC_LIBS ON)
  add_link_options(-static-libstdc++ -static-libgcc -Wl,--gc-sections $<$<CONFIG:Release>:-s>)
  add_compile_options("$<$<COMPILE_LANGUAGE:C,CXX>:-ffunction-sections;-fdata-sections>")
endif()

# pajamas_log_library(): the target to link for spdlog.
function(pajamas_log_library result)
  if(NOT PAJAMAS_PORTABLE)
    set(${result} spdlog::spdlog PARENT_SCOPE)
    return()
  endif()
  if(NOT TARGET pajamas_spdlog)
    add_library(pajamas_spdlog INTERFACE)
    target_compile_definitions(pajamas_spdlog INTERFACE SPDLOG_FMT_EXTERNAL SPDLOG_HEADER_ONLY FMT_HEADER_ONLY=1)
    target_link_libraries(pajamas_spdlog INTERFACE Threads::Threads)
  endif()
  set(${result} pajamas_spdlog PARENT_SCOPE)
endfunction()
