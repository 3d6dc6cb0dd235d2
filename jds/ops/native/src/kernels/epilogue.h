// activation(sum * scale + bias), on vectors. Compiled once for each instruction set.
#ifndef JDS_KERNELS_EPILOGUE_H_
#define JDS_KERNELS_EPILOGUE_H_

#include "kernels/params.h"
#include "kernels/simd/simd.h"

namespace jds {
namespace {

// An epilogue's numbers for one vector of channels.
struct VectorEpilogue {
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
    return activation == Activation::kHardSilu ? Simd::multiply(v, gate) : gate;
  }
};

// A step that is not there is expressed by neutral numbers: a branch per vector of results would cost more.
template <class Channels>
inline VectorEpilogue load_epilogue(const Epilogue& epilogue, const Channels& channels) {
  const float infinity = __builtin_inff();
  const Activation activation = epilogue.activation;
  const bool bounded = activation != Activation::kNone && activation != Activation::kRelu;
  return {.scale = epilogue.scale ? channels.out(epilogue.scale) : Simd::broadcast(1),
          .bias = epilogue.bias ? channels.out(epilogue.bias) : Simd::zero(),
          .low = Simd::broadcast(activation == Activation::kNone ? -infinity : 0),
          .high = Simd::broadcast(bounded ? 6 : infinity),
          .is_hard = activation == Activation::kHardSigmoid || activation == Activation::kHardSilu,
          .activation = activation};
}

}  // namespace
}  // namespace jds

#endif  // JDS_KERNELS_EPILOGUE_H_
