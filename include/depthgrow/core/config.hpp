// Version and compiler facts: the only header of the library with #ifdefs.
// Assumes C++17; nothing else is included.
// A macro here may add a declaration, never change one.
#pragma once

#define DEPTHGROW_VERSION_MAJOR 0
#define DEPTHGROW_VERSION_MINOR 2
#define DEPTHGROW_VERSION_PATCH 0
#define DEPTHGROW_VERSION_STRING "0.2.0"

#ifdef __CUDACC__
#define DEPTHGROW_HOST_DEVICE __host__ __device__
#else
#define DEPTHGROW_HOST_DEVICE
#endif

#if defined(__GNUC__) || defined(__clang__)
#define DEPTHGROW_RESTRICT __restrict__
#else
#define DEPTHGROW_RESTRICT
#endif

// Declares a C function that some library of the program may have, void(argument): null where none has it. Where
// programs are no ELF files it is null always.
#ifdef __ELF__
#define DEPTHGROW_OPTIONAL_FUNCTION(name, argument) extern "C" __attribute__((weak)) void name(argument)
#else
#define DEPTHGROW_OPTIONAL_FUNCTION(name, argument) inline void (*const name)(argument) = nullptr
#endif

// Bytes of a vector register of the processor that is compiled for; 16 where nothing is known.
#if defined(__AVX512F__)
#define DEPTHGROW_VECTOR_BYTES 64
#elif defined(__AVX__)
#define DEPTHGROW_VECTOR_BYTES 32
#else
#define DEPTHGROW_VECTOR_BYTES 16
#endif
