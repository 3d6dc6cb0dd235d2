// The table of kernels of the instruction set that the including file is compiled for.
#ifndef JDS_KERNELS_TABLE_H_
#define JDS_KERNELS_TABLE_H_

#include "kernels/block.h"
#include "kernels/depthwise.h"
#include "kernels/grouped_gradient.h"
#include "kernels/image.h"
#include "kernels/kernel_gradient.h"
#include "kernels/kernels.h"
#include "kernels/matrix_gradient.h"
#include "kernels/row_product.h"

namespace jds {
namespace {

constexpr Kernels table(const char* name) {
  return {.name = name,
          .depthwise = depthwise,
          .kernel_gradient = kernel_gradient,
          .grouped_gradient = grouped_gradient,
          .grouped_gradient_blocks = grouped_gradient_blocks,
          .grouped_gradient_scratch = grouped_gradient_scratch,
          .block_rows = block_rows,
          .block_panels = block_panels,
          .block_product = block_product,
          .block_tile = block_tile,
          .row_product = row_product,
          .channel_sums = channel_sums,
          .scale_channels = scale_channels,
          .matrix_gradient = matrix_gradient,
          .matrix_gradient_scratch = matrix_gradient_scratch,
          .tile_rows = kRows,
          .tile_columns = kColumns};
}

}  // namespace
}  // namespace jds

#endif  // JDS_KERNELS_TABLE_H_
