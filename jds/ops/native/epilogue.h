// activation(sum * scale + bias), on vectors and on single floats. Compiled once for each instruction set.
#ifndef JDS_EPILOGUE_H_
#define JDS_EPILOGUE_H_

#include "problem.h"

namespace jds {
namespace {

inline Simd::Vector clamp(Simd::Vector v, float low, float high) {
  return Simd::minimum(Simd::maximum(v, Simd::broadcast(low)), Simd::broadcast(high));
}

// NaN stays NaN, as in jax.nn.
inline Simd::Vector activate(Activation activation, Simd::Vector v) {
  switch (activation) {
    case Activation::kNone: return v;
    case Activation::kRelu: return Simd::maximum(v, Simd::zero());
    case Activation::kRelu6: return clamp(v, 0, 6);
    case Activation::kHardSigmoid:
    case Activation::kHardSwish: {
      const Simd::Vector shifted = clamp(Simd::add(v, Simd::broadcast(3)), 0, 6);
      const Simd::Vector gate = Simd::multiply(shifted, Simd::broadcast(1.0f / 6.0f));
      return activation == Activation::kHardSwish ? Simd::multiply(v, gate) : gate;
    }
  }
  return v;
}

template <class Channels>
inline Simd::Vector apply(const Epilogue& epilogue, const Channels& channels, Simd::Vector v) {
  if (epilogue.scale) v = Simd::multiply(v, channels.out(epilogue.scale));
  if (epilogue.bias) v = Simd::add(v, channels.out(epilogue.bias));
  return activate(epilogue.activation, v);
}

inline float apply(const Epilogue& epilogue, int64_t channel, float value) {
  if (epilogue.scale) value *= epilogue.scale[channel];
  if (epilogue.bias) value += epilogue.bias[channel];
  float lanes[Simd::kLanes];
  Simd::store(lanes, activate(epilogue.activation, Simd::broadcast(value)));
  return lanes[0];
}

}  // namespace
}  // namespace jds

#endif  // JDS_EPILOGUE_H_
