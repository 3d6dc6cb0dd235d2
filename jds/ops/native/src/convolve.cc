#include "convolve.h"

#include <algorithm>

#include "check.h"
#include "kernels.h"
#include "large_pages.h"
#include "memory.h"
#include "solve.h"
#include "work.h"

namespace jds {

int64_t Array::size() const { return product(dims, 0, dims.size()); }

std::string depthwise(const Array& moving, const Array& filter, const Array& out, const Geometry& geometry,
                      const Ending& ending, Threads& threads) {
  const auto &m = moving.dims, &f = filter.dims, &o = out.dims;
  if (m.size() != 6 || f.size() != 6 || o.size() != 6) {
    return shapes("the depthwise kernel takes arrays of rank 6", moving, filter, out);
  }
  const int64_t batch = m[0], groups = f[3], in_features = f[4], out_features = f[5];
  if (batch != o[0] || m[4] != groups || o[4] != groups || m[5] != in_features || o[5] != out_features) {
    return shapes("batch and features of the depthwise kernel's arrays do not fit", moving, filter, out);
  }
  if (std::min(in_features, out_features) > 1 || in_features > kMaxInFeatures) {
    return shapes("the depthwise kernel contracts features (256 at most) or spreads them, not both", moving, filter,
                  out);
  }
  if (filter.type != moving.type || (out.type != moving.type && out.type != Type::kFloat32)) {
    return "the depthwise kernel's operands must have one type, and the result that type or float32";
  }
  Epilogue epilogue;
  std::string wrong = make_epilogue(ending, groups * out_features, epilogue);
  if (!wrong.empty()) return wrong;
  Axis axes[3];
  wrong = make_axes(geometry, &o[1], &f[0], &m[1], axes);
  if (!wrong.empty() || out.size() == 0) return wrong;

  const int64_t rows = batch * o[1] * o[2];
  const int64_t products = out.size() * in_features * product(f, 0, 3);
  const int64_t wanted = number_of_tasks(products, rows * o[3], threads.count());
  // With few rows, as in one dimension, rows are cut as well.
  const int64_t longest = rows >= wanted ? o[3] : std::max<int64_t>(8, o[3] * rows / wanted);
  const Solution solution(axes, std::max<int64_t>(1, longest));
  if (wrong = too_many_taps(solution); !wrong.empty()) return wrong;
  const Floats weights(filter);
  const Depthwise problem = {solution.spatial(), batch,       groups,         in_features, out_features,
                             moving.type,        out.type,    moving.data,    weights.data(), out.data,
                             epilogue};
  use_large_pages(out.data, out.bytes());
  const int64_t runs = solution.spatial().inner.runs, pieces = rows >= wanted ? 1 : runs, units = rows * pieces;
  const int64_t tasks = std::min(wanted, units);
  const Kernels& run = kernels();
  parallel_for(threads, {{tasks, [&](int64_t task) {
    const int64_t begin = units * task / tasks, end = units * (task + 1) / tasks;
    if (pieces == 1) return run.depthwise(problem, begin, end, 0, runs);
    for (int64_t unit = begin; unit < end; ++unit) {
      run.depthwise(problem, unit / pieces, unit / pieces + 1, unit % pieces, unit % pieces + 1);
    }
  }}});
  return {};
}

std::string kernel_gradient(const Array& moving, const Array& fixed, const Array& out, const Geometry& geometry,
                            Threads& threads) {
  const auto &m = moving.dims, &f = fixed.dims, &o = out.dims;
  if (m.size() != 6 || f.size() != 6 || o.size() != 6) {
    return shapes("the kernel gradient takes arrays of rank 6", moving, fixed, out);
  }
  const int64_t batch = m[0], groups = m[4], moving_features = m[5], fixed_features = f[5];
  if (batch != f[0] || groups != f[4] || groups != o[3] || moving_features != o[4] || fixed_features != o[5]) {
    return shapes("batch and features of the kernel gradient's arrays do not fit", moving, fixed, out);
  }
  if (std::min(moving_features, fixed_features) > 1) {
    return shapes("the kernel gradient takes several features of one operand, not of both", moving, fixed, out);
  }
  if (fixed.type != moving.type || (out.type != moving.type && out.type != Type::kFloat32)) {
    return "the kernel gradient's operands must have one type, and the result that type or float32";
  }
  Axis axes[3];
  std::string wrong = make_axes(geometry, &f[1], &o[0], &m[1], axes);
  if (!wrong.empty() || out.size() == 0) return wrong;

  const Solution solution(axes, std::max<int64_t>(1, f[3]));
  if (wrong = too_many_taps(solution); !wrong.empty()) return wrong;
  const KernelGradient problem = {solution.spatial(), batch,       groups,     moving_features,
                                  fixed_features,     moving.type, moving.data, fixed.data};
  const int64_t rows = batch * f[1] * f[2], weights = out.size();
  const int64_t products = rows * f[3] * weights;
  const int64_t parts = number_of_tasks(products, rows, threads.count());
  // Each part sums on its own, and the sums are added in their order: the same bits each time.
  const std::unique_ptr<float[]> partial = allocate<float>(parts * weights);
  std::fill_n(partial.get(), parts * weights, 0.0f);
  const Kernels& run = kernels();
  parallel_for(threads, {{parts, [&](int64_t part) {
    run.kernel_gradient(problem, rows * part / parts, rows * (part + 1) / parts, partial.get() + part * weights);
  }}});
  add_parts(partial.get(), parts, out);
  return {};
}

}  // namespace jds
