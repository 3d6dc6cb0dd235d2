#include "runtime/taps.h"

#include <algorithm>
#include <numeric>

#include "runtime/array.h"

namespace jds {
namespace {

// A tap at `position` of the short array, for positions q in [begin, end) of one phase. Its moving position is
// start + stride * q.
struct TapRange {
  int64_t position, start, begin, end;
};

// Taps of the long positions phase + phases * q, q in [0, count); from one q to the next the moving position grows by
// `stride`.
std::vector<TapRange> tap_ranges(const Axis& axis, int64_t phase, int64_t stride, int64_t count) {
  std::vector<TapRange> found;
  for (int64_t s = 0; s < axis.short_size; ++s) {
    const int64_t t = axis.long_step * phase + axis.short_step * s - axis.low;
    if (t % axis.moving_step != 0) continue;
    const int64_t start = t / axis.moving_step;
    const int64_t begin = std::max<int64_t>(0, divide_up(-start, stride));
    const int64_t end = std::min(count, divide_up(axis.moving_size - start, stride));
    if (begin < end) found.push_back({.position = s, .start = start, .begin = begin, .end = end});
  }
  return found;
}

}  // namespace

TapTable::TapTable(const Axis (&axes)[3], int64_t longest_run) : most_taps_(1) {
  spatial_.outer[0] = outer_axis(axes[0], outer_[0]);
  spatial_.outer[1] = outer_axis(axes[1], outer_[1]);
  spatial_.inner = inner_axis(axes[2], longest_run);
}

OuterAxis TapTable::outer_axis(const Axis& axis, OuterTaps& found) {
  int64_t most = 0;
  found.begin.push_back(0);
  for (int64_t l = 0; l < axis.long_size; ++l) {
    for (int64_t s = 0; s < axis.short_size; ++s) {
      const int64_t t = axis.long_step * l + axis.short_step * s - axis.low;
      if (t < 0 || t % axis.moving_step != 0 || t / axis.moving_step >= axis.moving_size) continue;
      found.taps.push_back({static_cast<int32_t>(s), static_cast<int32_t>(t / axis.moving_step)});
    }
    const int64_t end = static_cast<int64_t>(found.taps.size());
    most = std::max(most, end - found.begin.back());
    found.begin.push_back(end);
  }
  most_taps_ *= most;
  return {.long_size = axis.long_size,
          .short_size = axis.short_size,
          .moving_size = axis.moving_size,
          .begin = found.begin.data(),
          .taps = found.taps.data()};
}

InnerAxis TapTable::inner_axis(const Axis& axis, int64_t longest_run) {
  const int64_t phases = axis.moving_step / std::gcd(axis.long_step, axis.moving_step);
  const int64_t stride = axis.long_step * phases / axis.moving_step;
  int64_t most = 0;
  for (int64_t phase = 0; phase < std::min(phases, axis.long_size); ++phase) {
    const int64_t count = divide_up(axis.long_size - phase, phases);
    const std::vector<TapRange> ranges = tap_ranges(axis, phase, stride, count);
    // Between two cuts all positions have the same taps.
    std::vector<int64_t> cuts = {0, count};
    for (const TapRange& range : ranges) cuts.insert(cuts.end(), {range.begin, range.end});
    std::sort(cuts.begin(), cuts.end());
    for (size_t cut = 0; cut + 1 < cuts.size(); ++cut) {
      for (int64_t q = cuts[cut]; q < cuts[cut + 1]; q += longest_run) {
        const int64_t begin = static_cast<int64_t>(taps_.size());
        for (const TapRange& range : ranges) {
          if (range.begin > q || range.end <= q) continue;
          const int64_t moving = range.start + stride * q;
          taps_.push_back({static_cast<int32_t>(range.position), static_cast<int32_t>(moving)});
        }
        const int64_t end = static_cast<int64_t>(taps_.size()), rest = cuts[cut + 1] - q;
        runs_.push_back({.first = phase + phases * q,
                         .stride = phases,
                         .count = std::min(rest, longest_run),
                         .moving_stride = stride,
                         .taps_begin = begin,
                         .taps_end = end});
        most = std::max(most, end - begin);
      }
    }
  }
  most_taps_ *= most;
  return {.long_size = axis.long_size,
          .short_size = axis.short_size,
          .moving_size = axis.moving_size,
          .runs = static_cast<int64_t>(runs_.size()),
          .run = runs_.data(),
          .taps = taps_.data()};
}

}  // namespace jds
