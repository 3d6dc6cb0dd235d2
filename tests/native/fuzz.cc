// Random calls of the CPU kernels, compared with sums written out from their definitions (`kernels/params.h`).
//
//     fuzz CASES FIRST
//
// Each case is drawn from its number: FIRST, FIRST + 1, ... Every array ends, or begins, at a page that must not be
// touched, and results are full of NaN before the call: reads and writes outside an array, and missing results, are
// noticed. In some cases memory is refused: then the result must be right all the same, or the call must say that it had
// none. Prints one line of JSON; fails at the first difference.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "drawn.h"
#include "kernels/kernels.h"
#include "operators/operators.h"
#include "refusal.h"

namespace {

using jds::Activation;
using jds::Array;
using jds::EpilogueArrays;
using jds::Geometry;
using jds::Status;
using jds::Type;

class SomeThreads : public jds::Threads {
 public:
  ~SomeThreads() override {
    for (std::thread& thread : threads_) thread.join();
  }
  int64_t count() const override { return count_; }
  void schedule(std::function<void()> work) override { threads_.emplace_back(std::move(work)); }

 private:
  const int64_t count_ = draw(1, 4);
  std::vector<std::thread> threads_;
};

// Steps of 1 and 2 have their own code.
int64_t draw_step() { return chance(0.5) ? 1 : draw(1, 3); }

// Three axes of a random convolution.
struct Space {
  explicit Space(bool is_forward) {
    const int64_t rank = draw(1, 3);
    for (int64_t axis = 0; axis < 3; ++axis) {
      const bool is_unit = axis < 3 - rank;
      const int64_t most = axis == 2 ? (rank == 1 && chance(0.3) ? 300 : 24) : 7;
      sizes[0].push_back(is_unit ? 1 : draw(1, most));                    // long
      sizes[1].push_back(is_unit ? 1 : draw(1, chance(0.2) ? 9 : 4));     // short
      sizes[2].push_back(is_unit ? 1 : draw(1, most));                    // moving
      const int64_t sign = is_forward || chance(0.5) ? 1 : -1;
      const int64_t long_step = draw_step(), short_step = sign * draw_step(), low = draw(-4, 6);
      const int64_t moving_step = is_forward ? 1 : draw_step();
      if (is_unit) continue;
      geometry[axis] = {.long_step = long_step, .short_step = short_step, .low = low, .moving_step = moving_step};
    }
  }

  // Calls `body(l, s, m)` for positions that belong together, each counted over all axes.
  void each(const std::function<void(int64_t, int64_t, int64_t)>& body) const { each(0, 0, 0, 0, body); }

  void each(int axis, int64_t l, int64_t s, int64_t m,
            const std::function<void(int64_t, int64_t, int64_t)>& body) const {
    if (axis == 3) return body(l, s, m);
    const jds::AxisGeometry& g = geometry[axis];
    for (int64_t i = 0; i < sizes[0][axis]; ++i) {
      for (int64_t j = 0; j < sizes[1][axis]; ++j) {
        const int64_t t = g.long_step * i + g.short_step * j - g.low;
        if (t < 0 || t % g.moving_step != 0 || t / g.moving_step >= sizes[2][axis]) continue;
        each(axis + 1, l * sizes[0][axis] + i, s * sizes[1][axis] + j, m * sizes[2][axis] + t / g.moving_step, body);
      }
    }
  }

  std::vector<int64_t> with(int which, std::vector<int64_t> before, std::vector<int64_t> after) const {
    before.insert(before.end(), sizes[which].begin(), sizes[which].end());
    before.insert(before.end(), after.begin(), after.end());
    return before;
  }
  int64_t count(int which) const { return sizes[which][0] * sizes[which][1] * sizes[which][2]; }

