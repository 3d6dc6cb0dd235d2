// activation(sum * scale + bias), on vectors. Compiled once for each instruction set.
#ifndef JDS_KERNELS_EPILOGUE_H_
#define JDS_KERNELS_EPILOGUE_H_

#include "kernels/activation.h"
#include "kernels/params.h"
#include "kernels/simd/simd.h"

namespace jds {
namespace {

// min(max(v, low), high), on the numbers before an activation is complete. NaN stays NaN, as in jax.nn.
template <int kCount>
inline __attribute__((always_inline)) void clamp(Simd::Vector low, Simd::Vector high, Simd::Vector (&values)[kCount]) {
#pragma GCC unroll 16
  for (int i = 0; i < kCount; ++i) values[i] = Simd::minimum(Simd::maximum(values[i], low), high);
}

template <int kCount>
inline __attribute__((always_inline)) void hard(bool is_silu, Simd::Vector (&values)[kCount]) {
  const Simd::Vector three = Simd::broadcast(3), six = Simd::broadcast(6), sixth = Simd::broadcast(1.0f / 6.0f);
#pragma GCC unroll 16
  for (int i = 0; i < kCount; ++i) {
    Simd::Vector gate[1] = {Simd::add(values[i], three)};
    clamp(Simd::zero(), six, gate);
    gate[0] = Simd::multiply(gate[0], sixth);
    values[i] = is_silu ? Simd::multiply(values[i], gate[0]) : gate[0];
  }
}

// Applies an epilogue to `kCount` sums of the same channels. The activation is chosen once for all of them.
template <int kCount, class Channels>
inline __attribute__((always_inline)) void apply_epilogue(const Epilogue& epilogue, const Channels& channels,
                                                          Simd::Vector (&values)[kCount]) {
  // A step that is not there is expressed by neutral numbers: a branch would cost more.
  const Simd::Vector scale = epilogue.scale ? channels.out(epilogue.scale) : Simd::broadcast(1);
  const Simd::Vector bias = epilogue.bias ? channels.out(epilogue.bias) : Simd::zero();
#pragma GCC unroll 16
  for (int i = 0; i < kCount; ++i) values[i] = Simd::multiply_add(values[i], scale, bias);
  const float infinity = __builtin_inff();
  const Activation activation = epilogue.activation;
  if (activation <= Activation::kRelu6) {
    clamp(Simd::broadcast(activation == Activation::kNone ? -infinity : 0),
          Simd::broadcast(activation == Activation::kRelu6 ? 6 : infinity), values);
  } else if (activation <= Activation::kHardSilu) {
    hard(activation == Activation::kHardSilu, values);
  } else {
    // A copy: `values` itself stays in registers because nothing points to it.
    Simd::Vector curved[kCount];
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) curved[i] = values[i];
    activate(activation, curved, kCount);
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) values[i] = curved[i];
  }
}

}  // namespace
}  // namespace jds

#endif  // JDS_KERNELS_EPILOGUE_H_
