// The kernel gradient of depthwise convolutions.
#include <algorithm>
#include <memory>

#include "kernels/kernels.h"
#include "operators/operators.h"
#include "operators/validate.h"
#include "runtime/convert.h"
#include "runtime/memory.h"
#include "runtime/taps.h"
#include "runtime/threads.h"

namespace jds {

Status kernel_gradient(const Array& moving, const Array& fixed, const Array& out, const Geometry& geometry,
                       Threads& threads) {
  const auto &m = moving.dims, &f = fixed.dims, &o = out.dims;
  if (m.size() != 6 || f.size() != 6 || o.size() != 6) {
    return invalid_shapes("the kernel gradient takes arrays of rank 6", moving, fixed, out);
  }
  const int64_t batch = m[0], groups = m[4], moving_features = m[5], fixed_features = f[5];
  if (batch != f[0] || groups != f[4] || groups != o[3] || moving_features != o[4] || fixed_features != o[5]) {
    return invalid_shapes("batch and features of the kernel gradient's arrays do not fit", moving, fixed, out);
  }
  if (std::min(moving_features, fixed_features) > 1) {
    return invalid_shapes("the kernel gradient takes several features of one operand, not of both", moving, fixed, out);
  }
  if (fixed.type != moving.type || (out.type != moving.type && out.type != Type::kFloat32)) {
    return invalid("the kernel gradient's operands must have one type, and the result that type or float32");
  }
  Axis axes[3];
  if (Status status = make_axes(geometry, &f[1], &o[0], &m[1], axes); !status.ok()) return status;
  if (out.size() == 0) return {};

  const TapTable table(axes, std::max<int64_t>(1, f[3]));
  if (Status status = check_taps(table); !status.ok()) return status;
  const KernelGradient params = {.space = table.spatial(),
                                 .batch = batch,
                                 .groups = groups,
                                 .moving_features = moving_features,
                                 .fixed_features = fixed_features,
                                 .type = moving.type,
                                 .moving = moving.data,
                                 .fixed = fixed.data};
  const int64_t rows = batch * f[1] * f[2], weights = out.size();
  const int64_t products = rows * f[3] * weights;
  const int64_t parts = number_of_tasks(products, rows, threads.count());
  // Each part has its own sums, which are added in a fixed order: the result is the same bits in every call.
  const std::unique_ptr<float[]> partial = allocate<float>(parts * weights);
  std::fill_n(partial.get(), parts * weights, 0.0f);
  const Kernels& run = kernels();
  parallel_for(threads, {{parts, [&](int64_t part) {
    run.kernel_gradient(params, rows * part / parts, rows * (part + 1) / parts, partial.get() + part * weights);
  }}});
  add_parts(partial.get(), parts, out);
  return {};
}

}  // namespace jds
