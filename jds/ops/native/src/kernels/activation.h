// Activations that need an exponential or an error function. Compiled once for each instruction set.
//
// NaN and infinities have the same results as in jax.nn: `0 * infinity` is NaN there too.
#ifndef JDS_KERNELS_ACTIVATION_H_
#define JDS_KERNELS_ACTIVATION_H_

#include "kernels/params.h"
#include "kernels/simd/simd.h"

namespace jds {
namespace {

// Evaluates a polynomial whose coefficients begin with the highest power.
template <int kTerms>
inline Simd::Vector polynomial(Simd::Vector x, const float (&coefficients)[kTerms]) {
  Simd::Vector sum = Simd::broadcast(coefficients[0]);
#pragma GCC unroll 8
  for (int i = 1; i < kTerms; ++i) sum = Simd::multiply_add(sum, x, Simd::broadcast(coefficients[i]));
  return sum;
}

// e^x = 2^n * e^r with |r| <= log(2) / 2. Zero and infinity where the result is too small or too large.
inline Simd::Vector exponential(Simd::Vector x) {
  constexpr float kLog2E = 1.44269504f;
  constexpr float kRound = 0x1.8p23f;  // adding it leaves no room for a fraction
  // log(2) in two parts, of which the first has few digits: its product with n is exact.
  constexpr float kLog2High = 0.693359375f, kLog2Low = -2.12194440e-4f;
  // A minimax polynomial for the relative error, which is 2^-28.
  constexpr float kCoefficients[] = {0x1.6a23dp-10f,  0x1.123a2p-7f, 0x1.5558f2p-5f, 0x1.555492p-3f,
                                     0x1.fffffcp-2f, 1,             1};
  x = Simd::minimum(Simd::maximum(x, Simd::broadcast(-104)), Simd::broadcast(89));
  const Simd::Vector shifted = Simd::multiply_add(x, Simd::broadcast(kLog2E), Simd::broadcast(kRound));
  const Simd::Vector n = Simd::add(shifted, Simd::broadcast(-kRound));
  Simd::Vector r = Simd::multiply_add(n, Simd::broadcast(-kLog2High), x);
  r = Simd::multiply_add(n, Simd::broadcast(-kLog2Low), r);
  return Simd::scale(polynomial(r, kCoefficients), n);
}

// A rational function of x^2, times x. Minimax up to 3.85, with a relative error of 2^-26; beyond, it exceeds 1 and is
// clamped, so that large arguments have exactly 1 or -1.
inline Simd::Vector error_function(Simd::Vector x) {
  constexpr float kEnd = 4.25f;
  constexpr float kAbove[] = {2.10823984e-06f, 2.85676102e-04f, 3.67405001e-03f,
                              5.24800734e-02f, 1.87900671e-01f, 1.12837915e+00f};
  constexpr float kBelow[] = {3.87315699e-05f, 1.14552726e-03f, 1.47851341e-02f, 1.13130165e-01f, 4.99855508e-01f, 1};
  const Simd::Vector one = Simd::broadcast(1), minus_one = Simd::broadcast(-1);
  x = Simd::minimum(Simd::maximum(x, Simd::broadcast(-kEnd)), Simd::broadcast(kEnd));
  const Simd::Vector square = Simd::multiply(x, x);
  const Simd::Vector value = Simd::divide(Simd::multiply(x, polynomial(square, kAbove)), polynomial(square, kBelow));
  return Simd::minimum(Simd::maximum(value, minus_one), one);
}

// above / (1 + e^exponent)
inline Simd::Vector logistic(Simd::Vector above, Simd::Vector exponent) {
  return Simd::divide(above, Simd::add(Simd::broadcast(1), exponential(exponent)));
}

inline Simd::Vector sigmoid(Simd::Vector v) {
  return logistic(Simd::broadcast(1), Simd::multiply(v, Simd::broadcast(-1)));
}

inline Simd::Vector silu(Simd::Vector v) { return logistic(v, Simd::multiply(v, Simd::broadcast(-1))); }

inline Simd::Vector gelu(Simd::Vector v) {
  const Simd::Vector erf = error_function(Simd::multiply(v, Simd::broadcast(0.707106781f)));
  return Simd::multiply(Simd::multiply(v, Simd::broadcast(0.5f)), Simd::add(erf, Simd::broadcast(1)));
}

// (1 + tanh(u)) / 2 = 1 / (1 + e^(-2u)), with u = sqrt(2 / pi) * (v + 0.044715 * v^3).
inline Simd::Vector gelu_tanh(Simd::Vector v) {
  constexpr float kMinusTwoU[] = {-1.5957691216f * 0.044715f, -1.5957691216f};
  return logistic(v, Simd::multiply(v, polynomial(Simd::multiply(v, v), kMinusTwoU)));
}

template <Simd::Vector (*kFunction)(Simd::Vector)>
inline void activate_each(Simd::Vector* values, int count) {
  for (int i = 0; i < count; ++i) values[i] = kFunction(values[i]);
}

// Applies an activation to `count` vectors. One copy for all kernels, which have no room for it in their registers.
__attribute__((noinline)) void activate(Activation activation, Simd::Vector* values, int count) {
  switch (activation) {
    case Activation::kSigmoid: return activate_each<sigmoid>(values, count);
    case Activation::kSilu: return activate_each<silu>(values, count);
    case Activation::kGelu: return activate_each<gelu>(values, count);
    case Activation::kGeluTanh: return activate_each<gelu_tanh>(values, count);
    default: return;
  }
}

}  // namespace
}  // namespace jds

#endif  // JDS_KERNELS_ACTIVATION_H_
