// The vectors, `Simd`, of the instruction set that a kernel is compiled for.
#ifndef JDS_KERNELS_SIMD_SIMD_H_
#define JDS_KERNELS_SIMD_SIMD_H_

#ifndef JDS_SIMD_HEADER
#error "define JDS_SIMD_HEADER as the header of an instruction set, such as \"kernels/simd/portable.h\""
#endif

#include JDS_SIMD_HEADER

#endif  // JDS_KERNELS_SIMD_SIMD_H_
