// The taps of each position on each axis, computed before any number is multiplied.
#ifndef JDS_RUNTIME_TAPS_H_
#define JDS_RUNTIME_TAPS_H_

#include <cstdint>
#include <vector>

#include "kernels/params.h"

namespace jds {

// long_step * l + short_step * s - low == moving_step * m, and the numbers of positions l, s and m.
struct Axis {
  int64_t long_size, short_size, moving_size;
  int64_t long_step, short_step, low, moving_step;
};

// Owns what `Spatial` points to.
class TapTable {
 public:
  // Runs of the innermost axis have at most `longest_run` positions.
  TapTable(const Axis (&axes)[3], int64_t longest_run);
  TapTable(const TapTable&) = delete;
  TapTable& operator=(const TapTable&) = delete;

  const Spatial& spatial() const { return spatial_; }

  // The most taps of one position of the long array, over all axes.
  int64_t most_taps() const { return most_taps_; }

 private:
  struct OuterTaps {
    std::vector<int64_t> begin;
    std::vector<Tap> taps;
  };

  OuterAxis outer_axis(const Axis& axis, OuterTaps& found);
  InnerAxis inner_axis(const Axis& axis, int64_t longest_run);

  OuterTaps outer_[2];
  std::vector<Run> runs_;
  std::vector<Tap> taps_;
  Spatial spatial_;
  int64_t most_taps_;
};

}  // namespace jds

#endif  // JDS_RUNTIME_TAPS_H_
