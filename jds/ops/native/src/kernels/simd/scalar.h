// The 16-bit floating types, and their conversion one at a time.
#ifndef JDS_KERNELS_SIMD_SCALAR_H_
#define JDS_KERNELS_SIMD_SCALAR_H_

#include <stdint.h>
#include <string.h>

namespace jds {

struct BFloat16 {
  uint16_t bits;
};

struct Float16 {
  uint16_t bits;
};

// Each instruction set compiles its own copy of these functions: of a shared function, the linker might keep the copy
// that was compiled for the newest instruction set, which fails on an older machine.
namespace {

inline float from_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

inline uint32_t to_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline float widen(float value) { return value; }

inline float widen(BFloat16 value) { return from_bits(uint32_t{value.bits} << 16); }

inline float widen(Float16 value) {
  const uint32_t sign = uint32_t{value.bits & 0x8000u} << 16, rest = value.bits & 0x7fffu;
  if (rest >= 0x7c00u) return from_bits(sign | 0x7f800000u | (rest & 0x3ffu) << 13);  // infinities and NaNs
  // Subnormal numbers are converted from an integer: XLA's threads treat a subnormal float as zero.
  if (rest < 0x400u) return from_bits(sign | to_bits(static_cast<float>(rest) * 0x1p-24f));
  return from_bits(sign | ((rest << 13) + (112u << 23)));
}

inline void narrow(float value, float* out) { *out = value; }

inline void narrow(float value, BFloat16* out) {
  const uint32_t bits = to_bits(value);
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  out->bits = static_cast<uint16_t>(nan ? bits >> 16 | 0x40u : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

inline void narrow(float value, Float16* out) {
  const uint32_t bits = to_bits(value), sign = bits >> 16 & 0x8000u;
  uint32_t rest = bits & 0x7fffffffu;
  if (rest > 0x7f800000u) {
    rest = 0x7e00u;
  } else if (rest >= 0x477ff000u) {
    rest = 0x7c00u;  // too large, infinities included
  } else if (rest < 0x38800000u) {
    // Subnormal: the sum's unit in the last place is the result's, so that the hardware rounds.
    rest = to_bits(from_bits(rest) + 0.5f) - to_bits(0.5f);
  } else {
    rest = (rest - (112u << 23) + 0xfffu + (rest >> 13 & 1u)) >> 13;
  }
  out->bits = static_cast<uint16_t>(sign | rest);
}

}  // namespace
}  // namespace jds

#endif  // JDS_KERNELS_SIMD_SCALAR_H_
