// Vectors of 16 floats: AVX-512 with its F, BW, DQ and VL parts.
#ifndef JDS_KERNELS_SIMD_AVX512_H_
#define JDS_KERNELS_SIMD_AVX512_H_

#include <immintrin.h>

#include "kernels/simd/scalar.h"

namespace jds {
namespace {

struct Simd {
  static constexpr int kLanes = 16;
  static constexpr int kSums = 13;  // sums at a time, leaving registers for the operands
  static constexpr int kTileRows = 14;  // with two vectors of sums for each row
  using Vector = __m512;
  using Index = __m512i;

  static Vector zero() { return _mm512_setzero_ps(); }
  static Vector broadcast(float value) { return _mm512_set1_ps(value); }
  static Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  static Vector multiply(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
  static Vector divide(Vector a, Vector b) { return _mm512_div_ps(a, b); }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
  // v * 2^n, for whole numbers n between -200 and 200.
  static Vector scale(Vector v, Vector n) { return _mm512_scalef_ps(v, n); }
  static Vector minimum(Vector a, Vector b) { return _mm512_min_ps(b, a); }
  static Vector maximum(Vector a, Vector b) { return _mm512_max_ps(b, a); }

  // Keeps a value in a register: otherwise the compiler reads it again for each use.
  static void keep(Vector& v) { asm("" : "+v"(v)); }
  static Vector load(const float* p) { return _mm512_loadu_ps(p); }
  static Vector load(const BFloat16* p) { return widen16(load16(p), BFloat16{}); }
  static Vector load(const Float16* p) { return widen16(load16(p), Float16{}); }

  static Vector load(const float* p, int n) { return _mm512_maskz_loadu_ps(mask(n), p); }
  template <class T>
  static Vector load(const T* p, int n) {
    return widen16(_mm256_maskz_loadu_epi16(mask(n), p), T{});
  }

  static void store(float* p, Vector v) { _mm512_storeu_ps(p, v); }
  template <class T>
  static void store(T* p, Vector v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow16(v, T{}));
  }

  static void store(float* p, Vector v, int n) { _mm512_mask_storeu_ps(p, mask(n), v); }
  template <class T>
  static void store(T* p, Vector v, int n) {
    _mm256_mask_storeu_epi16(p, mask(n), narrow16(v, T{}));
  }

  static Index index(const int32_t* p) { return _mm512_loadu_si512(p); }
  static Vector permute(Vector v, Index index) { return _mm512_permutexvar_ps(index, v); }

 private:
  static __mmask16 mask(int n) { return static_cast<__mmask16>((1u << n) - 1u); }
  static __m256i load16(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

  static Vector widen16(__m256i bits, Float16) { return _mm512_cvtph_ps(bits); }
  static Vector widen16(__m256i bits, BFloat16) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }

  static __m256i narrow16(Vector v, Float16) { return _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT); }
  static __m256i narrow16(Vector v, BFloat16) {
    const __m512i bits = _mm512_castps_si512(v), high = _mm512_srli_epi32(bits, 16);
    const __m512i even = _mm512_and_si512(high, _mm512_set1_epi32(1));
    const __m512i bias = _mm512_add_epi32(even, _mm512_set1_epi32(0x7fff));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, bias), 16);
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(_mm512_mask_or_epi32(rounded, nan, high, _mm512_set1_epi32(0x40)));
  }
};

}  // namespace
}  // namespace jds

#endif  // JDS_KERNELS_SIMD_AVX512_H_
