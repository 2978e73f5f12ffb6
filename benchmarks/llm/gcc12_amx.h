// Put before llama.cpp's sources when gcc 12 compiles them for a processor with AMX: that compiler takes
// _tile_loadconfig for a read of 8 bytes and drops the stores of the other 56, and the program crashes.
#include <immintrin.h>
#define _tile_loadconfig(config) __asm__ volatile("ldtilecfg (%0)" ::"r"(config) : "memory")
#define _tile_storeconfig(config) __asm__ volatile("sttilecfg (%0)" ::"r"(config) : "memory")
