// Parameters of the kernels, as plain structs.
//
// A convolution relates three arrays. On each spatial axis, three positions belong together when
//
//     long_step * l + short_step * s - low == moving_step * m
//
// A convolution adds moving[m] * short[s] to long[l]: the moving array is the image (or, in the input gradient, the
// cotangent), the short one the filter. A kernel gradient adds moving[m] * long[l] to short[s].
#ifndef JDS_KERNELS_PARAMS_H_
#define JDS_KERNELS_PARAMS_H_

#include <stdint.h>

namespace jds {

enum class Type : int32_t { kFloat32, kBFloat16, kFloat16 };

inline int64_t bytes_of(Type type) { return type == Type::kFloat32 ? 4 : 2; }

enum class Activation : int32_t {
  kNone, kRelu, kRelu6, kHardSigmoid, kHardSilu, kSigmoid, kSilu, kGelu, kGeluTanh, kLast = kGeluTanh
};

// The names that Python has for them, in the same order.
constexpr const char* kActivationNames[] = {"none", "relu",    "relu6", "hard_sigmoid", "hard_silu",
                                            "sigmoid", "silu", "gelu",  "gelu_tanh"};
static_assert(sizeof(kActivationNames) / sizeof(*kActivationNames) == static_cast<int32_t>(Activation::kLast) + 1);

// A position of the short array, and the position of the moving array that it is multiplied with.
struct Tap {
  int32_t position;
  int32_t moving;
};

// `count` positions of the long array, `stride` apart, with taps at the same positions of the short array. From one to
// the next, the moving position of each tap grows by `moving_stride`. The taps of the first are [taps_begin, taps_end).
struct Run {
  int64_t first;
  int64_t stride;
  int64_t count;
  int64_t moving_stride;
  int64_t taps_begin;
  int64_t taps_end;
};

// An outer axis: the taps of long position `l` are [begin[l], begin[l + 1]).
struct OuterAxis {
  int64_t long_size, short_size, moving_size;
  const int64_t* begin;
  const Tap* taps;
};

// The innermost axis, cut into runs.
struct InnerAxis {
  int64_t long_size, short_size, moving_size;
  int64_t runs;
  const Run* run;
  const Tap* taps;
};

struct Spatial {
  OuterAxis outer[2];
  InnerAxis inner;
};

// What is applied to a sum: activation(sum * scale + bias). No scale or no bias is null.
struct Epilogue {
  const float* scale;
  const float* bias;
  Activation activation;
};

// out[b, l, g * M + m] = sum over s, i of moving[b, m, g * I + i] * filter[s, (g * I + i) * M + m], min(I, M) == 1.
struct Depthwise {
  Spatial space;
  int64_t batch, groups, in_features, out_features;
  Type type, out_type;
  const void* moving;
  const float* filter;
  void* out;
  Epilogue epilogue;
  const void* skip;  // added to the results, with their type and shape, or null
};

// partial[s, g, p, q] = sum over b, l of moving[b, m, g * P + p] * fixed[b, l, g * Q + q], min(P, Q) == 1, for some of
// the rows (b, l0, l1).
struct KernelGradient {
  Spatial space;
  int64_t batch, groups, moving_features, fixed_features;
  Type type;
  const void* moving;
  const void* fixed;
};

// Positions of one axis that belong to one position of the short array: fixed + i * fixed_step and
// moving + i * moving_step, i in [0, count).
struct Strip {
  int64_t fixed, fixed_step, moving, moving_step, count;
};

// The strips of short position `s` are [begin[s], begin[s + 1]).
struct GradientAxis {
  int64_t fixed_size, short_size, moving_size;
  const int64_t* begin;
  const Strip* strips;
};

// sums[s, p, g * Q + q] = sum over b, l of moving[b, m, g * P + p] * fixed[b, l, g * Q + q].
struct GroupedGradient {
  GradientAxis axes[3];
  int64_t batch, groups, moving_features, fixed_features;
  Type type;
  const void* moving;
  const void* fixed;
};

// out[m, n] = epilogue(sum over k of rows[m, k] * weights[k, n]). Row m is the result of a depthwise convolution with
// its epilogue at position m or, if the filter is null, the window of an ordinary convolution, (s, channel). `groups` of
// the first step are the channels of its moving array; all runs of its space have stride 1.
struct Block {
  Depthwise first;
  int64_t depth, features;
  const void* weights;
  Type out_type;
  void* out;
  Epilogue epilogue;
  const void* skip;  // as in `Depthwise`
};

// out[r, n] = epilogue(sum over k of left[r, k] * weights[k, n]) + skip[r, n], for so few rows that the weights, which are
// read in place, are read only once or twice.
struct RowProduct {
  int64_t rows, depth, features;
  const float* left;
  Type type, out_type;  // of the weights, of the result
  const void* weights;
  void* out;
  Epilogue epilogue;
  const void* skip;
};

// One image, (positions, channels).
struct Image {
  int64_t positions, channels;
  Type type;
  const void* data;
};

// Bytes of a cache line.
constexpr int64_t kLine = 64;
// A tile stores its rows in blocks of kDepth floats, so that neighboring rows are a fixed distance apart.
constexpr int64_t kDepth = 32;

// Memory to prefetch: `rows` rows of `lines` cache lines, `stride` bytes apart. `each` rows are prefetched per block of
// a tile that is multiplied.
struct Prefetch {
  const char* next;
  int64_t rows, stride, lines, each;
};

// The part of a block's result that one call computes: rows [begin, end), whose left rows are in `tiles`, and columns
// [column_begin, column_end).
struct Part {
  const float* tiles;
  int64_t begin, end, column_begin, column_end;
  // All panels of the weights; or null, and then `panel` is room for a copy of one.
  const float* panels;
  float* panel;
  Prefetch prefetch;
};

// sums[l, r] = sum over positions p of left[p, l] * right[p, r].
struct MatrixGradient {
  int64_t positions, left_features, right_features;
  Type type;
  const void* left;
  const void* right;
};

// The most taps of one position of the long array.
constexpr int64_t kMaxTaps = 1024;
// The most features that a depthwise convolution contracts: in an input gradient, the channel multiplier.
constexpr int64_t kMaxContractedFeatures = 256;

}  // namespace jds

#endif  // JDS_KERNELS_PARAMS_H_
