// activation(sum * scale + bias), on vectors and on single floats. Compiled once for each instruction set.
#ifndef JDS_EPILOGUE_H_
#define JDS_EPILOGUE_H_

#include "problem.h"

namespace jds {
namespace {

// An epilogue with its numbers for one vector of channels.
struct ReadyEpilogue {
  Simd::Vector scale, bias, low, high;
  bool is_hard;
  Activation activation;

  // NaN stays NaN, as in jax.nn.
  Simd::Vector operator()(Simd::Vector v) const {
    v = Simd::multiply_add(v, scale, bias);
    if (is_hard) return hard(v);
    return Simd::minimum(Simd::maximum(v, low), high);
  }

  Simd::Vector hard(Simd::Vector v) const {
    const Simd::Vector shifted = Simd::add(v, Simd::broadcast(3));
    const Simd::Vector clamped = Simd::minimum(Simd::maximum(shifted, low), high);
    const Simd::Vector gate = Simd::multiply(clamped, Simd::broadcast(1.0f / 6.0f));
    return activation == Activation::kHardSwish ? Simd::multiply(v, gate) : gate;
  }
};

// What does nothing is expressed by numbers: a branch for each vector of results would cost more.
template <class Channels>
inline ReadyEpilogue make_ready(const Epilogue& epilogue, const Channels& channels) {
  const float infinity = __builtin_inff();
  const Activation activation = epilogue.activation;
  const bool bounded = activation != Activation::kNone && activation != Activation::kRelu;
  return {epilogue.scale ? channels.out(epilogue.scale) : Simd::broadcast(1),
          epilogue.bias ? channels.out(epilogue.bias) : Simd::zero(),
          Simd::broadcast(activation == Activation::kNone ? -infinity : 0),
          Simd::broadcast(bounded ? 6 : infinity),
          activation == Activation::kHardSigmoid || activation == Activation::kHardSwish,
          activation};
}

// One channel on its own.
struct OneChannel {
  int64_t c;
  Simd::Vector out(const float* p) const { return Simd::broadcast(p[c]); }
};

inline float apply(const Epilogue& epilogue, int64_t channel, float value) {
  float lanes[Simd::kLanes];
  Simd::store(lanes, make_ready(epilogue, OneChannel{channel})(Simd::broadcast(value)));
  return lanes[0];
}

}  // namespace
}  // namespace jds

#endif  // JDS_EPILOGUE_H_
