// Fused blocks: an ordinary convolution or a depthwise and a pointwise one, with their epilogues.
#include <algorithm>
#include <memory>
#include <string>

#include "kernels/kernels.h"
#include "operators/operators.h"
#include "operators/row_product.h"
#include "operators/validate.h"
#include "runtime/array.h"
#include "runtime/convert.h"
#include "runtime/large_pages.h"
#include "runtime/memory.h"
#include "runtime/taps.h"
#include "runtime/threads.h"

namespace jds {
namespace {

// Floats of left rows and results that stay in the second-level cache beside panels of weights.
constexpr int64_t kFloatsAtOnce = 64 * 1024;
// With fewer tiles per thread, tasks share the rows and each takes some columns, so that the weights are read once.
constexpr int64_t kTilesPerThread = 14;
// Tasks that build their own rows may have few of them.
constexpr int64_t kRowTasksPerThread = 8;

// How a block's result is split into tasks.
struct Plan {
  const Kernels& run;
  int64_t positions, tiles, panels;
  // Tiles that a task builds and multiplies at a time; 0 if the rows are built first and shared by the tasks.
  int64_t tiles_at_once;
  int64_t row_tasks, column_tasks;

  int64_t row(int64_t task) const { return std::min(positions, tiles * task / row_tasks * run.tile_rows); }
  int64_t column(int64_t task) const { return panels * task / column_tasks * run.tile_columns; }
};

Plan make_plan(const Block& b, int64_t positions, const Kernels& run, int64_t threads) {
  Plan plan = {.run = run,
               .positions = positions,
               .tiles = divide_up(positions, run.tile_rows),
               .panels = divide_up(b.features, run.tile_columns),
               .tiles_at_once = 0,
               .row_tasks = 1,
               .column_tasks = 1};
  const bool is_small = threads < 2 || positions * b.depth * b.features < 2 * kProductsPerTask;
  if (plan.tiles >= (is_small ? 1 : threads) * kTilesPerThread) {
    plan.tiles_at_once = std::max<int64_t>(1, kFloatsAtOnce / (run.tile_rows * (b.depth + b.features)));
    if (!is_small) plan.row_tasks = std::min(plan.tiles / 2, threads * kRowTasksPerThread);
  } else if (!is_small) {
    plan.row_tasks = std::min(plan.tiles, divide_up(kTasksPerThread * threads, plan.panels));
    plan.column_tasks = plan.panels;
  }
  return plan;
}

// Memory from `next` on, prefetched while `tiles` tiles are multiplied.
Prefetch spread_prefetch(int64_t tiles, const Block& b, const char* next, int64_t rows, int64_t stride, int64_t lines) {
  return {.next = next,
          .rows = rows,
          .stride = stride,
          .lines = lines,
          .each = divide_up(rows, tiles * divide_up(b.depth, kDepth))};
}

// The panel of weights at `column`, if there is one.
Prefetch prefetch_panel(const Block& b, const Plan& plan, int64_t column, int64_t tiles) {
  if (column >= b.features) return {};
  const int64_t bytes = bytes_of(b.first.type);
  const char* panel = static_cast<const char*>(b.weights) + column * bytes;
  return spread_prefetch(tiles, b, panel, b.depth, b.features * bytes, divide_up(plan.run.tile_columns * bytes, kLine));
}

// Builds all rows, then multiplies them, while the next panel of weights is prefetched.
void multiply_shared_rows(const Block& b, const Plan& plan, Threads& threads) {
  const int64_t size = plan.run.block_tile(b);
  const std::unique_ptr<float[]> rows = allocate<float>(plan.tiles * size);
  const int64_t builders = plan.column_tasks == 1 ? 1 : std::min(plan.tiles, kTasksPerThread * threads.count());
  const auto build = [&](int64_t task) {
    const int64_t begin = plan.tiles * task / builders, end = plan.tiles * (task + 1) / builders;
    plan.run.block_rows(b, begin * plan.run.tile_rows, std::min(plan.positions, end * plan.run.tile_rows),
                        rows.get() + begin * size);
  };
  const auto multiply = [&](int64_t task) {
    const int64_t begin = plan.row(task % plan.row_tasks), end = plan.row(task % plan.row_tasks + 1);
    const int64_t column = plan.column(task / plan.row_tasks), column_end = plan.column(task / plan.row_tasks + 1);
    const int64_t first_tile = begin / plan.run.tile_rows;
    Part part = {.tiles = rows.get() + first_tile * size,
                 .begin = begin,
                 .end = end,
                 .column_begin = column,
                 .column_end = std::min(b.features, column_end),
                 .panels = nullptr,
                 .panel = thread_scratch(b.depth * plan.run.tile_columns),
                 .prefetch = {}};
    // The next task is usually this thread's too; after a panel's last task comes the next panel.
    if ((task + 1) % plan.row_tasks == 0) {
      part.prefetch = prefetch_panel(b, plan, column_end, divide_up(end - begin, plan.run.tile_rows));
    }
    plan.run.block_product(b, part);
  };
  parallel_for(threads, {{builders, build}, {plan.row_tasks * plan.column_tasks, multiply}});
}

// Bytes of the moving array, approximately, up to the last one that a position of the result needs.
int64_t bytes_up_to(const Block& b, int64_t position) {
  const OuterAxis &first = b.first.space.outer[0], &second = b.first.space.outer[1];
  const InnerAxis& inner = b.first.space.inner;
  const auto last = [](const OuterAxis& axis, int64_t l) {
    return axis.begin[l] < axis.begin[l + 1] ? axis.taps[axis.begin[l + 1] - 1].moving : 0;
  };
  const int64_t row = position / inner.long_size, image = row / second.long_size / first.long_size;
  const int64_t plane = image * first.moving_size + last(first, row / second.long_size % first.long_size);
  const int64_t line = plane * second.moving_size + last(second, row % second.long_size);
  const int64_t pixels = (position % inner.long_size + 1) * inner.moving_size / inner.long_size;
  return (line * inner.moving_size + pixels) * b.first.groups * bytes_of(b.first.type);
}

// The inputs that rows [part.end, end) need and earlier rows do not, prefetched while the part is multiplied.
Prefetch prefetch_inputs(const Block& b, const Plan& plan, const Part& part, int64_t end) {
  if (part.end == end) return {};
  const int64_t from = bytes_up_to(b, part.end - 1), to = bytes_up_to(b, end - 1);
  const int64_t tiles = divide_up(part.end - part.begin, plan.run.tile_rows) * plan.panels;
  const int64_t lines = divide_up(std::max<int64_t>(0, to - from), kLine);
  return spread_prefetch(tiles, b, static_cast<const char*>(b.first.moving) + from, lines, kLine, 1);
}

// Each task builds a few rows at a time and multiplies them, while the inputs of the next rows are prefetched.
void multiply_own_rows(const Block& b, const Plan& plan, Threads& threads) {
  const int64_t width = plan.run.tile_columns;
  const std::unique_ptr<float[]> panels = allocate<float>(plan.panels * width * b.depth);
  const int64_t copiers = number_of_tasks(b.depth * b.features, plan.panels, threads.count());
  const auto copy = [&](int64_t task) {
    const int64_t begin = plan.panels * task / copiers, end = plan.panels * (task + 1) / copiers;
    plan.run.block_panels(b, begin * width, std::min(b.features, end * width), panels.get());
  };
  const auto multiply = [&](int64_t task) {
    const int64_t begin = plan.row(task), end = plan.row(task + 1), step = plan.tiles_at_once * plan.run.tile_rows;
    float* tiles = thread_scratch(plan.tiles_at_once * plan.run.block_tile(b));
    Part part = {.tiles = tiles,
                 .begin = begin,
                 .end = begin,
                 .column_begin = 0,
                 .column_end = b.features,
                 .panels = panels.get(),
                 .panel = nullptr,
                 .prefetch = {}};
    for (; part.begin < end; part.begin = part.end) {
      part.end = std::min(end, part.begin + step);
      plan.run.block_rows(b, part.begin, part.end, tiles);
      part.prefetch = prefetch_inputs(b, plan, part, std::min(end, part.end + step));
      plan.run.block_product(b, part);
    }
  };
  parallel_for(threads, {{copiers, copy}, {plan.row_tasks, multiply}});
}

// Whether the convolution is the product of few rows with the weights, which is when every pixel is a window.
bool is_row_product(const Array& moving, const Array& weights, const Array& out, const Geometry& geometry) {
  const auto is_plain = [](const AxisGeometry& axis) {
    return axis.long_step == 1 && axis.low == 0 && axis.moving_step == 1;
  };
  return std::all_of(geometry.begin(), geometry.end(), is_plain) && product(weights.dims, 0, 3) == 1 &&
         product(moving.dims, 0, 4) == product(out.dims, 0, 4) && product(out.dims, 0, 4) <= kFewRows;
}

void multiply_few_rows(const Array& moving, const Array& weights, const Epilogue& epilogue, const void* skip,
                       const Array& out, Threads& threads) {
  const Floats left(moving);
  const RowProduct rows = {.rows = product(out.dims, 0, 4),
                           .depth = weights.dims[3],
                           .features = weights.dims[4],
                           .left = left.data(),
                           .type = weights.type,
                           .out_type = out.type,
                           .weights = weights.data,
                           .out = out.data,
                           .epilogue = epilogue,
                           .skip = skip};
  parallel_for(threads, {row_product_phase(rows, threads)});
}

}  // namespace

Status block(const Array& moving, const Array* filter, const EpilogueArrays& first, const Array& weights,
             const EpilogueArrays& second, const Array* skip, const Array& out, const Geometry& geometry,
             Threads& threads) {
  const auto &m = moving.dims, &w = weights.dims, &o = out.dims;
  const std::vector<int64_t>& f = filter ? filter->dims : w;
  if (m.size() != 5 || o.size() != 5 || (filter ? f.size() != 6 || w.size() != 2 : w.size() != 5)) {
    return invalid_shapes("a block takes inputs and a result of rank 5", moving, weights, out);
  }
  const int64_t channels = m[4], features = o[4], depth = filter ? f[3] * f[5] : product(w, 0, 4);
  if (m[0] != o[0] || f[3] != channels || (filter && (f[4] != 1 || w[0] != depth)) || w.back() != features) {
    return invalid_shapes("batch and features of the block's arrays do not fit", moving, weights, out);
  }
  if (weights.type != moving.type || (filter && filter->type != moving.type) ||
      (out.type != moving.type && out.type != Type::kFloat32)) {
    return invalid("the block's operands must have one type, and the result that type or float32");
  }
  Epilogue epilogues[2];
  if (Status status = make_epilogue(first, depth, epilogues[0]); !status.ok()) return status;
  if (Status status = make_epilogue(second, features, epilogues[1]); !status.ok()) return status;
  if (Status status = check_skip(skip, out); !status.ok()) return status;
  Axis axes[3];
  if (Status status = make_axes(geometry, &o[1], &f[0], &m[1], axes); !status.ok()) return status;
  if (out.size() == 0) return {};
  const void* const added = skip ? skip->data : nullptr;
  if (!filter && is_row_product(moving, weights, out, geometry)) {
    multiply_few_rows(moving, weights, epilogues[1], added, out, threads);
    return {};
  }
  for (const Axis& axis : axes) {
    if (axis.moving_step != 1) {
      return invalid("a block's moving steps must be 1, got " + std::to_string(axis.moving_step));
    }
  }
  const TapTable table(axes, o[3]);
  if (Status status = check_taps(table); !status.ok()) return status;
  const Array none = {Type::kFloat32, {0}, nullptr};
  const Floats filter_floats(filter ? *filter : none);
  const Block params = {.first = {.space = table.spatial(),
                                  .batch = m[0],
                                  .groups = channels,
                                  .in_features = 1,
                                  .out_features = filter ? f[5] : 1,
                                  .type = moving.type,
                                  .out_type = Type::kFloat32,
                                  .moving = moving.data,
                                  .filter = filter_floats.data(),
                                  .out = nullptr,
                                  .epilogue = epilogues[0],
                                  .skip = nullptr},
                        .depth = depth,
                        .features = features,
                        .weights = weights.data,
                        .out_type = out.type,
                        .out = out.data,
                        .epilogue = epilogues[1],
                        .skip = added};
  use_large_pages(out.data, out.bytes());
  const Plan plan = make_plan(params, product(o, 0, 4), kernels(), threads.count());
  if (plan.tiles_at_once) {
    multiply_own_rows(params, plan, threads);
  } else {
    multiply_shared_rows(params, plan, threads);
  }
  return {};
}

}  // namespace jds
