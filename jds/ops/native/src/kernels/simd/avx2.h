// Vectors of 8 floats: AVX2 with FMA and F16C.
#ifndef JDS_KERNELS_SIMD_AVX2_H_
#define JDS_KERNELS_SIMD_AVX2_H_

#include <immintrin.h>

#include "kernels/simd/scalar.h"

namespace jds {
namespace {

struct Simd {
  static constexpr int kLanes = 8;
  static constexpr int kSums = 12;  // sums at a time, leaving registers for the operands
  static constexpr int kTileRows = 6;  // with two vectors of sums for each row
  using Vector = __m256;
  using Index = __m256i;

  static Vector zero() { return _mm256_setzero_ps(); }
  static Vector broadcast(float value) { return _mm256_set1_ps(value); }
  static Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
  static Vector multiply(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
  static Vector divide(Vector a, Vector b) { return _mm256_div_ps(a, b); }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
  // v * 2^n, for whole numbers n between -200 and 200. In two steps: 2^n alone may be too large or too small.
  static Vector scale(Vector v, Vector n) {
    const __m256i exponent = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(exponent, 1);
    return multiply(multiply(v, power_of_two(half)), power_of_two(_mm256_sub_epi32(exponent, half)));
  }
  static Vector minimum(Vector a, Vector b) { return _mm256_min_ps(b, a); }
  static Vector maximum(Vector a, Vector b) { return _mm256_max_ps(b, a); }

  // Keeps a value in a register: otherwise the compiler reads it again for each use.
  static void keep(Vector& v) { asm("" : "+v"(v)); }
  static Vector load(const float* p) { return _mm256_loadu_ps(p); }
  template <class T>
  static Vector load(const T* p) {
    return widen16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), T{});
  }

  static Vector load(const float* p, int n) { return _mm256_maskload_ps(p, mask(n)); }
  template <class T>
  static Vector load(const T* p, int n) {
    T lanes[kLanes] = {};
    memcpy(lanes, p, sizeof(T) * n);
    return load(lanes);
  }

  static void store(float* p, Vector v) { _mm256_storeu_ps(p, v); }
  template <class T>
  static void store(T* p, Vector v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow16(v, T{}));
  }

  static void store(float* p, Vector v, int n) { _mm256_maskstore_ps(p, mask(n), v); }
  template <class T>
  static void store(T* p, Vector v, int n) {
    T lanes[kLanes];
    store(lanes, v);
    memcpy(p, lanes, sizeof(T) * n);
  }

  static Index index(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static Vector permute(Vector v, Index index) { return _mm256_permutevar8x32_ps(v, index); }

 private:
  static Vector power_of_two(__m256i n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
  }
  static __m256i mask(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }

  static Vector widen16(__m128i bits, Float16) { return _mm256_cvtph_ps(bits); }
  static Vector widen16(__m128i bits, BFloat16) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }

  static __m128i narrow16(Vector v, Float16) { return _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT); }
  static __m128i narrow16(Vector v, BFloat16) {
    const __m256i bits = _mm256_castps_si256(v), high = _mm256_srli_epi32(bits, 16);
    const __m256i even = _mm256_and_si256(high, _mm256_set1_epi32(1));
    const __m256i bias = _mm256_add_epi32(even, _mm256_set1_epi32(0x7fff));
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, bias), 16);
    const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    const __m256i words = _mm256_blendv_epi8(rounded, quiet, nan);
    return _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  }
};

}  // namespace
}  // namespace jds

#endif  // JDS_KERNELS_SIMD_AVX2_H_
