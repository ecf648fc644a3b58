// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// The processor features that this library requires, as data that can be read before any of its code runs;
// and the features that the processor supports, for a library that itself requires none.

#include "exports.h"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

// Whether this library is compiled with a feature: compilers then define its macro as 1.
#define REFERDINO_TEXT_OF(text) #text
#define REFERDINO_TEXT(macro) REFERDINO_TEXT_OF(macro)
#define REFERDINO_USES(macro) (REFERDINO_TEXT(macro)[0] == '1')

namespace referdino {
namespace {

// The features that compilers use of their own accord, named as in Linux's /proc/cpuinfo.
#if defined(__x86_64__) || defined(__i386__)

enum Register { kEax, kEbx, kEcx, kEdx };

// Register states that the operating system must save for a thread, as bits of XCR0.
enum Saved : unsigned { kNothing = 0, kAvx = 0x6, kAvx512 = 0xe6, kAmx = 0x60000, kApx = 0x80000 };

constexpr unsigned kExtended = 0x80000001u;

// For features without a bit: no processor counts as having them.
constexpr int kNoBit = 32;

struct Feature {
  const char* name;
  bool is_used;
  Saved saved;
  unsigned leaf;
  unsigned subleaf;
  Register place;
  int bit;
};

constexpr Feature kFeatures[] = {
    {"pni", REFERDINO_USES(__SSE3__), kNothing, 1, 0, kEcx, 0},
    {"ssse3", REFERDINO_USES(__SSSE3__), kNothing, 1, 0, kEcx, 9},
    {"sse4_1", REFERDINO_USES(__SSE4_1__), kNothing, 1, 0, kEcx, 19},
    {"sse4_2", REFERDINO_USES(__SSE4_2__), kNothing, 1, 0, kEcx, 20},
    {"movbe", REFERDINO_USES(__MOVBE__), kNothing, 1, 0, kEcx, 22},
    {"popcnt", REFERDINO_USES(__POPCNT__), kNothing, 1, 0, kEcx, 23},
    {"lahf_lm", REFERDINO_USES(__LAHF_SAHF__), kNothing, kExtended, 0, kEcx, 0},
    {"abm", REFERDINO_USES(__LZCNT__), kNothing, kExtended, 0, kEcx, 5},
    {"sse4a", REFERDINO_USES(__SSE4A__), kNothing, kExtended, 0, kEcx, 6},
    {"tbm", REFERDINO_USES(__TBM__), kNothing, kExtended, 0, kEcx, 21},
    {"bmi1", REFERDINO_USES(__BMI__), kNothing, 7, 0, kEbx, 3},
    {"bmi2", REFERDINO_USES(__BMI2__), kNothing, 7, 0, kEbx, 8},
    {"gfni", REFERDINO_USES(__GFNI__), kNothing, 7, 0, kEcx, 8},
    {"avx", REFERDINO_USES(__AVX__), kAvx, 1, 0, kEcx, 28},
    {"f16c", REFERDINO_USES(__F16C__), kAvx, 1, 0, kEcx, 29},
    {"fma", REFERDINO_USES(__FMA__), kAvx, 1, 0, kEcx, 12},
    {"xop", REFERDINO_USES(__XOP__), kAvx, kExtended, 0, kEcx, 11},
    {"fma4", REFERDINO_USES(__FMA4__), kAvx, kExtended, 0, kEcx, 16},
    {"avx2", REFERDINO_USES(__AVX2__), kAvx, 7, 0, kEbx, 5},
    {"avx_vnni", REFERDINO_USES(__AVXVNNI__), kAvx, 7, 1, kEax, 4},
    {"avx_ifma", REFERDINO_USES(__AVXIFMA__), kAvx, 7, 1, kEax, 23},
    {"avx_vnni_int8", REFERDINO_USES(__AVXVNNIINT8__), kAvx, 7, 1, kEdx, 4},
    {"avx_ne_convert", REFERDINO_USES(__AVXNECONVERT__), kAvx, 7, 1, kEdx, 5},
    {"avx_vnni_int16", REFERDINO_USES(__AVXVNNIINT16__), kAvx, 7, 1, kEdx, 10},
    {"avx512f", REFERDINO_USES(__AVX512F__), kAvx512, 7, 0, kEbx, 16},
    {"avx512dq", REFERDINO_USES(__AVX512DQ__), kAvx512, 7, 0, kEbx, 17},
    {"avx512ifma", REFERDINO_USES(__AVX512IFMA__), kAvx512, 7, 0, kEbx, 21},
    {"avx512cd", REFERDINO_USES(__AVX512CD__), kAvx512, 7, 0, kEbx, 28},
    {"avx512bw", REFERDINO_USES(__AVX512BW__), kAvx512, 7, 0, kEbx, 30},
    {"avx512vl", REFERDINO_USES(__AVX512VL__), kAvx512, 7, 0, kEbx, 31},
    {"avx512vbmi", REFERDINO_USES(__AVX512VBMI__), kAvx512, 7, 0, kEcx, 1},
    {"avx512_vbmi2", REFERDINO_USES(__AVX512VBMI2__), kAvx512, 7, 0, kEcx, 6},
    {"avx512_vnni", REFERDINO_USES(__AVX512VNNI__), kAvx512, 7, 0, kEcx, 11},
    {"avx512_bitalg", REFERDINO_USES(__AVX512BITALG__), kAvx512, 7, 0, kEcx, 12},
    {"avx512_vpopcntdq", REFERDINO_USES(__AVX512VPOPCNTDQ__), kAvx512, 7, 0, kEcx, 14},
    {"avx512_fp16", REFERDINO_USES(__AVX512FP16__), kAvx512, 7, 0, kEdx, 23},
    {"avx512_bf16", REFERDINO_USES(__AVX512BF16__), kAvx512, 7, 1, kEax, 5},
    {"avx10", REFERDINO_USES(__AVX10_1__), kAvx512, 7, 1, kEdx, 19},
    {"avx10_2", REFERDINO_USES(__AVX10_2__), kAvx512, 7, 1, kEdx, kNoBit},
    {"amx_tile", REFERDINO_USES(__AMX_TILE__), kAmx, 7, 0, kEdx, 24},
    {"apx", REFERDINO_USES(__APX_F__), kApx, 7, 1, kEdx, 21},
};

struct CpuId {
  unsigned registers[4] = {};

