// x86 flags: -mavx2 -mfma -mf16c
#define JDS_SIMD_HEADER "kernels/simd/avx2.h"

#include "kernels/table.h"

namespace jds {

extern const Kernels kAvx2;
const Kernels kAvx2 = table("avx2");

}  // namespace jds
