#include "operators/validate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

namespace jds {
namespace {

std::string in_words(const std::vector<int64_t>& sizes) {
  std::ostringstream out;
  out << '(';
  for (size_t i = 0; i < sizes.size(); ++i) out << (i ? ", " : "") << sizes[i];
  out << ')';
  return out.str();
}

std::string in_words(const Axis& a) {
  return "long_step " + std::to_string(a.long_step) + ", short_step " + std::to_string(a.short_step) + ", low " +
         std::to_string(a.low) + ", moving_step " + std::to_string(a.moving_step);
}

Status check_axis(const Axis& a) {
  constexpr int64_t kLimit = std::numeric_limits<int32_t>::max();
  if (a.long_step < 1 || a.short_step == 0 || a.moving_step < 1) {
    return invalid("the steps of the geometry must be positive, and that of the short array not 0, got " + in_words(a));
  }
  for (const int64_t number : {a.long_size, a.short_size, a.moving_size, a.long_step, a.short_step, a.low,
                               a.moving_step}) {
    if (number > kLimit || number < -kLimit) return invalid("a number is too large: " + std::to_string(number));
  }
  // The largest number that the arithmetic on this axis meets.
  if (static_cast<double>(a.long_step) * a.long_size + std::abs(static_cast<double>(a.short_step)) * a.short_size >
      4e18) {
    return invalid("the geometry's numbers are too large: " + in_words(a));
  }
  return {};
}

}  // namespace

Status invalid_shapes(const std::string& what, const Array& a, const Array& b, const Array& out) {
  return invalid(what + ", got operands of shapes " + in_words(a.dims) + " and " + in_words(b.dims) +
                 " and a result of shape " + in_words(out.dims));
}

Status make_axes(const Geometry& geometry, const int64_t* longs, const int64_t* shorts, const int64_t* moving,
                 Axis (&axes)[3]) {
  for (int i = 0; i < 3; ++i) {
    const AxisGeometry& g = geometry[i];
    axes[i] = {.long_size = longs[i],
               .short_size = shorts[i],
               .moving_size = moving[i],
               .long_step = g.long_step,
               .short_step = g.short_step,
               .low = g.low,
               .moving_step = g.moving_step};
    if (Status status = check_axis(axes[i]); !status.ok()) return status;
  }
  return {};
}

Status make_epilogue(const EpilogueArrays& arrays, int64_t features, Epilogue& epilogue) {
  for (const Array* vector : {arrays.scale, arrays.bias}) {
    if (vector && (vector->type != Type::kFloat32 || vector->dims != std::vector<int64_t>{features})) {
      return invalid("scale and bias must be of float32 and shape (" + std::to_string(features) + "), got shape " +
                     in_words(vector->dims));
    }
  }
  if (arrays.activation < Activation::kNone || arrays.activation > Activation::kLast) {
    return invalid("unknown activation " + std::to_string(static_cast<int>(arrays.activation)));
  }
  const auto data = [](const Array* vector) { return vector ? static_cast<const float*>(vector->data) : nullptr; };
  epilogue = {data(arrays.scale), data(arrays.bias), arrays.activation};
  return {};
}

Status check_skip(const Array* skip, const Array& out) {
  if (!skip || (skip->type == out.type && skip->dims == out.dims)) return {};
  return invalid("what is added must have the type and shape of the result, " + in_words(out.dims) + ", got shape " +
                 in_words(skip->dims));
}

Status check_taps(const TapTable& table) {
  if (table.most_taps() <= kMaxTaps) return {};
  return invalid("at most " + std::to_string(kMaxTaps) + " products per result are supported, got " +
                 std::to_string(table.most_taps()));
}

}  // namespace jds
