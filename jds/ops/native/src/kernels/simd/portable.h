// Vectors of 4 floats by the compiler's own vector types: any x86-64, and Arm.
#ifndef JDS_KERNELS_SIMD_PORTABLE_H_
#define JDS_KERNELS_SIMD_PORTABLE_H_

#include "kernels/simd/scalar.h"

namespace jds {
namespace {

struct Simd {
  static constexpr int kLanes = 4;
  static constexpr int kSums = 10;  // sums at a time, leaving registers for the operands
  static constexpr int kTileRows = 6;  // with two vectors of sums for each row
  typedef float Vector __attribute__((vector_size(16)));
  typedef int32_t Index __attribute__((vector_size(16)));

  static Vector zero() { return Vector{}; }
  static Vector broadcast(float value) { return Vector{value, value, value, value}; }
  static Vector add(Vector a, Vector b) { return a + b; }
  static Vector multiply(Vector a, Vector b) { return a * b; }
  static Vector divide(Vector a, Vector b) { return a / b; }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return a * b + c; }
  // v * 2^n, for whole numbers n between -200 and 200. In two steps: 2^n alone may be too large or too small.
  static Vector scale(Vector v, Vector n) {
    // The last bits of 2^23 + 256 + n are those of 256 + n, also if n is not a number.
    const Bits sum = bits(n + (0x1p23f + 256)) - bits(broadcast(0x1p23f));
    const Bits half = sum / 2;
    return v * power_of_two(half) * power_of_two(sum - half);
  }
  // A comparison with NaN is false: NaN in the first operand stays.
  static Vector minimum(Vector a, Vector b) { return b < a ? b : a; }
  static Vector maximum(Vector a, Vector b) { return b > a ? b : a; }

  // Keeps a value in a register on machines where the compiler would read it again for each use.
  static void keep(Vector&) {}
  static Vector load(const float* p) {
    Vector v;
    memcpy(&v, p, sizeof v);
    return v;
  }
  template <class T>
  static Vector load(const T* p) {
    return Vector{widen(p[0]), widen(p[1]), widen(p[2]), widen(p[3])};
  }

  template <class T>
  static Vector load(const T* p, int n) {
    T lanes[kLanes] = {};
    memcpy(lanes, p, sizeof(T) * n);
    return load(lanes);
  }

  static void store(float* p, Vector v) { memcpy(p, &v, sizeof v); }
  template <class T>
  static void store(T* p, Vector v) {
    for (int lane = 0; lane < kLanes; ++lane) narrow(v[lane], p + lane);
  }

  template <class T>
  static void store(T* p, Vector v, int n) {
    T lanes[kLanes];
    store(lanes, v);
    memcpy(p, lanes, sizeof(T) * n);
  }

  static Index index(const int32_t* p) {
    Index v;
    memcpy(&v, p, sizeof v);
    return v;
  }
  static Vector permute(Vector v, Index index) {
    return Vector{v[index[0]], v[index[1]], v[index[2]], v[index[3]]};
  }

 private:
  typedef uint32_t Bits __attribute__((vector_size(16)));

  static Bits bits(Vector v) {
    Bits bits;
    memcpy(&bits, &v, sizeof v);
    return bits;
  }
  // 2^(n - 128)
  static Vector power_of_two(Bits n) {
    const Bits exponent = (n - 1) << 23;
    Vector v;
    memcpy(&v, &exponent, sizeof v);
    return v;
  }
};

}  // namespace
}  // namespace jds

#endif  // JDS_KERNELS_SIMD_PORTABLE_H_
