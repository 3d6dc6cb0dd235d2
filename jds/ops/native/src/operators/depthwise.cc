// Depthwise convolutions and their input gradients.
#include <algorithm>
#include <string>

#include "kernels/kernels.h"
#include "operators/operators.h"
#include "operators/validate.h"
#include "runtime/convert.h"
#include "runtime/large_pages.h"
#include "runtime/taps.h"
#include "runtime/threads.h"

namespace jds {

Status depthwise(const Array& moving, const Array& filter, const EpilogueArrays& arrays, const Array* skip,
                 const Array& out, const Geometry& geometry, Threads& threads) {
  const auto &m = moving.dims, &f = filter.dims, &o = out.dims;
  if (m.size() != 6 || f.size() != 6 || o.size() != 6) {
    return invalid_shapes("the depthwise kernel takes arrays of rank 6", moving, filter, out);
  }
  const int64_t batch = m[0], groups = f[3], in_features = f[4], out_features = f[5];
  if (batch != o[0] || m[4] != groups || o[4] != groups || m[5] != in_features || o[5] != out_features) {
    return invalid_shapes("batch and features of the depthwise kernel's arrays do not fit", moving, filter, out);
  }
  if (std::min(in_features, out_features) > 1 || in_features > kMaxContractedFeatures) {
    const std::string most = std::to_string(kMaxContractedFeatures);
    return invalid_shapes("the depthwise kernel contracts features (" + most + " at most) or spreads them, not both",
                          moving, filter, out);
  }
  if (filter.type != moving.type || (out.type != moving.type && out.type != Type::kFloat32)) {
    return invalid("the depthwise kernel's operands must have one type, and the result that type or float32");
  }
  Epilogue epilogue;
  if (Status status = make_epilogue(arrays, groups * out_features, epilogue); !status.ok()) return status;
  if (Status status = check_skip(skip, out); !status.ok()) return status;
  Axis axes[3];
  if (Status status = make_axes(geometry, &o[1], &f[0], &m[1], axes); !status.ok()) return status;
  if (out.size() == 0) return {};

  const int64_t rows = batch * o[1] * o[2];
  const int64_t products = out.size() * in_features * product(f, 0, 3);
  const int64_t wanted = number_of_tasks(products, rows * o[3], threads.count());
  // With few rows, as in one dimension, rows are cut into runs.
  const int64_t longest = rows >= wanted ? o[3] : std::max<int64_t>(8, o[3] * rows / wanted);
  const TapTable table(axes, std::max<int64_t>(1, longest));
  if (Status status = check_taps(table); !status.ok()) return status;
  const Floats weights(filter);
  const Depthwise params = {.space = table.spatial(),
                            .batch = batch,
                            .groups = groups,
                            .in_features = in_features,
                            .out_features = out_features,
                            .type = moving.type,
                            .out_type = out.type,
                            .moving = moving.data,
                            .filter = weights.data(),
                            .out = out.data,
                            .epilogue = epilogue,
                            .skip = skip ? skip->data : nullptr};
  use_large_pages(out.data, out.bytes());
  const int64_t runs = table.spatial().inner.runs, pieces = rows >= wanted ? 1 : runs, units = rows * pieces;
  const int64_t tasks = std::min(wanted, units);
  const Kernels& run = kernels();
  parallel_for(threads, {{tasks, [&](int64_t task) {
    const int64_t begin = units * task / tasks, end = units * (task + 1) / tasks;
    if (pieces == 1) return run.depthwise(params, begin, end, 0, runs);
    for (int64_t unit = begin; unit < end; ++unit) {
      run.depthwise(params, unit / pieces, unit / pieces + 1, unit % pieces, unit % pieces + 1);
    }
  }}});
  return {};
}

}  // namespace jds