  std::vector<int64_t> sizes[3];
  Geometry geometry;
};

// A sum, with the sum of magnitudes that its rounding is measured by.
struct Sum {
  double value = 0, magnitude = 0;
  void add(double product) {
    value += product;
    magnitude += std::abs(product);
  }
};

// A random epilogue, and its definition.
struct RandomEpilogue {
  explicit RandomEpilogue(int64_t features) {
    if (chance(0.4)) scale = std::make_unique<Numbers>(Type::kFloat32, std::vector<int64_t>{features});
    if (chance(0.6)) bias = std::make_unique<Numbers>(Type::kFloat32, std::vector<int64_t>{features});
    activation = static_cast<Activation>(draw(0, static_cast<int64_t>(Activation::kLast)));
    if (scale) scales = scale->read();
    if (bias) biases = bias->read();
  }
  EpilogueArrays get() const { return {scale ? &scale->array : nullptr, bias ? &bias->array : nullptr, activation}; }

  Sum apply(Sum sum, int64_t feature) const {
    const double factor = scale ? scales[feature] : 1, term = bias ? biases[feature] : 0;
    const double x = sum.value * factor + term, magnitude = sum.magnitude * std::abs(factor) + std::abs(term);
    const double gate = std::min(std::max(x + 3, 0.0), 6.0) / 6;
    switch (activation) {
      case Activation::kNone: return {x, magnitude};
      case Activation::kRelu: return {std::max(x, 0.0), magnitude};
      case Activation::kRelu6: return {std::min(std::max(x, 0.0), 6.0), magnitude};
      case Activation::kHardSigmoid: return {gate, magnitude + 1};
      case Activation::kHardSilu: return {x * gate, 2 * magnitude + 3};
      case Activation::kSigmoid: return {1 / (1 + std::exp(-x)), magnitude + 1};
      case Activation::kSilu: return {x / (1 + std::exp(-x)), 2 * magnitude + 1};
      case Activation::kGelu: return {x * std::erfc(-x * std::sqrt(0.5)) / 2, 2 * magnitude + 1};
      case Activation::kGeluTanh:
        return {x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))) / 2, 2 * magnitude + 1};
    }
    return {};
  }

  std::unique_ptr<Numbers> scale, bias;
  std::vector<double> scales, biases;
  Activation activation;
};

void fail(const std::string& why) {
  std::printf("%s\n", why.c_str());
  std::exit(1);
}

void compare(const Numbers& got, const std::vector<Sum>& want, double extra = 0) {
  const double unit = got.array.type == Type::kFloat32 ? 2e-6 : got.array.type == Type::kBFloat16 ? 6e-3 : 8e-4;
  const std::vector<double> numbers = got.read();
  for (size_t i = 0; i < want.size(); ++i) {
    const double allowed = 1e-5 * want[i].magnitude + unit * std::abs(want[i].value) + extra * want[i].magnitude + 1e-6;
    if (!(std::abs(numbers[i] - want[i].value) <= allowed)) {
      fail("element " + std::to_string(i) + ": expected " + std::to_string(want[i].value) + ", got " +
           std::to_string(numbers[i]));
    }
  }
}

int64_t out_of_memory = 0;

// Calls an operation; false if it says that there was no memory, in a case where that may be.
bool ran(const std::function<Status()>& operation) {
  const double probability = chance(0.7) ? 0 : chance(0.5) ? 0.03 : 0.3;
  const uint64_t seed = rng();
  Status status;
  try {
    const Refusal refusal(probability, seed);
    status = operation();
  } catch (const std::bad_alloc&) {
    if (probability == 0) throw;
    ++out_of_memory;
    return false;
  }
  if (!status.ok()) fail("refused: " + *status.error);
  return true;
}

int64_t draw_channels() { return chance(0.5) ? draw(1, 9) : draw(1, 70); }
Type draw_type() { return static_cast<Type>(chance(0.5) ? 0 : draw(0, 2)); }
Type draw_out_type(Type type) { return chance(0.3) ? Type::kFloat32 : type; }

// What is added to a result, or null.
std::unique_ptr<Numbers> draw_skip(const Numbers& result) {
  return chance(0.3) ? std::make_unique<Numbers>(result.array.type, result.array.dims) : nullptr;
}

const Array* array_of(const std::unique_ptr<Numbers>& numbers) { return numbers ? &numbers->array : nullptr; }

