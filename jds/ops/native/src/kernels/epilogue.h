// activation(sum * scale + bias), on vectors. Compiled once for each instruction set.
#ifndef JDS_KERNELS_EPILOGUE_H_
#define JDS_KERNELS_EPILOGUE_H_

#include <utility>

#include "kernels/activation.h"
#include "kernels/params.h"
#include "kernels/simd/simd.h"

namespace jds {
namespace {

// NaN stays NaN, as in jax.nn.
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

template <int>
using Same = Simd::Vector;

// The vectors are passed by value: a pointer to the kernel's sums would keep them in memory in every kernel.
template <class Store, int... kIndex>
__attribute__((noinline)) void activate_and_store(Activation activation, Store store,
                                                  std::integer_sequence<int, kIndex...>, Same<kIndex>... sums) {
  Simd::Vector values[] = {sums...};
  activate(activation, values, sizeof...(sums));
  for (int i = 0; i < static_cast<int>(sizeof...(sums)); ++i) store(i, values[i]);
}

template <class Store, int... kIndex>
inline __attribute__((always_inline)) void store_curved(Activation activation, const Store& store,
                                                        const Simd::Vector (&sums)[sizeof...(kIndex)],
                                                        std::integer_sequence<int, kIndex...> indices) {
  activate_and_store(activation, store, indices, sums[kIndex]...);
}

// Applies an epilogue to `kCount` sums of the same channels, and calls `store(i, result)` for each. The activation is
// chosen once for all of them. `copy()` returns a `store` that refers to nothing, for code out of line.
template <int kCount, class Channels, class Store, class Copy>
inline __attribute__((always_inline)) void store_results(const Epilogue& epilogue, const Channels& channels,
                                                         Simd::Vector (&sums)[kCount], const Store& store,
                                                         const Copy& copy) {
  // A step that is not there is expressed by neutral numbers: a branch would cost more.
  const Simd::Vector scale = epilogue.scale ? channels.out(epilogue.scale) : Simd::broadcast(1);
  const Simd::Vector bias = epilogue.bias ? channels.out(epilogue.bias) : Simd::zero();
#pragma GCC unroll 16
  for (int i = 0; i < kCount; ++i) sums[i] = Simd::multiply_add(sums[i], scale, bias);
  const Activation activation = epilogue.activation;
  if (__builtin_expect(activation <= Activation::kRelu6, 1)) {
    const float infinity = __builtin_inff();
    clamp(Simd::broadcast(activation == Activation::kNone ? -infinity : 0),
          Simd::broadcast(activation == Activation::kRelu6 ? 6 : infinity), sums);
  } else if (activation <= Activation::kHardSilu) {
    hard(activation == Activation::kHardSilu, sums);
  } else {  // out of line
    return store_curved(activation, copy(), sums, std::make_integer_sequence<int, kCount>());
  }
#pragma GCC unroll 16
  for (int i = 0; i < kCount; ++i) store(i, sums[i]);
}

}  // namespace
}  // namespace jds

#endif  // JDS_KERNELS_EPILOGUE_H_
