// The operations: shapes are checked, the work is planned and shared among threads. No XLA here.
#ifndef JDS_CONVOLVE_H_
#define JDS_CONVOLVE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "problem.h"
#include "threads.h"

namespace jds {

// An array in memory, dense, the last dimension fastest.
struct Array {
  Type type;
  std::vector<int64_t> dims;
  void* data;

  int64_t size() const;
  int64_t bytes() const { return size() * bytes_of(type); }
};

// For each of three axes: long_step, short_step, low, moving_step.
using Geometry = std::vector<int64_t>;

// What follows a convolution; `scale` and `bias` are of float32, one number for each feature, or null.
struct Ending {
  const Array* scale;
  const Array* bias;
  Activation activation;
};

// Each returns what is wrong with its arguments, and does nothing then; or an empty string.

// moving: (batch, m0, m1, m2, groups, in_features); filter: (s0, s1, s2, groups, in_features, out_features);
// out: (batch, l0, l1, l2, groups, out_features). At most one of in_features and out_features is more than 1.
std::string depthwise(const Array& moving, const Array& filter, const Array& out, const Geometry& geometry,
                      const Ending& ending, Threads& threads);

// moving: (batch, m0, m1, m2, groups, moving_features); fixed: (batch, l0, l1, l2, groups, fixed_features);
// out: (s0, s1, s2, groups, moving_features, fixed_features). At most one kind of features is more than 1.
std::string kernel_gradient(const Array& moving, const Array& fixed, const Array& out, const Geometry& geometry,
                            Threads& threads);

// The same, both kinds of features free, and the groups beside the fixed ones. out: (s0, s1, s2, moving_features, groups,
// fixed_features).
std::string grouped_gradient(const Array& moving, const Array& fixed, const Array& out, const Geometry& geometry,
                             Threads& threads);

// A convolution, and a matrix product of its results.
// moving: (batch, m0, m1, m2, channels). Depthwise first, filter: (s0, s1, s2, channels, 1, multiplier), weights:
// (channels * multiplier, features). With no filter it is an ordinary convolution, weights: (s0, s1, s2, channels,
// features), and `first` is not used. out: (batch, l0, l1, l2, features). The moving steps are 1.
std::string block(const Array& moving, const Array* filter, const Ending& first, const Array& weights,
                  const Ending& second, const Array& out, const Geometry& geometry, Threads& threads);

// A pointwise convolution. left: (positions, depth); right: (depth, features) or, transposed, (features, depth); out:
// (positions, features).
std::string matrix_product(const Array& left, const Array& right, bool transposed, const Array& out, Threads& threads);

// The kernel gradient of a pointwise convolution. left: (positions, left features); right: (positions, right features);
// out: (left features, right features).
std::string matrix_gradient(const Array& left, const Array& right, const Array& out, Threads& threads);

}  // namespace jds

#endif  // JDS_CONVOLVE_H_
