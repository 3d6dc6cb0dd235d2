#include "check.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

namespace jds {

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

}  // namespace jds
