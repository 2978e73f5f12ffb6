// PAJAMAS_VECTOR_CLONES before a function lets the compiler build it once for AVX2 and once for any x86-64, chosen when
// the program starts. For plain loops over arrays only. Off under sanitizers, whose runtimes are not ready yet when the
// choice is made, and on other compilers and processors.
#pragma once

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define PAJAMAS_VECTOR_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define PAJAMAS_VECTOR_CLONES
#endif
