// Products of matrices: the blocks, the pointwise convolutions and their kernel gradients.
#include <algorithm>
#include <memory>

#include "check.h"
#include "convolve.h"
#include "kernels.h"
#include "large_pages.h"
#include "memory.h"
#include "solve.h"
#include "work.h"

namespace jds {
namespace {

// Of left rows and results, as many floats at once as stay in the second-level cache beside panels of weights.
constexpr int64_t kFloatsAtOnce = 64 * 1024;
// With fewer tiles for each thread, tasks share the rows, and each takes columns: the weights are read once then.
constexpr int64_t kTilesOfAThread = 14;
// Of rows of its own, a task may have few.
constexpr int64_t kRowTasksOfAThread = 8;

// Of a matrix gradient: tiles of rows that read the same panel, and positions whose sums are worth an array of their own.
constexpr int64_t kTilesOfATask = 4;
constexpr int64_t kPositionsOfATask = 1024;

// (rows, columns) to (columns, rows), in squares that stay in the cache.
template <class Bits>
void transpose(const Array& array, void* to, Threads& threads) {
  constexpr int64_t kSquare = 16;
  const int64_t rows = array.dims[0], columns = array.dims[1];
  const Bits* from = static_cast<const Bits*>(array.data);
  const int64_t strips = divide_up(columns, kSquare);
  const int64_t tasks = rows * columns < kProductsOfATask ? 1 : std::min(strips, kTasksOfAThread * threads.count());
  parallel_for(threads, {{tasks, [&](int64_t task) {
    const int64_t begin = strips * task / tasks * kSquare, end = std::min(columns, strips * (task + 1) / tasks * kSquare);
    for (int64_t row = 0; row < rows; row += kSquare) {
      for (int64_t column = begin; column < end; ++column) {
        for (int64_t r = row; r < std::min(rows, row + kSquare); ++r) {
          static_cast<Bits*>(to)[column * rows + r] = from[r * columns + column];
        }
      }
    }
  }}});
}

// How a block's results are cut into tasks.
struct Plan {
  const Kernels& run;
  int64_t positions, tiles, panels;
  // Either each task makes rows of its own, so many tiles at once, and multiplies them with all columns; or, if this is
  // 0, rows are made first, and then a task multiplies some of them with one panel.
  int64_t tiles_at_once;
  int64_t row_tasks, column_tasks;

