/* Stands in for libicudata (30 MB) in portable programs: normalisation and character properties, all that the text
   layer uses of ICU, are compiled into libicuuc. Not data: code that needs any more gets an error from ICU. */
#include <unicode/utypes.h>

const char U_ICUDATA_ENTRY_POINT[64] __attribute__((aligned(16))) = {0};
