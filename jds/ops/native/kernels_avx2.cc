#include "simd/avx2.h"

#include "depthwise.h"
#include "kernel_gradient.h"
#include "problem.h"

namespace jds {

extern const Kernels kAvx2;
const Kernels kAvx2 = {"avx2", depthwise, kernel_gradient};

}  // namespace jds