  int64_t row(int64_t task) const { return std::min(positions, tiles * task / row_tasks * run.tile_rows); }
  int64_t column(int64_t task) const { return panels * task / column_tasks * run.tile_columns; }
};

Plan make_plan(const Block& b, int64_t positions, const Kernels& run, int64_t threads) {
  const int64_t tiles = divide_up(positions, run.tile_rows), panels = divide_up(b.features, run.tile_columns);
  const bool is_small = threads < 2 || positions * b.depth * b.features < 2 * kProductsOfATask;
  if (tiles >= (is_small ? 1 : threads) * kTilesOfAThread) {
    const int64_t at_once = std::max<int64_t>(1, kFloatsAtOnce / (run.tile_rows * (b.depth + b.features)));
    const int64_t tasks = is_small ? 1 : std::min(tiles / 2, threads * kRowTasksOfAThread);
    return {run, positions, tiles, panels, at_once, tasks, 1};
  }
  if (is_small) return {run, positions, tiles, panels, 0, 1, 1};
  return {run, positions, tiles, panels, 0, std::min(tiles, divide_up(kTasksOfAThread * threads, panels)), panels};
}

// Memory from `next` on, to be asked for while so many tiles are multiplied.
Ahead spread_over(int64_t tiles, const Block& b, const char* next, int64_t rows, int64_t stride, int64_t lines) {
  return {next, rows, stride, lines, divide_up(rows, tiles * divide_up(b.depth, kDepth))};
}

// The panel at `column`, if there is one.
Ahead panel_ahead(const Block& b, const Plan& plan, int64_t column, int64_t tiles) {
  if (column >= b.features) return {};
  const int64_t bytes = bytes_of(b.first.type);
  const char* panel = static_cast<const char*>(b.weights) + column * bytes;
  return spread_over(tiles, b, panel, b.depth, b.features * bytes, divide_up(plan.run.tile_columns * bytes, kLine));
}

// Makes the rows, then multiplies them, while the next panel of weights is on its way.
void multiply_shared_rows(const Block& b, const Plan& plan, Threads& threads) {
  const int64_t size = plan.run.block_tile(b);
  const std::unique_ptr<float[]> rows = allocate<float>(plan.tiles * size);
  const int64_t making = plan.column_tasks == 1 ? 1 : std::min(plan.tiles, kTasksOfAThread * threads.count());
  const auto make = [&](int64_t task) {
    const int64_t begin = plan.tiles * task / making, end = plan.tiles * (task + 1) / making;
    plan.run.block_rows(b, begin * plan.run.tile_rows, std::min(plan.positions, end * plan.run.tile_rows),
                        rows.get() + begin * size);
  };
  const auto multiply = [&](int64_t task) {
    const int64_t begin = plan.row(task % plan.row_tasks), end = plan.row(task % plan.row_tasks + 1);
    const int64_t column = plan.column(task / plan.row_tasks), column_end = plan.column(task / plan.row_tasks + 1);
    const int64_t first_tile = begin / plan.run.tile_rows;
    Part part = {rows.get() + first_tile * size, begin, end, column, std::min(b.features, column_end), nullptr,
                 thread_scratch(b.depth * plan.run.tile_columns), {}};
    // The task after this one is most often this thread's as well; the last of a panel's tasks has the next one.
    if ((task + 1) % plan.row_tasks == 0) {
      part.ahead = panel_ahead(b, plan, column_end, divide_up(end - begin, plan.run.tile_rows));
    }
    plan.run.block_product(b, part);
  };
  parallel_for(threads, {{making, make}, {plan.row_tasks * plan.column_tasks, multiply}});
}

// Bytes of the moving array up to the last one that a position of the result needs, about.
int64_t bytes_up_to(const Block& b, int64_t position) {
  const OuterAxis &first = b.first.space.outer[0], &second = b.first.space.outer[1];
  const InnerAxis& inner = b.first.space.inner;
  const auto last = [](const OuterAxis& axis, int64_t l) {
    return axis.begin[l] < axis.begin[l + 1] ? axis.meetings[axis.begin[l + 1] - 1].moving : 0;
  };
  const int64_t row = position / inner.long_size, image = row / second.long_size / first.long_size;
  const int64_t plane = image * first.moving_size + last(first, row / second.long_size % first.long_size);
  const int64_t line = plane * second.moving_size + last(second, row % second.long_size);
  const int64_t pixels = (position % inner.long_size + 1) * inner.moving_size / inner.long_size;
  return (line * inner.moving_size + pixels) * b.first.groups * bytes_of(b.first.type);
}

// What rows [part.end, end) need and those before them do not, asked for while the part is multiplied.
Ahead read_ahead(const Block& b, const Plan& plan, const Part& part, int64_t end) {
  if (part.end == end) return {};
  const int64_t from = bytes_up_to(b, part.end - 1), to = bytes_up_to(b, end - 1);
  const int64_t tiles = divide_up(part.end - part.begin, plan.run.tile_rows) * plan.panels;
  const int64_t lines = divide_up(std::max<int64_t>(0, to - from), kLine);
  return spread_over(tiles, b, static_cast<const char*>(b.first.moving) + from, lines, kLine, 1);
}

// Makes some rows and multiplies them, again and again, while what the next rows are made of is on its way.
void multiply_own_rows(const Block& b, const Plan& plan, Threads& threads) {
  const int64_t width = plan.run.tile_columns;
  const std::unique_ptr<float[]> panels = allocate<float>(plan.panels * width * b.depth);
  const int64_t copying = number_of_tasks(b.depth * b.features, plan.panels, threads.count());
  const auto copy = [&](int64_t task) {
    const int64_t begin = plan.panels * task / copying, end = plan.panels * (task + 1) / copying;
    plan.run.block_panels(b, begin * width, std::min(b.features, end * width), panels.get());
  };
  const auto multiply = [&](int64_t task) {
    const int64_t begin = plan.row(task), end = plan.row(task + 1), step = plan.tiles_at_once * plan.run.tile_rows;
    float* tiles = thread_scratch(plan.tiles_at_once * plan.run.block_tile(b));
    Part part = {tiles, begin, begin, 0, b.features, panels.get(), nullptr, {}};
    for (; part.begin < end; part.begin = part.end) {
      part.end = std::min(end, part.begin + step);
      plan.run.block_rows(b, part.begin, part.end, tiles);
      part.ahead = read_ahead(b, plan, part, std::min(end, part.end + step));
      plan.run.block_product(b, part);
    }
  };
  parallel_for(threads, {{copying, copy}, {plan.row_tasks, multiply}});
}

}  // namespace

std::string block(const Array& moving, const Array* filter, const Ending& first, const Array& weights,
                  const Ending& second, const Array& out, const Geometry& geometry, Threads& threads) {
  const auto &m = moving.dims, &w = weights.dims, &o = out.dims;
  const std::vector<int64_t>& f = filter ? filter->dims : w;
  if (m.size() != 5 || o.size() != 5 || (filter ? f.size() != 6 || w.size() != 2 : w.size() != 5)) {
    return shapes("a block takes inputs and a result of rank 5", moving, weights, out);
  }
  const int64_t channels = m[4], features = o[4], depth = filter ? f[3] * f[5] : product(w, 0, 4);
  if (m[0] != o[0] || f[3] != channels || (filter && (f[4] != 1 || w[0] != depth)) || w.back() != features) {
    return shapes("batch and features of the block's arrays do not fit", moving, weights, out);
  }
  if (weights.type != moving.type || (filter && filter->type != moving.type) ||
      (out.type != moving.type && out.type != Type::kFloat32)) {
    return "the block's operands must have one type, and the result that type or float32";
  }
  Epilogue epilogues[2];
  std::string wrong = make_epilogue(first, depth, epilogues[0]);
  if (wrong.empty()) wrong = make_epilogue(second, features, epilogues[1]);
  Axis axes[3];
  if (wrong.empty()) wrong = make_axes(geometry, &o[1], &f[0], &m[1], axes);
  if (!wrong.empty() || out.size() == 0) return wrong;
  for (const Axis& axis : axes) {
    if (axis.moving_step != 1) return "a block's moving steps must be 1, got the geometry " + in_words(geometry);
  }
  const Solution solution(axes, o[3]);
  if (wrong = too_many_taps(solution); !wrong.empty()) return wrong;
  const Array none = {Type::kFloat32, {0}, nullptr};
  const Floats filter_floats(filter ? *filter : none);
  const Block problem = {
      {solution.spatial(), m[0], channels, 1, filter ? f[5] : 1, moving.type, Type::kFloat32, moving.data,
       filter_floats.data(), nullptr, epilogues[0]},
      depth, features, weights.data, out.type, out.data, epilogues[1]};
  use_large_pages(out.data, out.bytes());
  const Plan plan = make_plan(problem, product(o, 0, 4), kernels(), threads.count());
  if (plan.tiles_at_once) {
    multiply_own_rows(problem, plan, threads);
  } else {
    multiply_shared_rows(problem, plan, threads);
  }
  return {};
}

std::string matrix_gradient(const Array& left, const Array& right, const Array& out, Threads& threads) {
  const auto &l = left.dims, &r = right.dims, &o = out.dims;
  if (l.size() != 2 || r.size() != 2 || o.size() != 2 || l[0] != r[0] || l[1] != o[0] || r[1] != o[1]) {
    return shapes("a matrix gradient takes (p, l) and (p, r) to (l, r)", left, right, out);
  }
  if (right.type != left.type || (out.type != left.type && out.type != Type::kFloat32)) {
    return "the matrix gradient's operands must have one type, and the result that type or float32";
  }
  const MatrixGradient problem = {l[0], l[1], r[1], left.type, left.data, right.data};
  const Kernels& run = kernels();
  const int64_t tiles = divide_up(l[1], run.tile_rows);
  const int64_t wanted = number_of_tasks(l[0] * out.size(), l[0] * tiles, threads.count());
  // Rows are shared out as long as a task has a few tiles; then positions, and their sums are added in their order.
  const int64_t row_tasks = std::min(wanted, std::max<int64_t>(1, tiles / kTilesOfATask));
  const int64_t parts = std::min(divide_up(wanted, row_tasks), std::max<int64_t>(1, l[0] / kPositionsOfATask));
  const bool in_place = parts == 1 && out.type == Type::kFloat32;
  const std::unique_ptr<float[]> buffer = in_place ? nullptr : allocate<float>(parts * out.size());
  float* sums = in_place ? static_cast<float*>(out.data) : buffer.get();
  parallel_for(threads, {{row_tasks * parts, [&](int64_t task) {
    const int64_t part = task / row_tasks, row = task % row_tasks;
    const int64_t row_begin = tiles * row / row_tasks * run.tile_rows;
    const int64_t row_end = std::min(l[1], tiles * (row + 1) / row_tasks * run.tile_rows);
    run.matrix_gradient(problem, l[0] * part / parts, l[0] * (part + 1) / parts, row_begin, row_end,
                        sums + part * out.size(),
                        thread_scratch(run.matrix_gradient_scratch(row_end - row_begin)));
  }}});
  if (!in_place) add_parts(sums, parts, out);
  return {};
}

std::string matrix_product(const Array& left, const Array& right, bool transposed, const Array& out,
                           Threads& threads) {
  const auto &l = left.dims, &r = right.dims, &o = out.dims;
  if (l.size() != 2 || r.size() != 2 || o.size() != 2 || l[0] != o[0] || l[1] != r[transposed] ||
      o[1] != r[!transposed]) {
    return shapes("a matrix product takes (p, k) and (k, n), or (n, k), to (p, n)", left, right, out);
  }
  const Array rows = {left.type, {1, 1, 1, l[0], l[1]}, left.data}, result = {out.type, {1, 1, 1, o[0], o[1]}, out.data};
  Array weights = {right.type, {1, 1, 1, l[1], o[1]}, right.data};
  std::unique_ptr<char[]> buffer;
  if (transposed) {
    buffer = allocate<char>(right.bytes());
    weights.data = buffer.get();
    if (right.type == Type::kFloat32) {
      transpose<uint32_t>(right, weights.data, threads);
    } else {
      transpose<uint16_t>(right, weights.data, threads);
    }
  }
  const Ending none = {nullptr, nullptr, Activation::kNone};
  return block(rows, nullptr, none, weights, none, result, {1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 1}, threads);
}

}  // namespace jds
