// The table of kernels of each instruction set, and the choice among the tables at run time.
#ifndef JDS_KERNELS_KERNELS_H_
#define JDS_KERNELS_KERNELS_H_

#include <stdint.h>

#include <string>
#include <vector>

#include "kernels/params.h"

namespace jds {

// The kernels of one instruction set. Each call is a part of an operator's work, on one thread.
struct Kernels {
  const char* name;
  // Rows (b, l0, l1) and, of each, runs of the innermost axis.
  void (*depthwise)(const Depthwise&, int64_t row_begin, int64_t row_end, int64_t run_begin, int64_t run_end);
  // Adds the products of rows [row_begin, row_end) to `partial`.
  void (*kernel_gradient)(const KernelGradient&, int64_t row_begin, int64_t row_end, float* partial);
  // Sums of one block of channels for positions [tap_begin, tap_end) of the filter.
  void (*grouped_gradient)(const GroupedGradient&, int64_t block, int64_t tap_begin, int64_t tap_end, float* sums,
                           float* scratch);
  // Number of blocks, and floats of scratch per block.
  int64_t (*grouped_gradient_blocks)(const GroupedGradient&);
  int64_t (*grouped_gradient_scratch)(const GroupedGradient&);
  // Writes rows [begin, end) of the left matrix.
  void (*block_rows)(const Block&, int64_t begin, int64_t end, float* tiles);
  // Copies the weights of columns [begin, end) into panels; `panels` is where the panels of all columns begin.
  void (*block_panels)(const Block&, int64_t begin, int64_t end, float* panels);
  void (*block_product)(const Block&, const Part&);
  // Floats of a tile of left rows.
  int64_t (*block_tile)(const Block&);
  // Columns [begin, end) of the result.
  void (*row_product)(const RowProduct&, int64_t begin, int64_t end);
  // sums[c] = sum over p of image[p, c], for channels [begin, end).
  void (*channel_sums)(const Image&, int64_t begin, int64_t end, float* sums);
  // out[p, c] = image[p, c] * factors[c], for positions [begin, end).
  void (*scale_channels)(const Image&, const float* factors, int64_t begin, int64_t end, void* out);
  // Sums over positions [begin, end), for rows [row_begin, row_end); `sums` is where row 0 begins.
  void (*matrix_gradient)(const MatrixGradient&, int64_t begin, int64_t end, int64_t row_begin, int64_t row_end,
                          float* sums, float* scratch);
  // Floats of scratch for `rows` rows.
  int64_t (*matrix_gradient_scratch)(int64_t rows);
  // Positions of a tile and columns of a panel.
  int64_t tile_rows, tile_columns;
};

// The kernels that this machine can run, the best first; the last ones run on every machine.
const std::vector<const Kernels*>& available_kernels();

// Their names, separated by spaces.
const std::string& kernel_names();

// The kernels in use: the best, unless `use_kernels` chose others.
const Kernels& kernels();

// Chooses kernels by name; false, and no change, if this machine cannot run them.
bool use_kernels(const char* name);

}  // namespace jds

#endif  // JDS_KERNELS_KERNELS_H_
