#include "simd/avx512.h"

#include "depthwise.h"
#include "kernel_gradient.h"
#include "problem.h"

namespace jds {

extern const Kernels kAvx512;
const Kernels kAvx512 = {"avx512", depthwise, kernel_gradient};

}  // namespace jds
