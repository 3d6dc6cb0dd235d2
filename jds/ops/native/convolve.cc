#include "convolve.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <sstream>

#include "convert.h"
#include "kernels.h"
#include "solve.h"

namespace jds {
namespace {

// Less work than this many products is not worth the waking of a thread.
constexpr int64_t kProductsOfATask = 1 << 17;
// Parts for each thread, so that one that is interrupted does not keep the others waiting.
constexpr int64_t kTasksOfAThread = 4;

// Of the left matrix's rows, as many at once as half of a second-level cache holds.
constexpr int64_t kTileFloats = 96 * 1024;
// Weights of fewer floats stay in the second-level cache from one task to the next.
constexpr int64_t kWeightsThatStay = 128 * 1024;
// With fewer columns, making the rows again for each task costs too much.
constexpr int64_t kColumnsOfATask = 256;

// Of a matrix gradient: tiles of rows that read the same panel, and positions whose sums are worth an array of their own.
constexpr int64_t kTilesOfATask = 4;
constexpr int64_t kPositionsOfATask = 1024;

int64_t product(const std::vector<int64_t>& sizes, size_t begin, size_t end) {
  int64_t total = 1;
  for (size_t i = begin; i < end; ++i) total *= sizes[i];
  return total;
}

std::string in_words(const std::vector<int64_t>& sizes) {
  std::ostringstream out;
  out << '(';
  for (size_t i = 0; i < sizes.size(); ++i) out << (i ? ", " : "") << sizes[i];
  out << ')';
  return out.str();
}

std::string shapes(const char* what, const Array& a, const Array& b, const Array& out) {
  return std::string(what) + ", got operands of shapes " + in_words(a.dims) + " and " + in_words(b.dims) +
         " and a result of shape " + in_words(out.dims);
}

// The axes, if geometry and sizes make sense; a message if they do not.
std::string make_axes(const Geometry& geometry, const int64_t* longs, const int64_t* shorts, const int64_t* moving,
                      Axis (&axes)[3]) {
  constexpr int64_t kLimit = std::numeric_limits<int32_t>::max();
  if (geometry.size() != 12) return "the geometry must have 12 numbers, got " + std::to_string(geometry.size());
  for (int i = 0; i < 3; ++i) {
    const int64_t* g = geometry.data() + 4 * i;
    axes[i] = {longs[i], shorts[i], moving[i], g[0], g[1], g[2], g[3]};
    const Axis& a = axes[i];
    if (a.long_step < 1 || a.short_step == 0 || a.moving_step < 1) {
      return "the steps of the geometry must be positive, and that of the short array not 0, got " +
             in_words(geometry);
    }
    for (const int64_t number : {a.long_size, a.short_size, a.moving_size, a.long_step, a.short_step, a.low,
                                 a.moving_step}) {
      if (number > kLimit || number < -kLimit) return "a number is too large: " + std::to_string(number);
    }
    // The largest number that is met on the axis.
    if (static_cast<double>(a.long_step) * a.long_size + std::abs(static_cast<double>(a.short_step)) * a.short_size >
        4e18) {
      return "the geometry's numbers are too large: " + in_words(geometry);
    }
  }
  return {};
}

std::string make_epilogue(const Ending& ending, int64_t features, Epilogue& epilogue) {
  for (const Array* vector : {ending.scale, ending.bias}) {
    if (vector && (vector->type != Type::kFloat32 || vector->dims != std::vector<int64_t>{features})) {
      return "scale and bias must be of float32 and shape (" + std::to_string(features) + "), got shape " +
             in_words(vector->dims);
    }
  }
  if (ending.activation < Activation::kNone || ending.activation > Activation::kLast) {
    return "unknown activation " + std::to_string(static_cast<int>(ending.activation));
  }
  const auto data = [](const Array* vector) { return vector ? static_cast<const float*>(vector->data) : nullptr; };
  epilogue = {data(ending.scale), data(ending.bias), ending.activation};
  return {};
}

std::string too_many_taps(const Solution& solution) {
  if (solution.taps() <= kMaxTaps) return {};
  return "at most " + std::to_string(kMaxTaps) + " products for one result are supported, got " +
         std::to_string(solution.taps());
}

int64_t number_of_tasks(int64_t products, int64_t units, int64_t threads) {
  if (threads < 2 || products < 2 * kProductsOfATask) return 1;
  return std::max<int64_t>(1, std::min({units, threads * kTasksOfAThread, products / kProductsOfATask}));
}

// Adds arrays of the result's shape, one after another, into the first, and gives the sum out.
void add_parts(float* parts, int64_t count, const Array& out) {
  const int64_t size = out.size();
  for (int64_t part = 1; part < count; ++part) {
    for (int64_t i = 0; i < size; ++i) parts[i] += parts[part * size + i];
  }
  from_floats(parts, size, out.type, out.data);
}

// (rows, columns) to (columns, rows), in squares that stay in the cache.
template <class Bits>
void transpose(const Array& array, void* to, Threads& threads) {
  constexpr int64_t kSquare = 16;
  const int64_t rows = array.dims[0], columns = array.dims[1];
  const Bits* from = static_cast<const Bits*>(array.data);
  const int64_t strips = (columns + kSquare - 1) / kSquare;
  const int64_t tasks = rows * columns < kProductsOfATask ? 1 : std::min(strips, kTasksOfAThread * threads.count());
  parallel_for(threads, tasks, [&](int64_t task) {
    const int64_t begin = strips * task / tasks * kSquare, end = std::min(columns, strips * (task + 1) / tasks * kSquare);
    for (int64_t row = 0; row < rows; row += kSquare) {
      for (int64_t column = begin; column < end; ++column) {
        for (int64_t r = row; r < std::min(rows, row + kSquare); ++r) {
          static_cast<Bits*>(to)[column * rows + r] = from[r * columns + column];
        }
      }
    }
  });
}

// A buffer of this thread, for as long as it does not ask again.
float* thread_scratch(int64_t size) {
  static thread_local std::vector<float> buffer;
  if (static_cast<int64_t>(buffer.size()) < size) buffer.resize(size);
  return buffer.data();
}

// How a matrix of results is cut into tasks.
struct Tasks {
  int64_t row_tasks, column_tasks;
};

Tasks cut_matrix(int64_t rows, int64_t depth, int64_t features, const Kernels& kernels, int64_t threads) {
  const int64_t fit = std::max(kernels.tile_rows, kTileFloats / depth / kernels.tile_rows * kernels.tile_rows);
  const int64_t least = depth * features > kWeightsThatStay ? 4 * kernels.tile_rows : 2 * kernels.tile_rows;
  const int64_t by_memory = (rows + fit - 1) / fit;
  if (threads < 2 || rows * depth * features < 2 * kProductsOfATask) return {by_memory, 1};
  const int64_t wanted = kTasksOfAThread * threads;
  const int64_t row_tasks = std::max(by_memory, std::min(wanted, (rows + least - 1) / least));
  const int64_t column_limit = std::max<int64_t>(1, features / kColumnsOfATask);
  return {row_tasks, row_tasks >= 2 * threads ? 1 : std::min(column_limit, (2 * threads + row_tasks - 1) / row_tasks)};
}

// Floats of an array, converted if need be.
class Floats {
 public:
  explicit Floats(const Array& array) : data_(static_cast<const float*>(array.data)) {
    if (array.type == Type::kFloat32) return;
    converted_.resize(array.size());
    to_floats(array.type, array.data, array.size(), converted_.data());
    data_ = converted_.data();
  }
  const float* data() const { return data_; }

