#include "simd/avx512.h"

#include "block.h"
#include "depthwise.h"
#include "grouped_gradient.h"
#include "kernel_gradient.h"
#include "matrix_gradient.h"
#include "problem.h"

namespace jds {

extern const Kernels kAvx512;
const Kernels kAvx512 = {
    "avx512", depthwise, kernel_gradient, grouped_gradient, grouped_gradient_blocks, grouped_gradient_scratch, block_rows,
    block_panels, block_product, block_tile, matrix_gradient, matrix_gradient_scratch, kRows, kColumns};

}  // namespace jds
