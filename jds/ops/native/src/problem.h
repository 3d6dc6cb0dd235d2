// A depthwise convolution as data: what the kernels are told, in plain structs.
//
// On each spatial axis, three positions belong together when
//
//     long_step * l + short_step * s - low == moving_step * m
//
// A convolution adds moving[m] * short[s] to long[l]: the moving array is the image (or, in the input gradient, the
// cotangent), the short one the filter. A kernel gradient adds moving[m] * long[l] to short[s].
#ifndef JDS_PROBLEM_H_
#define JDS_PROBLEM_H_

#include <stdint.h>

namespace jds {

enum class Type : int32_t { kFloat32, kBFloat16, kFloat16 };

inline int64_t bytes_of(Type type) { return type == Type::kFloat32 ? 4 : 2; }

enum class Activation : int32_t { kNone, kRelu, kRelu6, kHardSigmoid, kHardSwish, kLast = kHardSwish };

// A position of the short array, and the position of the moving one that it meets.
struct Meeting {
  int32_t position;
  int32_t moving;
};

// Neighbouring positions of the long array, `stride` apart, that meet the same positions of the short one. From one
// to the next the moving position grows by `moving_stride`.
struct Run {
  int64_t first;
  int64_t stride;
  int64_t count;
  int64_t moving_stride;
  int64_t meetings_begin;
  int64_t meetings_end;
};

// An outer axis: the meetings of long position `l` are `meetings[begin[l]] ... meetings[begin[l + 1]]`.
struct OuterAxis {
  int64_t long_size, short_size, moving_size;
  const int64_t* begin;
  const Meeting* meetings;
};

// The innermost axis, cut into runs.
struct InnerAxis {
  int64_t long_size, short_size, moving_size;
  int64_t runs;
  const Run* run;
  const Meeting* meetings;
};

struct Spatial {
  OuterAxis outer[2];
  InnerAxis inner;
};

// What follows a convolution: activation(sum * scale + bias). Null for none.
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
};

// partial[s, g, p, q] = sum over b, l of moving[b, m, g * P + p] * fixed[b, l, g * Q + q], min(P, Q) == 1, for a part
// of the rows (b, l0, l1).
struct KernelGradient {
  Spatial space;
  int64_t batch, groups, moving_features, fixed_features;
  Type type;
  const void* moving;
  const void* fixed;
};

// Positions of one axis that one position of the short array meets: fixed + i * fixed_step and moving + i * moving_step,
// i in [0, count).
struct Strip {
  int64_t fixed, fixed_step, moving, moving_step, count;
};

// The strips of short position `s` are `strips[begin[s]] ... strips[begin[s + 1]]`.
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

// out[m, n] = epilogue(sum over k of rows[m, k] * weights[k, n]), where row m is what the first step makes of position m:
// a depthwise convolution with its epilogue or, where its filter is null, the window of an ordinary one, (s, channel).
// The first step's `groups` are the channels of its moving array, and of its space only runs of stride 1 are allowed.
struct Block {
  Depthwise first;
  int64_t depth, features;
  const void* weights;
  Type out_type;
  void* out;
  Epilogue epilogue;
};

// Bytes that memory is read by.
constexpr int64_t kLine = 64;
// A tile of left rows holds them in blocks of so many floats each, so that neighbouring rows are a fixed distance apart.
constexpr int64_t kDepth = 32;

// Memory that will be read soon: `rows` of `lines` lines each, of which `each` are asked for at a time, once for each
// block of each tile that is multiplied.
struct Ahead {
  const char* next;
  int64_t rows, stride, lines, each;
};

// What of a block's results is multiplied out at once: rows [begin, end), whose left rows are in `tiles`, and columns
// [column_begin, column_end).
struct Part {
  const float* tiles;
  int64_t begin, end, column_begin, column_end;
  // All panels of the weights, or null; then room to copy one.
  const float* panels;
  float* panel;
  Ahead ahead;
};

// sums[l, r] = sum over positions p of left[p, l] * right[p, r].
struct MatrixGradient {
  int64_t positions, left_features, right_features;
  Type type;
  const void* left;
  const void* right;
};

// The work of one instruction set; each is called for a part of the work by one thread.
struct Kernels {
  const char* name;
  // Rows (b, l0, l1) and, of each, runs of the innermost axis.
  void (*depthwise)(const Depthwise&, int64_t row_begin, int64_t row_end, int64_t run_begin, int64_t run_end);
  void (*kernel_gradient)(const KernelGradient&, int64_t row_begin, int64_t row_end, float* partial);
  // Sums of one block of channels for positions [tap_begin, tap_end) of the filter.
  void (*grouped_gradient)(const GroupedGradient&, int64_t block, int64_t tap_begin, int64_t tap_end, float* sums,
                           float* scratch);
  // Number of blocks, and floats of scratch for one.
  int64_t (*grouped_gradient_blocks)(const GroupedGradient&);
  int64_t (*grouped_gradient_scratch)(const GroupedGradient&);
  // Makes rows [begin, end) of the left matrix.
  void (*block_rows)(const Block&, int64_t begin, int64_t end, float* tiles);
  // Copies the weights of columns [begin, end) into panels, those of all columns beginning at `panels`.
  void (*block_panels)(const Block&, int64_t begin, int64_t end, float* panels);
  void (*block_product)(const Block&, const Part&);
  // Floats of a tile of left rows.
  int64_t (*block_tile)(const Block&);
  // Positions, and rows of the sums, which begin at row 0.
  void (*matrix_gradient)(const MatrixGradient&, int64_t begin, int64_t end, int64_t row_begin, int64_t row_end,
                          float* sums, float* scratch);
  // Floats of scratch for so many rows.
  int64_t (*matrix_gradient_scratch)(int64_t rows);
  // Positions and columns that are multiplied at once.
  int64_t tile_rows, tile_columns;
};

// More meetings for one position of the output are refused.
constexpr int64_t kMaxTaps = 1024;
// More contracted features of a depthwise convolution (the channel multiplier, in an input gradient) are refused.
constexpr int64_t kMaxInFeatures = 256;

}  // namespace jds

#endif  // JDS_PROBLEM_H_
