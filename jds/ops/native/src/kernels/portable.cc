#include "kernels/simd/portable.h"

#include "kernels/block.h"
#include "kernels/depthwise.h"
#include "kernels/grouped_gradient.h"
#include "kernels/kernel_gradient.h"
#include "kernels/matrix_gradient.h"
#include "kernels/params.h"

namespace jds {

extern const Kernels kPortable;
const Kernels kPortable = {
    "portable", depthwise, kernel_gradient, grouped_gradient, grouped_gradient_blocks, grouped_gradient_scratch, block_rows,
    block_panels, block_product, block_tile, matrix_gradient, matrix_gradient_scratch, kRows, kColumns};

}  // namespace jds
