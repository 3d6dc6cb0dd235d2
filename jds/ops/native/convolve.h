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
};

// For each of three axes: long_step, short_step, low, moving_step.
using Geometry = std::vector<int64_t>;

// Each returns what is wrong with its arguments, and does nothing then; or an empty string.

// moving: (batch, m0, m1, m2, groups, in_features); filter: (s0, s1, s2, groups, in_features, out_features);
// out: (batch, l0, l1, l2, groups, out_features). At most one of in_features and out_features is more than 1.
std::string depthwise(const Array& moving, const Array& filter, const Array& out, const Geometry& geometry,
                      Threads& threads);

// moving: (batch, m0, m1, m2, groups, moving_features); fixed: (batch, l0, l1, l2, groups, fixed_features);
// out: (s0, s1, s2, groups, moving_features, fixed_features). At most one kind of features is more than 1.
std::string kernel_gradient(const Array& moving, const Array& fixed, const Array& out, const Geometry& geometry,
                            Threads& threads);

}  // namespace jds

#endif  // JDS_CONVOLVE_H_