  CpuId(unsigned leaf, unsigned subleaf) {
    __get_cpuid_count(leaf, subleaf, registers + kEax, registers + kEbx, registers + kEcx,
                      registers + kEdx);
  }
  bool has(Register place, int bit) const {
    return bit < 32 && (registers[place] >> bit & 1u) != 0;
  }
};

bool is_saved(Saved wanted) {
  constexpr int kHasXgetbv = 27;
  if (wanted == kNothing) return true;
  if (!CpuId(1, 0).has(kEcx, kHasXgetbv)) return false;
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & wanted) == wanted;
}

bool is_supported(const Feature& feature) {
  return CpuId(feature.leaf, feature.subleaf).has(feature.place, feature.bit) &&
         is_saved(feature.saved);
}

#elif defined(__aarch64__)

struct Feature {
  const char* name;
  bool is_used;
  int word;  // of Linux's hardware capabilities, from 1
  int bit;
};

constexpr Feature kFeatures[] = {
    {"atomics", REFERDINO_USES(__ARM_FEATURE_ATOMICS), 1, 8},
    {"fphp", REFERDINO_USES(__ARM_FEATURE_FP16_SCALAR_ARITHMETIC), 1, 9},
    {"asimdhp", REFERDINO_USES(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC), 1, 10},
    {"asimdrdm", REFERDINO_USES(__ARM_FEATURE_QRDMX), 1, 12},
    {"jscvt", REFERDINO_USES(__ARM_FEATURE_JCVT), 1, 13},
    {"fcma", REFERDINO_USES(__ARM_FEATURE_COMPLEX), 1, 14},
    {"sha3", REFERDINO_USES(__ARM_FEATURE_SHA3), 1, 17},
    {"asimddp", REFERDINO_USES(__ARM_FEATURE_DOTPROD), 1, 20},
    {"sve", REFERDINO_USES(__ARM_FEATURE_SVE), 1, 22},
    {"asimdfhm", REFERDINO_USES(__ARM_FEATURE_FP16_FML), 1, 23},
    {"sve2", REFERDINO_USES(__ARM_FEATURE_SVE2), 2, 1},
    {"frint", REFERDINO_USES(__ARM_FEATURE_FRINT), 2, 8},
    {"i8mm", REFERDINO_USES(__ARM_FEATURE_MATMUL_INT8), 2, 13},
    {"bf16", REFERDINO_USES(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC), 2, 14},
    {"sme", REFERDINO_USES(__ARM_FEATURE_SME), 2, 23},
    {"mops", REFERDINO_USES(__ARM_FEATURE_MOPS), 2, 43},
};

bool is_supported(const Feature& feature) {
#ifdef __linux__
  return (getauxval(feature.word == 1 ? AT_HWCAP : AT_HWCAP2) >> feature.bit & 1u) != 0;
#else
  return feature.bit < 0;  // unknown
#endif
}

#else

struct Feature {
  const char* name;
  bool is_used;
};

constexpr Feature kFeatures[] = {{"", false}};

bool is_supported(const Feature&) { return false; }

#endif

constexpr bool are_same(const char* one, const char* other) {
  for (; *one != '\0' && *one == *other; ++one) ++other;
  return *one == *other;
}

}  // namespace

// A text that is built at compile time.
struct Text {
  char letters[1024] = {};
  int count = 0;

  constexpr void add(const char* more) {
    for (; *more != '\0'; ++more) letters[count++] = *more;
  }
};

constexpr Text requirements() {
  Text text;
  // The version changes with every change of a function or structure of the library, so that an outdated
  // library is detected.
  text.add("referdino kernels, version 8, need:");
  for (const Feature& feature : kFeatures) {
    if (!feature.is_used) continue;
    text.add(" ");
    text.add(feature.name);
  }
  text.add(";");
  return text;
}

}  // namespace referdino

// Found by searching the library's file, so that none of its code has to run.
REFERDINO_EXPORT const referdino::Text referdino_kernel_requirements;
const referdino::Text referdino_kernel_requirements = referdino::requirements();

// Whether the processor has a feature and the operating system supports it: 1, or 0 if not or unknown. Only to
// be called in a library whose requirements are met.
REFERDINO_EXPORT int referdino_processor_has(const char* name) noexcept {
  for (const referdino::Feature& feature : referdino::kFeatures) {
    if (referdino::are_same(feature.name, name)) return referdino::is_supported(feature) ? 1 : 0;
  }
  return 0;
}