void add_skip(const std::unique_ptr<Numbers>& skip, std::vector<Sum>& sums) {
  if (!skip) return;
  const std::vector<double> numbers = skip->read();
  for (size_t i = 0; i < sums.size(); ++i) sums[i].add(numbers[i]);
}

void depthwise() {
  const Space space(false);
  const Type type = draw_type();
  const int64_t batch = draw(1, 3), groups = draw_channels();
  const int64_t in = chance(0.2) ? draw(2, chance(0.1) ? 256 : 5) : 1, out = in == 1 && chance(0.3) ? draw(2, 5) : 1;
  const Numbers moving(type, space.with(2, {batch}, {groups, in})), filter(type, space.with(1, {}, {groups, in, out}));
  const Numbers result(draw_out_type(type), space.with(0, {batch}, {groups, out}), true);
  const RandomEpilogue epilogue(groups * out);
  const std::unique_ptr<Numbers> skip = draw_skip(result);
  SomeThreads threads;
  const auto call = [&] {
    return jds::depthwise(moving.array, filter.array, epilogue.get(), array_of(skip), result.array, space.geometry,
                          threads);
  };
  if (!ran(call)) return;
  const std::vector<double> x = moving.read(), w = filter.read();
  std::vector<Sum> sums(result.array.size());
  for (int64_t b = 0; b < batch; ++b) {
    space.each([&](int64_t l, int64_t s, int64_t m) {
      for (int64_t c = 0; c < groups * in; ++c) {
        for (int64_t o = 0; o < out; ++o) {
          sums[((b * space.count(0) + l) * groups + c / in) * out + o].add(
              x[(b * space.count(2) + m) * groups * in + c] * w[(s * groups * in + c) * out + o]);
        }
      }
    });
  }
  for (size_t i = 0; i < sums.size(); ++i) sums[i] = epilogue.apply(sums[i], i % (groups * out));
  add_skip(skip, sums);
  compare(result, sums);
}

void kernel_gradient() {
  const Space space(false);
  const Type type = draw_type();
  const int64_t batch = draw(1, 4), groups = draw_channels();
  const int64_t p = chance(0.2) ? draw(2, 5) : 1, q = p == 1 && chance(0.3) ? draw(2, 5) : 1;
  const Numbers moving(type, space.with(2, {batch}, {groups, p})), fixed(type, space.with(0, {batch}, {groups, q}));
  const Numbers result(draw_out_type(type), space.with(1, {}, {groups, p, q}), true);
  SomeThreads threads;
  if (!ran([&] { return jds::kernel_gradient(moving.array, fixed.array, result.array, space.geometry, threads); })) {
    return;
  }
  const std::vector<double> x = moving.read(), y = fixed.read();
  std::vector<Sum> sums(result.array.size());
  for (int64_t b = 0; b < batch; ++b) {
    space.each([&](int64_t l, int64_t s, int64_t m) {
      for (int64_t c = 0; c < groups * p * q; ++c) {
        sums[s * groups * p * q + c].add(x[(b * space.count(2) + m) * groups * p + c / q] *
                                         y[(b * space.count(0) + l) * groups * q + c / (p * q) * q + c % q]);
      }
    });
  }
  compare(result, sums);
}

void grouped_gradient() {
  const Space space(false);
  const Type type = draw_type();
  const int64_t batch = draw(1, 4), groups = draw(1, chance(0.3) ? 12 : 4), p = draw_channels(), q = draw_channels();
  const Numbers moving(type, space.with(2, {batch}, {groups, p})), fixed(type, space.with(0, {batch}, {groups, q}));
  const Numbers result(draw_out_type(type), space.with(1, {}, {p, groups, q}), true);
  SomeThreads threads;
  if (!ran([&] { return jds::grouped_gradient(moving.array, fixed.array, result.array, space.geometry, threads); })) {
    return;
  }
  const std::vector<double> x = moving.read(), y = fixed.read();
  std::vector<Sum> sums(result.array.size());
  for (int64_t b = 0; b < batch; ++b) {
    space.each([&](int64_t l, int64_t s, int64_t m) {
      for (int64_t c = 0; c < p * groups * q; ++c) {
        const int64_t g = c / q % groups;
        sums[s * p * groups * q + c].add(x[((b * space.count(2) + m) * groups + g) * p + c / (groups * q)] *
                                         y[(b * space.count(0) + l) * groups * q + c % (groups * q)]);
      }
    });
  }
  compare(result, sums);
}

