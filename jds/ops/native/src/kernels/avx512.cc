#define JDS_SIMD_HEADER "kernels/simd/avx512.h"

#include "kernels/table.h"

namespace jds {

extern const Kernels kAvx512;
const Kernels kAvx512 = table("avx512");

}  // namespace jds