 private:
  const float* data_;
  std::vector<float> converted_;
};

}  // namespace

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
  const int64_t runs = solution.spatial().inner.runs, pieces = rows >= wanted ? 1 : runs, units = rows * pieces;
  const int64_t tasks = std::min(wanted, units);
  const Kernels& run = kernels();
  parallel_for(threads, tasks, [&](int64_t task) {
    const int64_t begin = units * task / tasks, end = units * (task + 1) / tasks;
    if (pieces == 1) return run.depthwise(problem, begin, end, 0, runs);
    for (int64_t unit = begin; unit < end; ++unit) {
      run.depthwise(problem, unit / pieces, unit / pieces + 1, unit % pieces, unit % pieces + 1);
    }
  });
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
  std::vector<float> partial(parts * weights);
  const Kernels& run = kernels();
  parallel_for(threads, parts, [&](int64_t part) {
    run.kernel_gradient(problem, rows * part / parts, rows * (part + 1) / parts, partial.data() + part * weights);
  });
  add_parts(partial.data(), parts, out);
  return {};
}

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
  const Kernels& run = kernels();
  const int64_t positions = product(o, 0, 4);
  const Tasks tasks = cut_matrix(positions, depth, features, run, threads.count());
  const int64_t panels = (features + run.tile_columns - 1) / run.tile_columns;
  parallel_for(threads, tasks.row_tasks * tasks.column_tasks, [&](int64_t task) {
    const int64_t row = task / tasks.column_tasks, column = task % tasks.column_tasks;
    const int64_t begin = positions * row / tasks.row_tasks, end = positions * (row + 1) / tasks.row_tasks;
    const int64_t column_begin = panels * column / tasks.column_tasks * run.tile_columns;
    const int64_t column_end = std::min(features, panels * (column + 1) / tasks.column_tasks * run.tile_columns);
    run.block(problem, begin, end, column_begin, column_end, thread_scratch(run.block_scratch(problem, end - begin)));
  });
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
  const int64_t tiles = (l[1] + run.tile_rows - 1) / run.tile_rows;
  const int64_t wanted = number_of_tasks(l[0] * out.size(), l[0] * tiles, threads.count());
  // Rows are shared out as long as a task has a few tiles; then positions, and their sums are added in their order.
  const int64_t row_tasks = std::min(wanted, std::max<int64_t>(1, tiles / kTilesOfATask));
  const int64_t parts = std::min((wanted + row_tasks - 1) / row_tasks, std::max<int64_t>(1, l[0] / kPositionsOfATask));
  const bool in_place = parts == 1 && out.type == Type::kFloat32;
  const std::unique_ptr<float[]> buffer(in_place ? nullptr : new float[parts * out.size()]);
  float* sums = in_place ? static_cast<float*>(out.data) : buffer.get();
  parallel_for(threads, row_tasks * parts, [&](int64_t task) {
    const int64_t part = task / row_tasks, row = task % row_tasks;
    const int64_t row_begin = tiles * row / row_tasks * run.tile_rows;
    const int64_t row_end = std::min(l[1], tiles * (row + 1) / row_tasks * run.tile_rows);
    run.matrix_gradient(problem, l[0] * part / parts, l[0] * (part + 1) / parts, row_begin, row_end,
                        sums + part * out.size(),
                        thread_scratch(run.matrix_gradient_scratch(row_end - row_begin)));
  });
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
    const int64_t width = right.type == Type::kFloat32 ? 4 : 2;
    buffer.reset(new char[right.size() * width]);
    weights.data = buffer.get();
    if (width == 4) {
      transpose<uint32_t>(right, weights.data, threads);
    } else {
      transpose<uint16_t>(right, weights.data, threads);
    }
  }
  const Ending none = {nullptr, nullptr, Activation::kNone};
  return block(rows, nullptr, none, weights, none, result, {1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 1}, threads);
}

}  // namespace jds
