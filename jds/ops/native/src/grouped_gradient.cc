// The kernel gradient of grouped convolutions.
#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "check.h"
#include "convert.h"
#include "convolve.h"
#include "kernels.h"
#include "large_pages.h"
#include "memory.h"
#include "solve.h"
#include "work.h"

namespace jds {
namespace {

// For each position of the short array, which positions of the others it meets on one axis.
struct Strips {
  explicit Strips(const Axis& axis) : axis(axis) {
    const int64_t phases = axis.moving_step / std::gcd(axis.long_step, axis.moving_step);
    const int64_t step = axis.long_step * phases / axis.moving_step;
    for (int64_t s = 0; s < axis.short_size; ++s) {
      begin.push_back(static_cast<int64_t>(strips.size()));
      for (int64_t phase = 0; phase < std::min(phases, axis.long_size); ++phase) {
        const int64_t t = axis.long_step * phase + axis.short_step * s - axis.low;
        if (t % axis.moving_step != 0) continue;
        const int64_t start = t / axis.moving_step;
        const int64_t first = std::max<int64_t>(0, divide_up(-start, step));
        const int64_t last = std::min(divide_up(axis.long_size - phase, phases), divide_up(axis.moving_size - start, step));
        if (first < last) strips.push_back({phase + phases * first, phases, start + step * first, step, last - first});
      }
    }
    begin.push_back(static_cast<int64_t>(strips.size()));
  }

  GradientAxis get() const { return {axis.long_size, axis.short_size, axis.moving_size, begin.data(), strips.data()}; }

  Axis axis;
  std::vector<int64_t> begin;
  std::vector<Strip> strips;
};

}  // namespace

std::string grouped_gradient(const Array& moving, const Array& fixed, const Array& out, const Geometry& geometry,
                             Threads& threads) {
  const auto &m = moving.dims, &f = fixed.dims, &o = out.dims;
  if (m.size() != 6 || f.size() != 6 || o.size() != 6) {
    return shapes("the grouped kernel gradient takes arrays of rank 6", moving, fixed, out);
  }
  if (m[0] != f[0] || m[4] != f[4] || m[4] != o[4] || m[5] != o[3] || f[5] != o[5]) {
    return shapes("batch and features of the grouped kernel gradient's arrays do not fit", moving, fixed, out);
  }
  if (fixed.type != moving.type || (out.type != moving.type && out.type != Type::kFloat32)) {
    return "the grouped kernel gradient's operands must have one type, and the result that type or float32";
  }
  Axis axes[3];
  const std::string wrong = make_axes(geometry, &f[1], &o[0], &m[1], axes);
  if (!wrong.empty() || out.size() == 0) return wrong;

  const Strips strips[3] = {Strips(axes[0]), Strips(axes[1]), Strips(axes[2])};
  const GroupedGradient problem = {{strips[0].get(), strips[1].get(), strips[2].get()},
                                   m[0], m[4], m[5], f[5], moving.type, moving.data, fixed.data};
  const Kernels& run = kernels();
  const int64_t taps = product(o, 0, 3), blocks = run.grouped_gradient_blocks(problem);
  const int64_t wanted = number_of_tasks(product(f, 0, 4) * out.size(), blocks * taps, threads.count());
  // Where there are few blocks, tasks share one, and each copies its pixels and sums for some positions of the filter.
  const int64_t parts = std::min(taps, divide_up(wanted, blocks)), units = blocks * parts;
  const int64_t tasks = std::min(wanted, units);
  const bool in_place = out.type == Type::kFloat32;
  const std::unique_ptr<float[]> buffer = in_place ? nullptr : allocate<float>(out.size());
  float* sums = in_place ? static_cast<float*>(out.data) : buffer.get();
  use_large_pages(out.data, out.bytes());
  parallel_for(threads, {{tasks, [&](int64_t task) {
    float* scratch = thread_scratch(run.grouped_gradient_scratch(problem));
    for (int64_t unit = units * task / tasks; unit < units * (task + 1) / tasks; ++unit) {
      const int64_t part = unit % parts;
      run.grouped_gradient(problem, unit / parts, taps * part / parts, taps * (part + 1) / parts, sums, scratch);
    }
  }}});
  if (!in_place) from_floats(sums, out.size(), out.type, out.data);
  return {};
}

}  // namespace jds