// A depthwise convolution or, with `is_ordinary`, windows; then a matrix product.
void block(bool is_ordinary) {
  const Space space(true);
  const Type type = draw_type();
  const int64_t batch = draw(1, 3), channels = draw_channels(), features = draw(1, chance(0.2) ? 300 : 70);
  const int64_t multiplier = !is_ordinary && chance(0.2) ? draw(2, 3) : 1, width = channels * multiplier;
  const int64_t depth = is_ordinary ? channels * space.count(1) : width;
  const Numbers moving(type, space.with(2, {batch}, {channels})), filter(type, space.with(1, {}, {channels, 1, multiplier}));
  const Numbers weights(type, is_ordinary ? space.with(1, {}, {channels, features}) : std::vector<int64_t>{depth, features});
  const Numbers result(draw_out_type(type), space.with(0, {batch}, {features}), true);
  const RandomEpilogue first(width), second(features);
  const std::unique_ptr<Numbers> skip = draw_skip(result);
  SomeThreads threads;
  const auto call = [&] {
    return jds::block(moving.array, is_ordinary ? nullptr : &filter.array, is_ordinary ? EpilogueArrays{} : first.get(),
                      weights.array, second.get(), array_of(skip), result.array, space.geometry, threads);
  };
  if (!ran(call)) return;
  const std::vector<double> x = moving.read(), f = filter.read(), w = weights.read();
  const int64_t positions = batch * space.count(0);
  std::vector<Sum> rows(positions * depth);
  for (int64_t b = 0; b < batch; ++b) {
    space.each([&](int64_t l, int64_t s, int64_t m) {
      for (int64_t c = 0; c < (is_ordinary ? channels : width); ++c) {
        const double number = x[(b * space.count(2) + m) * channels + c / multiplier];
        Sum& row = rows[(b * space.count(0) + l) * depth + (is_ordinary ? s * channels : 0) + c];
        row.add(is_ordinary ? number : number * f[s * width + c]);
      }
    });
  }
  std::vector<Sum> sums(positions * features);
  for (int64_t i = 0; i < positions * depth; ++i) {
    const Sum row = is_ordinary ? rows[i] : first.apply(rows[i], i % depth);
    for (int64_t n = 0; n < features; ++n) {
      const double weight = w[i % depth * features + n];
      sums[i / depth * features + n].value += row.value * weight;
      sums[i / depth * features + n].magnitude += row.magnitude * std::abs(weight);
    }
  }
  for (size_t i = 0; i < sums.size(); ++i) sums[i] = second.apply(sums[i], i % features);
  add_skip(skip, sums);
  compare(result, sums);
}

// The product of few rows, which is a convolution of one position, has its own kernel.
void row_product() {
  const Type type = draw_type();
  const int64_t rows = draw(1, 6), depth = draw(1, 300), features = chance(0.2) ? draw(1, 700) : draw(1, 90);
  const Numbers left(type, {1, 1, 1, rows, depth}), weights(type, {1, 1, 1, depth, features});
  const Numbers result(draw_out_type(type), {1, 1, 1, rows, features}, true);
  const RandomEpilogue epilogue(features);
  const std::unique_ptr<Numbers> skip = draw_skip(result);
  SomeThreads threads;
  const auto call = [&] {
    return jds::block(left.array, nullptr, {}, weights.array, epilogue.get(), array_of(skip), result.array, {}, threads);
  };
  if (!ran(call)) return;
  const std::vector<double> x = left.read(), w = weights.read();
  std::vector<Sum> sums(rows * features);
  for (int64_t i = 0; i < rows * features; ++i) {
    for (int64_t k = 0; k < depth; ++k) sums[i].add(x[i / features * depth + k] * w[k * features + i % features]);
    sums[i] = epilogue.apply(sums[i], i % features);
  }
  add_skip(skip, sums);
  compare(result, sums);
}

