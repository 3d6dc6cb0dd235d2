#include "convolve.h"

#include <algorithm>
#include <limits>
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

std::string too_many_taps(const Solution& solution) {
  if (solution.taps() <= kMaxTaps) return {};
  return "at most " + std::to_string(kMaxTaps) + " products for one result are supported, got " +
         std::to_string(solution.taps());
}

int64_t number_of_tasks(int64_t products, int64_t units, int64_t threads) {
  if (threads < 2 || products < 2 * kProductsOfATask) return 1;
  return std::max<int64_t>(1, std::min({units, threads * kTasksOfAThread, products / kProductsOfATask}));
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
                      Threads& threads) {
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
  Axis axes[3];
  std::string wrong = make_axes(geometry, &o[1], &f[0], &m[1], axes);
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
                             {nullptr, nullptr, Activation::kNone}};
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
  for (int64_t part = 1; part < parts; ++part) {
    for (int64_t i = 0; i < weights; ++i) partial[i] += partial[part * weights + i];
  }
  from_floats(partial.data(), weights, out.type, out.data);
  return {};
}

}  // namespace jds
