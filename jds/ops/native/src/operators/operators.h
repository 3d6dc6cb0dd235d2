// The operators: each validates its arguments, plans the work and shares it among threads. No XLA here.
#ifndef JDS_OPERATORS_OPERATORS_H_
#define JDS_OPERATORS_OPERATORS_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/params.h"
#include "runtime/array.h"
#include "runtime/threads.h"

namespace jds {

// On one axis, positions l, s and m belong together when long_step * l + short_step * s - low == moving_step * m.
struct AxisGeometry {
  int64_t long_step = 1, short_step = 1, low = 0, moving_step = 1;
};

using Geometry = std::array<AxisGeometry, 3>;

// An epilogue's arrays: float32, one number per feature; null for none.
struct EpilogueArrays {
  const Array* scale = nullptr;
  const Array* bias = nullptr;
  Activation activation = Activation::kNone;
};

// What an operator returns: an error if its arguments are invalid, and then it has done nothing.
struct [[nodiscard]] Status {
  std::optional<std::string> error;
  bool ok() const { return !error; }
};

inline Status invalid(std::string message) { return {std::move(message)}; }

// moving: (batch, m0, m1, m2, groups, in_features); filter: (s0, s1, s2, groups, in_features, out_features);
// out: (batch, l0, l1, l2, groups, out_features). At most one of in_features and out_features is more than 1. The
// epilogue's arrays have groups * out_features numbers. `skip`, if not null, is added to the results, and has their type
// and shape.
Status depthwise(const Array& moving, const Array& filter, const EpilogueArrays& arrays, const Array* skip,
                 const Array& out, const Geometry& geometry, Threads& threads);

// moving: (batch, m0, m1, m2, groups, moving_features); fixed: (batch, l0, l1, l2, groups, fixed_features);
// out: (s0, s1, s2, groups, moving_features, fixed_features). At most one kind of features is more than 1.
Status kernel_gradient(const Array& moving, const Array& fixed, const Array& out, const Geometry& geometry,
                       Threads& threads);

// The same for any number of features of both kinds. out: (s0, s1, s2, moving_features, groups, fixed_features).
Status grouped_gradient(const Array& moving, const Array& fixed, const Array& out, const Geometry& geometry,
                        Threads& threads);

// A convolution and its epilogue, and with a depthwise one also a pointwise convolution and its epilogue.
// moving: (batch, m0, m1, m2, channels). Depthwise first, filter: (s0, s1, s2, channels, 1, multiplier), weights:
// (channels * multiplier, features). Without a filter it is an ordinary convolution, weights: (s0, s1, s2, channels,
// features), and `first` is not used. out: (batch, l0, l1, l2, features). The moving steps are 1. `skip` as above.
Status block(const Array& moving, const Array* filter, const EpilogueArrays& first, const Array& weights,
             const EpilogueArrays& second, const Array* skip, const Array& out, const Geometry& geometry,
             Threads& threads);

// Means over positions. images: (batch, positions, channels); out: (batch, channels).
Status mean(const Array& images, const Array& out, Threads& threads);

// Each channel times a gate: epilogue(epilogue(means * squeeze) * excite). images, out: (batch, positions, channels);
// squeeze: (channels, squeezed); excite: (squeezed, channels).
Status squeeze_excite(const Array& images, const Array& squeeze, const EpilogueArrays& first, const Array& excite,
                      const EpilogueArrays& second, const Array& out, Threads& threads);

// A pointwise convolution. left: (positions, depth); right: (depth, features) or, transposed, (features, depth); out:
// (positions, features).
Status matrix_product(const Array& left, const Array& right, bool transposed, const Array& out, Threads& threads);

// The kernel gradient of a pointwise convolution. left: (positions, left features); right: (positions, right features);
// out: (left features, right features).
Status matrix_gradient(const Array& left, const Array& right, const Array& out, Threads& threads);

}  // namespace jds

#endif  // JDS_OPERATORS_OPERATORS_H_