// Means of each channel of (batch, positions, channels).
std::vector<Sum> means_of(const std::vector<double>& images, int64_t batch, int64_t positions, int64_t channels) {
  std::vector<Sum> means(batch * channels);
  for (int64_t i = 0; i < batch * positions * channels; ++i) {
    means[i / (positions * channels) * channels + i % channels].add(images[i] / static_cast<double>(positions));
  }
  return means;
}

void mean() {
  const Type type = draw_type();
  const int64_t batch = draw(1, 3), positions = chance(0.1) ? draw(500, 3000) : draw(1, 60), channels = draw(1, 150);
  const Numbers images(type, {batch, positions, channels}), result(type, {batch, channels}, true);
  SomeThreads threads;
  if (!ran([&] { return jds::mean(images.array, result.array, threads); })) return;
  compare(result, means_of(images.read(), batch, positions, channels));
}

// The product of (rows, depth) with a matrix, and its epilogue.
std::vector<Sum> layer(const std::vector<Sum>& rows, const std::vector<double>& weights, int64_t depth,
                       const RandomEpilogue& epilogue) {
  const int64_t features = static_cast<int64_t>(weights.size()) / depth;
  std::vector<Sum> sums(static_cast<int64_t>(rows.size()) / depth * features);
  for (size_t i = 0; i < sums.size(); ++i) {
    const int64_t n = static_cast<int64_t>(i) % features;
    for (int64_t k = 0; k < depth; ++k) {
      const Sum& row = rows[static_cast<int64_t>(i) / features * depth + k];
      sums[i].value += row.value * weights[k * features + n];
      sums[i].magnitude += row.magnitude * std::abs(weights[k * features + n]);
    }
    sums[i] = epilogue.apply(sums[i], n);
  }
  return sums;
}

void squeeze_excite() {
  const Type type = draw_type();
  const int64_t batch = draw(1, 6), positions = chance(0.1) ? draw(500, 3000) : draw(1, 60);
  const int64_t channels = draw(1, 150), squeezed = draw(1, 60);
  const Numbers images(type, {batch, positions, channels}), squeeze(type, {channels, squeezed});
  const Numbers excite(type, {squeezed, channels}), result(type, {batch, positions, channels}, true);
  const RandomEpilogue first(squeezed), second(channels);
  SomeThreads threads;
  const auto call = [&] {
    return jds::squeeze_excite(images.array, squeeze.array, first.get(), excite.array, second.get(), result.array,
                               threads);
  };
  if (!ran(call)) return;
  const std::vector<double> x = images.read();
  const std::vector<Sum> hidden = layer(means_of(x, batch, positions, channels), squeeze.read(), channels, first);
  const std::vector<Sum> gates = layer(hidden, excite.read(), squeezed, second);
  std::vector<Sum> products(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const Sum& gate = gates[static_cast<int64_t>(i) / (positions * channels) * channels + static_cast<int64_t>(i) % channels];
    products[i] = {x[i] * gate.value, std::abs(x[i]) * gate.magnitude};
  }
  compare(result, products);
}

void matrix_product() {
  const Type type = draw_type();
  const bool transposed = chance(0.5);
  const int64_t positions = chance(0.1) ? draw(500, 3000) : draw(1, 150), depth = draw(1, 90), features = draw(1, 90);
  const Numbers left(type, {positions, depth});
  const Numbers right(type, transposed ? std::vector<int64_t>{features, depth} : std::vector<int64_t>{depth, features});
  const Numbers result(draw_out_type(type), {positions, features}, true);
  SomeThreads threads;
  if (!ran([&] { return jds::matrix_product(left.array, right.array, transposed, result.array, threads); })) return;
  const std::vector<double> x = left.read(), w = right.read();
  std::vector<Sum> sums(positions * features);
  for (int64_t i = 0; i < positions * features; ++i) {
    for (int64_t k = 0; k < depth; ++k) {
      const int64_t n = i % features;
      sums[i].add(x[i / features * depth + k] * w[transposed ? n * depth + k : k * features + n]);
    }
  }
  compare(result, sums);
}

