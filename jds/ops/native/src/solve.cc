#include "solve.h"

#include <algorithm>
#include <numeric>

namespace jds {
namespace {

// A position of the short array, with the positions q of one phase for which the moving array has data.
struct Reach {
  int64_t position, start, begin, end;
};

// Positions l = phase + phases * q, q in [0, count); from one q to the next the moving position grows by `stride`.
std::vector<Reach> reaches(const Axis& axis, int64_t phase, int64_t stride, int64_t count) {
  std::vector<Reach> found;
  for (int64_t s = 0; s < axis.short_size; ++s) {
    const int64_t t = axis.long_step * phase + axis.short_step * s - axis.low;
    if (t % axis.moving_step != 0) continue;
    const int64_t start = t / axis.moving_step;
    const int64_t begin = std::max<int64_t>(0, divide_up(-start, stride));
    const int64_t end = std::min(count, divide_up(axis.moving_size - start, stride));
    if (begin < end) found.push_back({s, start, begin, end});
  }
  return found;
}

}  // namespace

Solution::Solution(const Axis (&axes)[3], int64_t longest_run) : taps_(1) {
  spatial_.outer[0] = solve_outer(axes[0], outer_[0]);
  spatial_.outer[1] = solve_outer(axes[1], outer_[1]);
  spatial_.inner = solve_inner(axes[2], longest_run);
}

OuterAxis Solution::solve_outer(const Axis& axis, Tables& tables) {
  int64_t most = 0;
  tables.begin.push_back(0);
  for (int64_t l = 0; l < axis.long_size; ++l) {
    for (int64_t s = 0; s < axis.short_size; ++s) {
      const int64_t t = axis.long_step * l + axis.short_step * s - axis.low;
      if (t < 0 || t % axis.moving_step != 0 || t / axis.moving_step >= axis.moving_size) continue;
      tables.meetings.push_back({static_cast<int32_t>(s), static_cast<int32_t>(t / axis.moving_step)});
    }
    const int64_t end = static_cast<int64_t>(tables.meetings.size());
    most = std::max(most, end - tables.begin.back());
    tables.begin.push_back(end);
  }
  taps_ *= most;
  return {axis.long_size, axis.short_size, axis.moving_size, tables.begin.data(), tables.meetings.data()};
}

InnerAxis Solution::solve_inner(const Axis& axis, int64_t longest_run) {
  const int64_t phases = axis.moving_step / std::gcd(axis.long_step, axis.moving_step);
  const int64_t stride = axis.long_step * phases / axis.moving_step;
  int64_t most = 0;
  for (int64_t phase = 0; phase < std::min(phases, axis.long_size); ++phase) {
    const int64_t count = divide_up(axis.long_size - phase, phases);
    const std::vector<Reach> found = reaches(axis, phase, stride, count);
    // Between two of these cuts the same positions meet.
    std::vector<int64_t> cuts = {0, count};
    for (const Reach& reach : found) cuts.insert(cuts.end(), {reach.begin, reach.end});
    std::sort(cuts.begin(), cuts.end());
    for (size_t cut = 0; cut + 1 < cuts.size(); ++cut) {
      for (int64_t q = cuts[cut]; q < cuts[cut + 1]; q += longest_run) {
        const int64_t begin = static_cast<int64_t>(meetings_.size());
        for (const Reach& reach : found) {
          if (reach.begin > q || reach.end <= q) continue;
          const int64_t moving = reach.start + stride * q;
          meetings_.push_back({static_cast<int32_t>(reach.position), static_cast<int32_t>(moving)});
        }
        const int64_t end = static_cast<int64_t>(meetings_.size()), rest = cuts[cut + 1] - q;
        runs_.push_back({phase + phases * q, phases, std::min(rest, longest_run), stride, begin, end});
        most = std::max(most, end - begin);
      }
    }
  }
  taps_ *= most;
  const int64_t runs = static_cast<int64_t>(runs_.size());
  return {axis.long_size, axis.short_size, axis.moving_size, runs, runs_.data(), meetings_.data()};
}

}  // namespace jds
