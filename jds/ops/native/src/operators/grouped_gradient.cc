// The kernel gradient of grouped convolutions.
#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "kernels/kernels.h"
#include "operators/operators.h"
#include "operators/validate.h"
#include "runtime/array.h"
#include "runtime/convert.h"
#include "runtime/large_pages.h"
#include "runtime/memory.h"
#include "runtime/taps.h"
#include "runtime/threads.h"

namespace jds {
namespace {

// For each position of the short array, the positions of the other two that belong to it on one axis.
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
        const int64_t count = divide_up(axis.long_size - phase, phases);
        const int64_t last = std::min(count, divide_up(axis.moving_size - start, step));
        if (first < last) {
          strips.push_back({.fixed = phase + phases * first,
                            .fixed_step = phases,
                            .moving = start + step * first,
                            .moving_step = step,
                            .count = last - first});
        }
      }
    }
    begin.push_back(static_cast<int64_t>(strips.size()));
  }

  GradientAxis get() const {
    return {.fixed_size = axis.long_size,
            .short_size = axis.short_size,
            .moving_size = axis.moving_size,
            .begin = begin.data(),
            .strips = strips.data()};
  }

  Axis axis;
  std::vector<int64_t> begin;
  std::vector<Strip> strips;
};

}  // namespace

Status grouped_gradient(const Array& moving, const Array& fixed, const Array& out, const Geometry& geometry,
                        Threads& threads) {
  const auto &m = moving.dims, &f = fixed.dims, &o = out.dims;
  if (m.size() != 6 || f.size() != 6 || o.size() != 6) {
    return invalid_shapes("the grouped kernel gradient takes arrays of rank 6", moving, fixed, out);
  }
  if (m[0] != f[0] || m[4] != f[4] || m[4] != o[4] || m[5] != o[3] || f[5] != o[5]) {
    return invalid_shapes("batch and features of the grouped kernel gradient's arrays do not fit", moving, fixed, out);
  }
  if (fixed.type != moving.type || (out.type != moving.type && out.type != Type::kFloat32)) {
    return invalid("the grouped kernel gradient's operands must have one type, and the result that type or float32");
  }
  Axis axes[3];
  if (Status status = make_axes(geometry, &f[1], &o[0], &m[1], axes); !status.ok()) return status;
  if (out.size() == 0) return {};

  const Strips strips[3] = {Strips(axes[0]), Strips(axes[1]), Strips(axes[2])};
  const GroupedGradient params = {.axes = {strips[0].get(), strips[1].get(), strips[2].get()},
                                  .batch = m[0],
                                  .groups = m[4],
                                  .moving_features = m[5],
                                  .fixed_features = f[5],
                                  .type = moving.type,
                                  .moving = moving.data,
                                  .fixed = fixed.data};
  const Kernels& run = kernels();
  const int64_t taps = product(o, 0, 3), blocks = run.grouped_gradient_blocks(params);
  const int64_t wanted = number_of_tasks(product(f, 0, 4) * out.size(), blocks * taps, threads.count());
  // If there are few blocks, several tasks share one: each copies its pixels, and sums some positions of the filter.
  const int64_t parts = std::min(taps, divide_up(wanted, blocks)), units = blocks * parts;
  const int64_t tasks = std::min(wanted, units);
  const bool in_place = out.type == Type::kFloat32;
  const std::unique_ptr<float[]> buffer = in_place ? nullptr : allocate<float>(out.size());
  float* sums = in_place ? static_cast<float*>(out.data) : buffer.get();
  use_large_pages(out.data, out.bytes());
  parallel_for(threads, {{tasks, [&](int64_t task) {
    float* scratch = thread_scratch(run.grouped_gradient_scratch(params));
    for (int64_t unit = units * task / tasks; unit < units * (task + 1) / tasks; ++unit) {
      const int64_t part = unit % parts;
      run.grouped_gradient(params, unit / parts, taps * part / parts, taps * (part + 1) / parts, sums, scratch);
    }
  }}});
  if (!in_place) from_floats(sums, out.size(), out.type, out.data);
  return {};
}

}  // namespace jds