void matrix_gradient() {
  const Type type = draw_type();
  const int64_t positions = chance(0.1) ? draw(1000, 5000) : draw(1, 600), left_features = draw(1, 60);
  const int64_t right_features = draw(1, 80);
  const Numbers left(type, {positions, left_features}), right(type, {positions, right_features});
  const Numbers result(draw_out_type(type), {left_features, right_features}, true);
  SomeThreads threads;
  if (!ran([&] { return jds::matrix_gradient(left.array, right.array, result.array, threads); })) return;
  const std::vector<double> x = left.read(), y = right.read();
  std::vector<Sum> sums(left_features * right_features);
  for (int64_t p = 0; p < positions; ++p) {
    for (size_t i = 0; i < sums.size(); ++i) {
      sums[i].add(x[p * left_features + i / right_features] * y[p * right_features + i % right_features]);
    }
  }
  compare(result, sums);
}

// Shapes and geometry that do not fit must be refused, and nothing may be touched.
void nonsense() {
  const Space space(false);
  std::vector<int64_t> dims[3] = {space.with(2, {2}, {5, 1}), space.with(1, {}, {5, 1, 1}), space.with(0, {2}, {5, 1})};
  Geometry geometry = space.geometry;
  if (chance(0.3)) {
    jds::AxisGeometry& axis = geometry[draw(0, 2)];
    const int64_t steps[] = {0, -1};
    (chance(0.5) ? axis.long_step : axis.moving_step) = steps[draw(0, 1)];
  } else {
    std::vector<int64_t>& victim = dims[draw(0, 2)];
    const int64_t size = static_cast<int64_t>(victim.size());
    const int64_t values[] = {-1, 7, int64_t{1} << 40, std::numeric_limits<int64_t>::max()};
    if (chance(0.3)) {
      victim.pop_back();
    } else {
      victim[draw(size - 2, size - 1)] = values[draw(0, 3)];  // not on a spatial axis, where any size fits
    }
  }
  const Array arrays[3] = {{Type::kFloat32, dims[0], nullptr}, {Type::kFloat32, dims[1], nullptr}, {Type::kFloat32, dims[2], nullptr}};
  SomeThreads threads;
  if (jds::depthwise(arrays[0], arrays[1], {}, nullptr, arrays[2], geometry, threads).ok()) fail("nonsense was accepted");
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t cases = argc > 1 ? std::atoll(argv[1]) : 1000;
  const uint64_t first = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
  const std::pair<const char*, std::function<void()>> kinds[] = {
      {"depthwise", depthwise},       {"kernel gradient", kernel_gradient}, {"separable block", [] { block(false); }},
      {"ordinary", [] { block(true); }}, {"matrix product", matrix_product},   {"matrix gradient", matrix_gradient},
      {"grouped gradient", grouped_gradient}, {"nonsense", nonsense}, {"row product", row_product}, {"mean", mean},
      {"squeeze and excitation", squeeze_excite}};
  constexpr int64_t kKinds = sizeof(kinds) / sizeof(*kinds);
  std::map<std::string, int64_t> counts;
  for (uint64_t number = first; number != first + cases; ++number) {
    rng.seed(number);
    const std::vector<const jds::Kernels*>& available = jds::available_kernels();
    const char* name = available[number % available.size()]->name;
    jds::use_kernels(name);
    const auto& kind = kinds[draw(0, kKinds - 1)];
    std::fprintf(stderr, "\rcase %llu: %s, %s          ", static_cast<unsigned long long>(number), name, kind.first);
    kind.second();
    ++counts[name];
    ++counts[kind.first];
  }
  counts["out of memory"] = out_of_memory;
  std::printf("{\"cases\": %lld", static_cast<long long>(cases));
  for (const auto& [name, count] : counts) std::printf(", \"%s\": %lld", name.c_str(), static_cast<long long>(count));
  std::printf("}\n");
}
