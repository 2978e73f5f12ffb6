# System libraries of the media layer, and the font that annotate() draws with. Included by src/CMakeLists.txt after
# the layers exist.
find_package(JPEG REQUIRED)
find_package(PNG REQUIRED)
find_package(Freetype REQUIRED)
find_library(WEBP_LIBRARY webp REQUIRED)
find_library(WEBP_DEMUX_LIBRARY webpdemux REQUIRED)
find_library(EXIF_LIBRARY exif REQUIRED)
find_path(WEBP_INCLUDE_DIR webp/demux.h REQUIRED)
find_path(EXIF_INCLUDE_DIR libexif/exif-data.h REQUIRED)
find_path(STB_INCLUDE_DIR stb/stb_image.h REQUIRED)
find_path(KISSFFT_INCLUDE_DIR kissfft/kissfft.hh REQUIRED)  # Used as a template: no library to link.

# The font travels inside the program (DejaVu Sans, free to embed and redistribute), so that none is needed where the
# program runs.
find_file(PAJAMAS_FONT_FILE DejaVuSans-Bold.ttf REQUIRED
          PATHS /usr/share/fonts/truetype/dejavu /usr/share/fonts/TTF /usr/share/fonts/dejavu-sans-fonts
          DOC "Font that annotated pictures are labelled with")
set(font_assembly ${CMAKE_CURRENT_BINARY_DIR}/media/font.S)
file(CONFIGURE OUTPUT ${font_assembly} @ONLY CONTENT [[
    .section .rodata
    .globl pajamas_font_begin
    .globl pajamas_font_end
    .balign 16
pajamas_font_begin:
    .incbin "@PAJAMAS_FONT_FILE@"
pajamas_font_end:
    .byte 0
#if defined(__linux__)
    .section .note.GNU-stack,"",%progbits
#endif
]])
enable_language(ASM)
target_sources(pajamas_media PRIVATE ${font_assembly})
set_source_files_properties(${font_assembly} PROPERTIES OBJECT_DEPENDS ${PAJAMAS_FONT_FILE})
target_include_directories(pajamas_media SYSTEM PRIVATE ${STB_INCLUDE_DIR} ${WEBP_INCLUDE_DIR}
                                                       ${EXIF_INCLUDE_DIR} ${KISSFFT_INCLUDE_DIR})
target_link_libraries(pajamas_media PRIVATE JPEG::JPEG PNG::PNG ${WEBP_DEMUX_LIBRARY} ${WEBP_LIBRARY}
                                            ${EXIF_LIBRARY} Freetype::Freetype)
if(PAJAMAS_PORTABLE)
  # The distribution has both as shared libraries only: such a program reads and writes WAV at the rate it has.
  target_compile_definitions(pajamas_media PRIVATE PAJAMAS_NO_AUDIO_LIBRARIES)
  # What the archive of FreeType needs in turn; the shared library knows that itself.
  find_library(BROTLI_DECODER_LIBRARY brotlidec REQUIRED)
  find_library(BROTLI_COMMON_LIBRARY brotlicommon REQUIRED)
  target_link_libraries(pajamas_media PRIVATE PNG::PNG ${BROTLI_DECODER_LIBRARY} ${BROTLI_COMMON_LIBRARY} m)
else()
  find_library(SNDFILE_LIBRARY sndfile REQUIRED)
  find_library(SOXR_LIBRARY soxr REQUIRED)
  find_path(SNDFILE_INCLUDE_DIR sndfile.h REQUIRED)
  find_path(SOXR_INCLUDE_DIR soxr.h REQUIRED)
  target_include_directories(pajamas_media SYSTEM PRIVATE ${SNDFILE_INCLUDE_DIR} ${SOXR_INCLUDE_DIR})
  target_link_libraries(pajamas_media PRIVATE ${SNDFILE_LIBRARY} ${SOXR_LIBRARY})
endif()
