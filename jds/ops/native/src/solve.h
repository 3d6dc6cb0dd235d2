// Which positions of three arrays belong together on one axis, worked out before any number is multiplied.
#ifndef JDS_SOLVE_H_
#define JDS_SOLVE_H_

#include <cstdint>
#include <vector>

#include "problem.h"

namespace jds {

// a / b, rounded up, for b > 0.
inline int64_t divide_up(int64_t a, int64_t b) { return a / b + (a % b > 0); }

// long_step * l + short_step * s - low == moving_step * m, with sizes for l, s and m.
struct Axis {
  int64_t long_size, short_size, moving_size;
  int64_t long_step, short_step, low, moving_step;
};

// Owns what `Spatial` points to.
class Solution {
 public:
  // Runs of the innermost axis are cut to `longest_run` positions.
  Solution(const Axis (&axes)[3], int64_t longest_run);
  Solution(const Solution&) = delete;
  Solution& operator=(const Solution&) = delete;

  const Spatial& spatial() const { return spatial_; }

  // The most positions of the short array that one position of the long array meets.
  int64_t taps() const { return taps_; }

 private:
  struct Tables {
    std::vector<int64_t> begin;
    std::vector<Meeting> meetings;
  };

  OuterAxis solve_outer(const Axis& axis, Tables& tables);
  InnerAxis solve_inner(const Axis& axis, int64_t longest_run);

  Tables outer_[2];
  std::vector<Run> runs_;
  std::vector<Meeting> meetings_;
  Spatial spatial_;
  int64_t taps_;
};

}  // namespace jds

#endif  // JDS_SOLVE_H_
